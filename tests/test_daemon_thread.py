"""Blocking calls on daemon threads: abandoned if need be, never holding the process, on threads that are used again."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import NoReturn

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hostkit._execution import daemon_thread
from hostkit._execution.daemon_thread import DaemonThread, DaemonThreadPool, awaited_call_runs

PATIENCE = 20
"""Real seconds for a thread to do what it does at once."""
BACKENDS = [pytest.param("asyncio"), pytest.param("trio", marks=pytest.mark.needs("trio"))]

variable = ContextVar[str]("variable", default="default")
pytestmark = pytest.mark.real_time


class Gate:
    """A blocking call that waits to be let through."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self._error = error

    def __call__(self) -> str:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if self._error is not None:
            raise self._error
        return "through"

    async def wait_entered(self) -> None:
        """Wait until a thread is inside."""
        await until(self.entered.is_set)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds that has no event."""
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.001)


def threads(name: str) -> list[threading.Thread]:
    """Return the threads of that name."""
    return [thread for thread in threading.enumerate() if thread.name == name]


def join(name: str) -> None:
    """Wait for the end of the threads of that name."""
    for thread in threads(name):
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def call(pool: DaemonThreadPool, function: Callable[[], object]) -> object:
    """Make one call."""
    thread = DaemonThread(function, "call", pool=pool)
    thread.start()
    return await thread.wait()


class TestOneCall:
    async def test_may_run_an_event_loop(self) -> None:
        """The function may run a loop of its own: its context does not name the library of the one that awaits it."""

        async def answer() -> int:
            await checkpoint()
            return 3

        pool = DaemonThreadPool("pool")
        pool.close()

        assert await call(pool, partial(anyio.run, answer)) == 3

    async def test_needs_no_sniffio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where sniffio is not installed, the context names no library."""
        monkeypatch.delitem(sys.modules, "sniffio", raising=False)
        pool = DaemonThreadPool("pool")
        pool.close()

        assert await call(pool, variable.get) == "default"

    async def test_runs_on_a_thread_of_its_own(self) -> None:
        """The function runs on a daemon thread with the call's name, in a copy of the context; the thread then ends."""
        seen: list[object] = []

        def work() -> None:
            thread = threading.current_thread()
            seen.extend([thread.name, thread.daemon, thread.ident, variable.get()])
            variable.set("of the thread")

        variable.set("of the caller")
        thread = DaemonThread(work, "pump")
        before = (thread.ident, thread.is_alive(), thread.line())
        await thread.run_to_end()
        after = (thread.is_alive(), thread.line(), thread.returned)
        join("pump")

        assert before == (None, False, None)
        assert seen == ["pump", True, thread.ident, "of the caller"]
        assert variable.get() == "of the caller"
        assert after == (False, None, True)

    @pytest.mark.parametrize("error", [OSError("no route"), SystemExit(7), KeyboardInterrupt()])
    async def test_raises_what_the_function_raises(
        self, error: BaseException, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What the function raises comes out where the call is awaited, and nowhere else."""

        def fail() -> NoReturn:
            raise error

        with pytest.raises(type(error)) as caught:
            await DaemonThread(fail, "pump").run_to_end()

        join("pump")
        assert caught.value is error
        assert capsys.readouterr().err == ""

    async def test_awaits_what_it_returns(self) -> None:
        """What the function returns to be awaited is awaited in the event loop."""
        done: list[str] = []

        async def rest() -> None:
            await checkpoint()
            done.append(threading.current_thread().name)

        await DaemonThread(rest, "pump").run_to_end()

        assert done == [threading.current_thread().name]

    async def test_a_cancellation_does_not_end_the_wait(self) -> None:
        """A thread cannot be cancelled, and neither is `run_to_end`."""
        gate, log = Gate(), list[str]()
        thread = DaemonThread(gate, "pump")

        async def run() -> None:
            await thread.run_to_end()
            log.append("ended")

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await gate.wait_entered()
            alive, line = thread.is_alive(), thread.line()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                log.append("still waiting")
            gate.open.set()
        join("pump")

        assert alive
        assert line is not None
        assert line.endswith("in Gate.__call__")
        assert log == ["still waiting", "ended"]

    @pytest.mark.parametrize("error", [None, OSError("no route")])
    async def test_abandoning_ends_the_wait(self, error: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
        """The wait for an abandoned call ends; what it raises after that is a line on standard error."""
        gate = Gate(error)
        thread = DaemonThread(gate, "pump")

        async with anyio.create_task_group() as group:
            group.start_soon(thread.run_to_end)
            await gate.wait_entered()
            thread.abandon()
        alive = (thread.is_alive(), thread.returned, awaited_call_runs())
        gate.open.set()
        await thread.wait_returned()
        join("pump")

        assert alive == (True, False, False)
        assert not thread.is_alive()
        assert capsys.readouterr().err == (
            "" if error is None else "hostkit: abandoned thread 'pump' failed: OSError('no route')\n"
        )

    async def test_may_be_waited_for_again(self) -> None:
        """A wait that is cancelled leaves the call alone."""
        gate = Gate()
        thread = DaemonThread(gate, "pump")
        thread.start()

        with anyio.move_on_after(0) as scope:
            await thread.wait()
        runs = awaited_call_runs()
        gate.open.set()
        result = await thread.wait()
        join("pump")

        assert scope.cancelled_caught
        assert runs
        assert not awaited_call_runs()
        assert result == "through"

    async def test_a_call_that_is_kept_keeps_nothing_else(self) -> None:
        """A call that has returned holds neither its function nor its context."""

        class Thing:
            def __call__(self) -> None: ...

        thing = Thing()
        reference = weakref.ref(thing)
        thread = DaemonThread(thing, "pump")
        await thread.run_to_end()
        join("pump")
        del thing
        gc.collect()

        assert thread.returned
        assert reference() is None


class TestPool:
    async def test_uses_threads_again(self) -> None:
        """A call is made by a thread that is idle, if there is one."""
        pool = DaemonThreadPool("pool")

        idents = {await call(pool, threading.get_ident) for _ in range(20)}
        pool.close()
        join("pool")

        assert len(idents) < 20

    async def test_has_a_thread_for_each_call_that_blocks(self) -> None:
        """Calls that block do not wait for each other."""
        pool = DaemonThreadPool("pool")
        barrier = threading.Barrier(8)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(call, pool, lambda: barrier.wait(PATIENCE))
        count = len(threads("pool"))
        pool.close()
        join("pool")

        assert count >= 8

    async def test_makes_many_calls_at_once(self) -> None:
        """A thousand calls are made once each, in their order as far as one thread makes them."""
        pool = DaemonThreadPool("pool")
        results: list[object] = []

        async def add(number: int) -> None:
            results.append(await call(pool, lambda: number))

        async with anyio.create_task_group() as group:
            for number in range(1000):
                group.start_soon(add, number)
        pool.close()
        join("pool")

        assert sorted(results) == list(range(1000))  # type: ignore[type-var]

    async def test_idle_threads_end_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that has nothing to do ends; the next call has another one."""
        monkeypatch.setattr(daemon_thread, "IDLE_SECONDS", 0.001)
        pool = DaemonThreadPool("pool")

        await call(pool, str)
        await until(lambda: not threads("pool"))

        assert await call(pool, lambda: 5) == 5
        await until(lambda: not threads("pool"))

    async def test_a_call_may_come_as_a_thread_gives_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that is woken just as its time is over makes the call all the same."""
        pool = DaemonThreadPool("pool")
        await call(pool, str)
        await until(lambda: pool._idle)
        thread = pool._idle[0]
        acquire, timeouts = thread.wakeup.acquire, list[float]()

        class Wakeup:
            """Gives up at the very moment at which the thread is woken."""

            def acquire(self, timeout: float = -1) -> bool:
                woken = acquire(timeout=PATIENCE)
                if timeout > 0 and not timeouts:
                    timeouts.append(timeout)
                    released.release()
                    return False
                return woken

            def release(self) -> None:
                released.release()

        released = thread.wakeup
        thread.wakeup = Wakeup()  # type: ignore[assignment]
        # It waits in the lock itself; the first call moves it on to what stands in for it.
        assert await call(pool, lambda: 1) == 1
        await until(lambda: pool._idle)
        assert await call(pool, lambda: 2) == 2
        pool.close()
        join("pool")

        assert len(timeouts) == 1

    async def test_close_ends_idle_threads_at_once_and_busy_ones_after_their_call(self) -> None:
        """A closed pool keeps no thread; calls may still be made."""
        pool, gate = DaemonThreadPool("pool"), Gate()
        busy = DaemonThread(gate, "busy", pool=pool)
        busy.start()
        await gate.wait_entered()
        await call(pool, str)

        pool.close()
        await until(lambda: len(threads("pool")) == 1)
        gate.open.set()
        assert await busy.wait() == "through"
        assert await call(pool, lambda: 7) == 7
        join("pool")

    async def test_a_call_that_gets_no_thread_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system has no thread left, the call fails, and the next one has its chance."""
        pool = DaemonThreadPool("pool")

        def refuse(_thread: threading.Thread) -> NoReturn:
            message = "can't start new thread"
            raise RuntimeError(message)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await call(pool, str)

        assert await call(pool, lambda: 7) == 7
        assert not awaited_call_runs()
        pool.close()
        join("pool")

    async def test_an_idle_thread_keeps_nothing_alive(self) -> None:
        """What a call has used goes with it, not with the thread."""

        class Thing:
            def __call__(self) -> None: ...

        pool, thing = DaemonThreadPool("pool"), Thing()
        reference = weakref.ref(thing)

        await call(pool, thing)
        del thing
        await until(lambda: gc.collect() is not None and reference() is None)

        assert len(threads("pool")) == 1
        pool.close()
        join("pool")


class TestEndOfTheLoop:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_thread_may_outlive_the_loop(self, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A call that returns after the end of its loop is dropped; its error is a line on standard error."""
        for error in (None, OSError("no route")):
            gate = Gate(error)
            anyio.run(outlived, gate, backend=backend)
            gate.open.set()
            join("pump")

        assert capsys.readouterr().err == "hostkit: abandoned thread 'pump' failed: OSError('no route')\n"

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_an_error_that_is_not_heard_is_written(self, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A call that was not abandoned, but whose loop is gone, does not fail in silence either."""
        gate = Gate(OSError("no route"))

        async def leave() -> None:
            DaemonThread(gate, "pump").start()
            await gate.wait_entered()

        anyio.run(leave, backend=backend)
        gate.open.set()
        join("pump")

        assert capsys.readouterr().err == "hostkit: abandoned thread 'pump' failed: OSError('no route')\n"

    def test_needs_no_standard_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no standard error, nothing is written and nothing raised."""
        failed: list[object] = []
        monkeypatch.setattr(threading, "excepthook", failed.append)
        gate = Gate(OSError("no route"))

        anyio.run(outlived, gate)
        monkeypatch.setattr(sys, "stderr", None)
        gate.open.set()
        join("pump")

        assert failed == []


async def outlived(gate: Gate) -> None:
    """Start a thread, and end the event loop while it runs."""
    thread = DaemonThread(gate, "pump")
    async with anyio.create_task_group() as group:
        group.start_soon(thread.run_to_end)
        await gate.wait_entered()
        thread.abandon()
