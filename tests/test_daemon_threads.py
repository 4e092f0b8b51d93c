"""Daemon threads for blocking calls."""

import sys
import threading
import time
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hostkit._execution.daemon_thread import DaemonThreads, any_call_runs

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Gate:
    """A blocking call that waits to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, result: str = "") -> str:
        self.begun.set()
        self.go.wait(20)
        return result

    async def wait_begun(self) -> None:
        """Wait until the call has begun."""
        while not self.begun.is_set():
            await checkpoint()


async def test_a_call_returns_and_raises_what_its_function_does() -> None:
    """A call is like one of the function itself, on a thread that does not hold the process."""
    threads = DaemonThreads(1, "pool")

    def name(suffix: str) -> str:
        thread = threading.current_thread()
        return f"{thread.name} {thread.daemon} {suffix}"

    results = [await threads.run(name, "a"), await threads.run(name, "b")]
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run(int, "x")
    threads.close()

    assert results == ["pool 1 True a", "pool 1 True b"]


async def test_a_call_that_gets_no_thread_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left, the call fails, and the next one has its chance."""
    threads = DaemonThreads(1, "pool")

    def refuse(_thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(str)

    assert await threads.run(str, 7) == "7"
    threads.close()


async def test_a_call_has_a_copy_of_the_context() -> None:
    """What is set in the caller's context is seen; what the call sets is not seen by anybody else."""
    threads = DaemonThreads(1, "pool")

    def read_and_set() -> str:
        seen = WHO.get()
        WHO.set("call")
        return seen

    token = WHO.set("caller")
    results = [await threads.run(read_and_set), await threads.run(read_and_set)]
    own = WHO.get()
    WHO.reset(token)
    threads.close()

    assert (results, own) == (["caller", "caller"], "caller")


async def test_no_more_calls_than_allowed_run_at_a_time() -> None:
    """A call waits for a free thread, and those that wait come in order."""
    threads = DaemonThreads(2, "pool")
    gates = [Gate() for _ in range(4)]
    ended: list[int] = []

    async def call(number: int) -> None:
        await threads.run(gates[number])
        ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(call, number)
            await gates[number].wait_begun()
        for number in range(2, 4):
            group.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
        waiting = [gate.begun.is_set() for gate in gates]
        running = len(threads.running)
        for number in (1, 0, 2, 3):
            await gates[number].wait_begun()
            gates[number].go.set()
            while number not in ended:
                await checkpoint()
    threads.close()

    assert (waiting, running) == ([True, True, False, False], 2)
    assert ended == [1, 0, 2, 3]


async def test_a_cancelled_wait_for_a_thread_takes_none() -> None:
    """Who is cancelled while he waits for a thread takes it from nobody."""
    threads = DaemonThreads(1, "pool")
    gate = Gate()

    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, gate, "")
        await gate.wait_begun()
        with anyio.move_on_after(0):
            await threads.run(str)
        gate.go.set()
    result = await threads.run(str, 5)
    threads.close()

    assert result == "5"
    assert not threads.running


async def test_a_native_cancellation_in_the_last_moment_takes_no_thread(anyio_backend_name: str) -> None:
    """A task that is cancelled just as it gets its thread hands it on."""
    if anyio_backend_name == "trio":
        return
    import asyncio

    threads = DaemonThreads(1, "pool")
    gate = Gate()
    call = await threads.start(gate)
    late = asyncio.create_task(threads.run(str))
    following = asyncio.create_task(threads.run(str, 5))
    await anyio.wait_all_tasks_blocked()

    threads._leave(call)
    late.cancel()
    result = await following
    gate.go.set()
    await call.wait()
    threads.close()

    assert late.cancelled()
    assert result == "5"


async def test_a_cancelled_call_is_abandoned_and_holds_its_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """A call cannot be ended: who is cancelled leaves, its thread is free when it returns, its error is a line."""
    threads = DaemonThreads(1, "pool")
    gate = Gate()

    def fail() -> None:
        gate()
        raise OSError

    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, fail)
        await gate.wait_begun()
        group.cancel_scope.cancel()
    left = [call.line() for call in threads.running]
    waited_for = any_call_runs()
    gate.go.set()
    await threads.wait_returned()
    threads.close()

    assert len(left) == 1
    assert left[0] is not None
    assert left[0].endswith("in Gate.__call__")
    assert not waited_for
    assert not threads.running
    assert capsys.readouterr().err == "hostkit: abandoned call on thread 'pool 1' failed: OSError()\n"


