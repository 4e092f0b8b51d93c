"""A host on a thread of its own, for synchronous apps and scripts."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import anyio
import pytest
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from children import PATIENCE, PYTHON, Child
from puppet import Puppet, PuppetError, build, trace

from hostkit import HostFailedError, HostOptions, HostState, HostStateError, HostThread, StoppingToken
from hostkit._process.host_thread import _Calls

ONLY_UNIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
BACKENDS = [
    "asyncio",
    pytest.param("trio", marks=pytest.mark.needs("trio")),
]
Backend = Literal["asyncio", "trio"]
HASTY = HostOptions(log_level="CRITICAL", shutdown_timeout=0.1, cancellation_timeout=0.1)


async def double(number: int) -> int:
    """Return twice the number, after a while."""
    await checkpoint()
    return 2 * number


async def thread_name() -> str:
    """Return the name of the thread that the event loop is on."""
    return threading.current_thread().name


@pytest.mark.parametrize("backend", BACKENDS)
def test_services_live_while_synchronous_code_runs(backend: Backend) -> None:
    """The host is ready when start_in_thread() returns, and has stopped in order when stop() returns."""
    host, events = build(Puppet(), Puppet(), options=HostOptions(log_level="CRITICAL", backend=backend))

    thread = host.start_in_thread()
    ready = host.status().ready
    doubled, name = thread.call(double, 21), thread.call(thread_name)
    thread.stop()
    thread.stop()

    assert ready
    assert (doubled, name) == (42, "hostkit")
    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.stop_reason == "HostThread.stop() was called"
    assert trace(events)[-4:] == ["stopping b", "stopped b", "stopping a", "stopped a"]


def test_a_context_manager_stops_at_its_end() -> None:
    """``with host.start_in_thread() as thread`` stops the host at the end of the block."""
    host, _ = build(Puppet())

    with host.start_in_thread() as thread:
        assert type(thread) is HostThread
        assert thread.call(double, 2) == 4

    assert host.lifetime.state is HostState.STOPPED


def test_an_error_of_the_start_comes_out() -> None:
    """What start() would raise start_in_thread() raises; everything has been stopped and the thread has ended."""
    first = Puppet()
    host, _ = build(first, Puppet(fails="start"))

    with pytest.raises(HostFailedError, match="PuppetError: start"):
        host.start_in_thread()

    assert first.calls == ["start", "execute", "stop"]
    assert "hostkit" not in [thread.name for thread in threading.enumerate()]


def test_a_host_that_runs_is_not_started_again() -> None:
    """A second thread for the same host is refused, and does not disturb the first."""
    host, _ = build(Puppet())

    with host.start_in_thread():
        with pytest.raises(HostStateError, match="the host is started"):
            host.start_in_thread()
        assert host.status().ready


def test_a_stopped_host_starts_again() -> None:
    """A host has any number of threads, one after the other; the stop of an earlier one is over."""
    puppet = Puppet()
    host, _ = build(puppet)

    first = host.start_in_thread()
    first.stop()
    with host.start_in_thread():
        first.stop()
        assert host.status().ready

    assert puppet.calls == ["start", "execute", "stop"] * 2


@pytest.mark.parametrize("method", ["stop", "wait", "restart", "check"])
def test_is_not_awaited_in_another_event_loop(method: str) -> None:
    """The host's async methods belong into its own loop; elsewhere they change nothing, until it has ended."""
    host, _ = build(Puppet())
    arguments = ("a",) if method == "restart" else ()

    with host.start_in_thread() as thread:
        with pytest.raises(HostStateError, match=rf"{method}\(\) in another event loop .* use HostThread.call\(\)"):
            anyio.run(getattr(host, method), *arguments)
        state, healthy = host.lifetime.state, host.status().healthy
        thread.call(host.check)
    anyio.run(host.stop)

    assert state is HostState.STARTED
    assert healthy
    assert host.lifetime.stop_reason == "HostThread.stop() was called"


def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra is missing."""
    host, _ = build(Puppet(), options=HostOptions(backend="trio"))
    monkeypatch.setattr("importlib.util.find_spec", {}.get)

    with pytest.raises(HostStateError, match=r"install hostkit-py\[trio\]"):
        host.start_in_thread()


def test_an_event_loop_that_cannot_be_made_is_an_error_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps the event loop from running comes out of start_in_thread()."""

    def refuse(*args: object, **options: object) -> None:
        message = "too many open files"
        raise OSError(message)

    host, _ = build(Puppet())
    monkeypatch.setattr(anyio, "run", refuse)

    with pytest.raises(OSError, match="too many open files"):
        host.start_in_thread()


class TestCall:
    def test_raises_what_the_function_raises(self) -> None:
        """An error of the function is the caller's."""

        async def fail() -> None:
            raise PuppetError

        host, _ = build(Puppet())

        with host.start_in_thread() as thread, pytest.raises(PuppetError):
            thread.call(fail)

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
    def test_an_exit_is_the_callers(self, backend: Backend, kind: type[BaseException]) -> None:
        """What would end the process is raised in the thread that calls; the host goes on."""

        async def leave() -> None:
            raise kind

        host, _ = build(Puppet(), options=HostOptions(log_level="CRITICAL", backend=backend))

        with host.start_in_thread() as thread:
            with pytest.raises(kind):
                thread.call(leave)
            doubled = thread.call(double, 21)

        assert doubled == 42
        assert host.lifetime.stop_reason == "HostThread.stop() was called"

    def test_what_other_code_has_cancelled_is_an_error(self) -> None:
        """A cancellation is nothing that a synchronous caller could take."""

        async def await_cancelled_task() -> None:
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

        host, _ = build(Puppet())

        with (
            host.start_in_thread() as thread,
            pytest.raises(HostStateError, match="or other code has cancelled what it awaits"),
        ):
            thread.call(await_cancelled_task)

    def test_refuses_when_the_loop_was_ended(self) -> None:
        """Where a task of the app's own has raised an exit, asyncio ends the loop, and there is nothing to call."""

        async def leave() -> None:
            raise SystemExit(5)

        async def spawn() -> None:
            tasks.append(asyncio.create_task(leave()))

        host, _ = build(Puppet(), options=HASTY)
        tasks: list[asyncio.Task[None]] = []

        thread = host.start_in_thread()
        thread.call(spawn)
        thread.stop()

        with pytest.raises(HostStateError, match="call\\(\\) after the end"):
            thread.call(double, 1)

    def test_refuses_a_function_that_is_not_async(self) -> None:
        """A synchronous function would block the event loop."""
        host, _ = build(Puppet())

        with host.start_in_thread() as thread, pytest.raises(TypeError, match="call\\(\\) takes an async function"):
            thread.call(len, "abc")  # type: ignore[arg-type]

    def test_refuses_after_the_end(self) -> None:
        """A host that has ended runs nothing more."""
        host, _ = build(Puppet())

        thread = host.start_in_thread()
        thread.stop()

        with pytest.raises(HostStateError, match="call\\(\\) after the end"):
            thread.call(double, 1)

    def test_refuses_in_the_hosts_own_loop(self) -> None:
        """Inside the loop it would wait for itself; so would stop()."""
        host, _ = build(Puppet())
        thread = host.start_in_thread()

        async def call() -> None:
            thread.call(double, 1)

        async def stop() -> None:
            thread.stop()

        with thread:
            with pytest.raises(HostStateError, match="own event loop: await the function there"):
                thread.call(call)
            with pytest.raises(HostStateError, match=r"own event loop: .* call lifetime\.request_stop\(\)"):
                thread.call(stop)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_is_ended_by_the_end_of_the_host(self, backend: Backend) -> None:
        """A call that outlasts the host is cancelled, and says why."""
        host, _ = build(Puppet(), options=HostOptions(log_level="CRITICAL", backend=backend))
        ended = []

        async def outlast() -> None:
            host.lifetime.request_stop()
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(host.lifetime.state)

        with host.start_in_thread() as thread, pytest.raises(HostStateError, match="the host ended during the call"):
            thread.call(outlast)

        assert ended == [HostState.STOPPED]

    def test_may_use_the_services_until_they_have_stopped(self) -> None:
        """A call goes on while the host stops."""
        host, _ = build(Puppet())
        seen = []

        async def watch() -> str:
            host.lifetime.request_stop()
            await host.lifetime.wait_stopping()
            seen.append(host.lifetime.state)
            return "done"

        with host.start_in_thread() as thread:
            assert thread.call(watch) == "done"

        assert seen == [HostState.STOPPING]