async def test_a_call_may_be_waited_for_again() -> None:
    """With `start` the call and the wait are two things."""
    threads = DaemonThreads(1, "pool")
    gate = Gate()

    call = await threads.start(gate, "done")
    with anyio.move_on_after(0) as scope:
        await call.wait()
    runs = any_call_runs()
    gate.go.set()
    result = await call.wait()
    threads.close()

    assert scope.cancelled_caught
    assert runs
    assert not any_call_runs()
    assert result == "done"


async def test_waits_for_all_that_run() -> None:
    """`wait_returned` waits until no call holds a thread, those that come meanwhile included."""
    threads = DaemonThreads(2, "pool")
    first, second = Gate(), Gate()
    await threads.start(first)
    await threads.start(second)
    returned: list[bool] = []

    async def wait() -> None:
        await threads.wait_returned()
        returned.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        first.go.set()
        while len(threads.running) > 1:
            await checkpoint()
        before = list(returned)
        second.go.set()
    threads.close()

    assert (before, returned) == ([], [True])


async def test_close_lets_the_threads_go() -> None:
    """Idle threads end with `close`, busy ones when their call returns; later calls make new ones."""
    threads = DaemonThreads(2, "pool")
    gate = Gate()
    call = await threads.start(gate)
    await threads.run(str)

    threads.close()
    gate.go.set()
    await call.wait()
    again = await threads.run(threading.current_thread)
    threads.close()

    assert again.name == "pool 3"


def test_a_thread_that_outlives_its_loop_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """A call that returns after the end of the event loop is dropped, an error with a line; the next loop can go on."""
    threads = DaemonThreads(1, "pool")
    gate = Gate()

    def fail() -> None:
        gate()
        raise OSError

    async def leave() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, fail)
            await gate.wait_begun()
            group.cancel_scope.cancel()

    async def run() -> str:
        return await threads.run(str, 5)

    anyio.run(leave)
    thread = next(thread for thread in threading.enumerate() if thread.name == "pool 1")
    gate.go.set()
    thread.join(20)
    result = anyio.run(run)
    threads.close()

    assert not thread.is_alive()
    assert result == "5"
    assert "abandoned call on thread 'pool 1' failed: OSError()" in capsys.readouterr().err


def test_a_thread_of_an_earlier_loop_frees_its_place_in_a_later_one() -> None:
    """Who waits for a thread that is busy since an earlier event loop gets it when it is free."""
    threads = DaemonThreads(2, "pool")
    gate, other = Gate(), Gate()
    results: list[str] = []

    async def leave() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, gate, "")
            await gate.wait_begun()
            group.cancel_scope.cancel()

    async def wait() -> None:
        async def run(name: str) -> None:
            results.append(await threads.run(str, name))

        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, other, "")
            await other.wait_begun()
            group.start_soon(run, "waited")
            await anyio.wait_all_tasks_blocked()
            gate.go.set()
            while not results:
                await checkpoint()
            other.go.set()

    anyio.run(leave)
    anyio.run(wait)
    threads.close()

    assert results == ["waited"]


def test_an_error_is_dropped_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without standard error, such as a service of Windows, has no line and no second error."""
    threads = DaemonThreads(1, "pool")
    gate = Gate()

    def fail() -> None:
        gate()
        raise OSError

    async def leave() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(threads.run, fail)
            await gate.wait_begun()
            group.cancel_scope.cancel()
        monkeypatch.setattr(sys, "stderr", None)
        gate.go.set()
        await threads.wait_returned()
        threads.close()

    anyio.run(leave)
    monkeypatch.undo()

    assert not threads.running


async def test_virtual_time_stands_still_for_a_call() -> None:
    """While somebody waits for a call, virtual time does not pass: the call takes no time."""
    threads = DaemonThreads(1, "pool")
    began = anyio.current_time()

    with anyio.fail_after(60):
        await threads.run(time.sleep, 0.05)
    threads.close()

    assert anyio.current_time() == began