class TestCallsAtTheEnd:
    """What would take two threads and luck, in one loop."""

    async def test_one_that_is_on_its_way_is_awaited_and_refused(self) -> None:
        """A call that comes in when the host has just ended finds the loop still there, and is told."""
        calls = _Calls()
        calls.announce()

        async with anyio.create_task_group() as group:
            group.start_soon(calls.close, 5)
            await anyio.sleep(1)
            _, error = await calls.run(anyio.sleep_forever)

        assert isinstance(error, HostStateError)
        assert str(error).startswith("the host ended during the call")
        assert anyio.current_time() == 1

    async def test_one_that_ignores_its_cancellation_is_left(self) -> None:
        """The loop waits for no call longer than for a service."""

        async def ignore() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10)

        calls = _Calls()
        calls.announce()

        async with anyio.create_task_group() as group:
            group.start_soon(calls.run, ignore)
            await anyio.sleep(1)
            await calls.close(5)
            assert anyio.current_time() == 6


class TestFailure:
    def test_comes_out_at_the_stop(self) -> None:
        """A crash is seen in the status at once, and comes out of stop()."""
        host, _ = build(Puppet(run=0, fails="execute"))
        stopped = threading.Event()
        host.lifetime.on_stopped(stopped.set)

        thread = host.start_in_thread()
        assert stopped.wait(30)

        with pytest.raises(HostFailedError, match="PuppetError: execute"):
            thread.stop()
        with pytest.raises(HostFailedError, match="PuppetError: execute"):
            thread.stop()

    def test_is_noted_on_an_error_of_the_block(self) -> None:
        """An error of the with block comes out as itself, the host's failure is its note."""
        host, _ = build(Puppet(fails="stop"))

        with pytest.raises(PuppetError) as caught, host.start_in_thread():
            raise PuppetError

        assert caught.value.__notes__ == ["besides, host failed: PuppetError: stop (service 'a') (1 sub-exception)"]

    def test_comes_out_of_the_with(self) -> None:
        """At the end of a with block that has gone well the host's failure comes out."""
        host, _ = build(Puppet(fails="stop"))

        with pytest.raises(HostFailedError), host.start_in_thread():
            pass


class Deaf:
    """A service that ignores its cancellation until the test releases it."""

    def __init__(self) -> None:
        self.loop: EventLoopToken | None = None
        self.released = anyio.Event()

    async def run(self, stopping_token: StoppingToken) -> None:
        self.loop = current_token()
        while not self.released.is_set():
            # The shield is not enough: the end of asyncio's loop cancels natively.
            with anyio.CancelScope(shield=True), suppress(anyio.get_cancelled_exc_class()):
                await self.released.wait()

    def release(self) -> None:
        from_thread.run_sync(self.released.set, token=self.loop)


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    """A deaf service that hears when the test is over."""
    service = Deaf()
    yield service
    service.release()


class TestStuck:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_an_abandoned_service_does_not_hold_stop(self, backend: Backend, deaf: Deaf) -> None:
        """A service that ignores its cancellation is named, and its thread is left behind."""
        host, _ = build(
            deaf.run,
            options=HostOptions(log_level="CRITICAL", shutdown_timeout=0, cancellation_timeout=0.1, backend=backend),
        )
        thread = host.start_in_thread()

        with pytest.raises(HostFailedError, match="ignores its cancellation and was abandoned"):
            thread.stop()

    def test_an_abandoned_service_does_not_hold_a_failing_start(self, deaf: Deaf) -> None:
        """Nor does it when the start fails."""
        host, _ = build(deaf.run, Puppet(fails="start"), options=HASTY)

        with pytest.raises(HostFailedError, match=r"PuppetError: start .* and 1 more"):
            host.start_in_thread()

    def test_a_blocked_event_loop_does_not_hold_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who blocks the event loop is named, with the line."""
        go, blocked, released = threading.Event(), threading.Event(), threading.Event()

        async def block() -> None:
            while not go.is_set():
                await checkpoint()
            blocked.set()
            released.wait()

        host, _ = build(block, options=HASTY)
        monkeypatch.setattr("hostkit._process.host_thread.MARGIN", 0)
        thread = host.start_in_thread()
        go.set()
        assert blocked.wait(PATIENCE)

        with pytest.raises(
            HostFailedError, match=r"cannot be stopped: service 'a' blocks .* at .*test_host_thread\.py"
        ):
            thread.stop()

        released.set()
        thread.stop()
        assert host.lifetime.state is HostState.STOPPED


SCRIPT = """
import os
import sys

import anyio

from hostkit import HostBuilder, HostOptions, HostStateError, StoppingToken

builder = HostBuilder(HostOptions(log_level="CRITICAL"))


@builder.service()
async def worker(stopping_token: StoppingToken) -> None:
    await stopping_token.wait()
    print("stopped:", builder.lifetime.stop_reason, flush=True)


host = builder.build()
"""


def run(code: str, directory: Path, *, interrupt: bool = False) -> list[str]:
    """Run a script to its end, interrupted after its first line, and return what it has said."""
    script = directory / "script.py"
    script.write_text(SCRIPT + code)
    with Child(*PYTHON, script, cwd=directory) as child:
        if interrupt:
            child.wait_for(str)
            child.send(signal.SIGINT)
        exit_code = child.end()
    assert exit_code == 0, child.text
    return child.lines


def test_the_host_is_stopped_at_the_interpreters_exit(tmp_path: Path) -> None:
    """A script that just ends has its services stopped."""
    lines = run("host.start_in_thread()\nprint('end of the script')", tmp_path)

    assert lines == ["end of the script", "stopped: the interpreter exits"]


@ONLY_UNIX
@pytest.mark.needs("uvloop")
def test_the_loop_may_be_uvloops(tmp_path: Path) -> None:
    """The option backend holds for the thread too."""
    code = """
import asyncio

builder = HostBuilder(HostOptions(log_level="CRITICAL", backend="uvloop"))


@builder.service()
async def tell(stopping_token: StoppingToken) -> None:
    print(type(asyncio.get_running_loop()).__module__)
    await stopping_token.wait()


with builder.build().start_in_thread():
    pass
"""
    # In a process of its own: uvloop keeps a pipe for good.
    assert run(code, tmp_path) == ["uvloop"]


def test_an_event_loop_that_is_blocked_does_not_hold_the_interpreters_exit(tmp_path: Path) -> None:
    """At the interpreter's exit who blocks the event loop is named, and the process ends."""
    code = """
import time

builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=0.1, cancellation_timeout=0.1))


@builder.service()
async def block(stopping_token):
    await stopping_token.wait()
    print("blocking", flush=True)
    time.sleep(600)


builder.build().start_in_thread()
"""
    lines = run(code, tmp_path)

    assert lines[0] == "blocking"
    assert re.search(r"HostFailedError: .* service 'block' blocks the event loop at .*script\.py:\d+", lines[-1])


@ONLY_UNIX
def test_a_fork_after_the_start_is_detected(tmp_path: Path) -> None:
    """In a forked child there is no host: call() and stop() say so, and its exit waits for nothing."""
    code = """
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # Python's own word on the matter


async def answer() -> int:
    return 42

thread = host.start_in_thread()
child = os.fork()
if not child:
    for ask in (lambda: thread.call(answer), thread.stop):
        try:
            ask()
        except HostStateError as error:
            print(str(error).replace(str(os.getppid()), "N"), flush=True)
    sys.exit()
os.waitpid(child, 0)
print("parent:", thread.call(answer))
thread.stop()
"""
    lines = run(code, tmp_path)

    message = "the process was forked after the host was started in process N; start the host in the child"
    assert lines == [
        f"{message} (gunicorn: in post_worker_init)",
        f"{message} (gunicorn: in post_worker_init)",
        "parent: 42",
        "stopped: HostThread.stop() was called",
    ]


@ONLY_UNIX
def test_an_interrupted_start_is_rolled_back(tmp_path: Path) -> None:
    """Ctrl-C during start_in_thread() stops what had started, and comes out."""
    code = """
class Slow(HostedService):
    async def start(self):
        print("starting", flush=True)
        await anyio.sleep(600)

builder = HostBuilder(HostOptions(log_level="CRITICAL"))
builder.add_service(worker)
builder.add_service(Slow())
host = builder.build()
try:
    host.start_in_thread()
except KeyboardInterrupt:
    print("interrupted:", host.lifetime.state)
"""
    # A process that was started in the background, as a test run may be, ignores Ctrl-C until it is told otherwise.
    listen = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    lines = run("from hostkit import HostedService\n" + listen + code, tmp_path, interrupt=True)

    assert lines == ["starting", "stopped: start_in_thread() was interrupted", "interrupted: stopped"]
