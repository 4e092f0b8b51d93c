"""Blocking services: each on a daemon thread of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from loguru import logger
from puppet import Plain

from hostkit import (
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostStateError,
    Restart,
    ServiceStuckError,
    StopTimeoutError,
    ThreadService,
    ThreadStoppingToken,
)
from hostkit.events import StopRequested

pytestmark = pytest.mark.real_time
QUICK = HostOptions(log_level="CRITICAL", shutdown_timeout=0.2, cancellation_timeout=0.2)


def build(service: HostedService | Callable[..., object], options: HostOptions = QUICK) -> Host:
    """Return a host of *service*, named a, and a plain one."""
    builder = HostBuilder(options)
    builder.add_service(service, name="a")
    builder.add_service(Plain())
    return builder.build()


async def test_a_blocking_service_runs_beside_the_loop_and_wakes_at_the_stop() -> None:
    """Execute runs on a thread named after the service, and its waits end at once when the stop comes."""
    names: list[str] = []

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            names.append(threading.current_thread().name)
            stopping_token.wait()
            names.append("woken")

        async def stop(self) -> None:
            names.append("stopped")

    host = build(Blocking())
    async with host:
        while not names:
            await anyio.lowlevel.checkpoint()

    assert names == ["a", "woken", "stopped"]
    assert host.lifetime.exit_code == 0


async def test_its_log_context_is_that_of_the_service() -> None:
    """What the thread logs carries the service's name."""
    lines: list[object] = []
    sink = logger.add(lambda message: lines.append(message.record["extra"].get("service")), filter=__name__)

    def service(stopping_token: ThreadStoppingToken) -> None:
        logger.info("from the thread")

    try:
        async with build(service):
            while not lines:
                await anyio.lowlevel.checkpoint()
    finally:
        logger.remove(sink)

    assert lines == ["a"]


async def test_a_failure_is_a_failure() -> None:
    """What execute raises comes out as of any service."""

    def service(stopping_token: ThreadStoppingToken) -> None:
        message = "in the thread"
        raise OSError(message)

    host = build(service)
    await host.start()

    with pytest.raises(HostFailedError) as caught:
        await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [OSError]


async def test_an_exit_request_comes_out() -> None:
    """SystemExit raised in the thread is a stop request with its code."""

    def service(stopping_token: ThreadStoppingToken) -> None:
        raise SystemExit(4)

    host = build(service)
    await host.start()

    with pytest.raises(SystemExit):
        await host.wait()

    assert host.lifetime.exit_code == 4


async def test_an_exit_out_of_a_callback_is_taken_in_the_loop() -> None:
    """A callback that is called in the thread, as a restart has set its token, stops the host from the event loop."""
    threads: list[int] = []

    def leave() -> None:
        raise SystemExit(4)

    def service(stopping_token: ThreadStoppingToken) -> None:
        stopping_token.wait()
        stopping_token.on_stop(leave)

    host = build(service)
    host.on_event(lambda event: threads.append(threading.get_ident()) if isinstance(event, StopRequested) else None)
    await host.start()
    with suppress(HostStateError):  # as the host begins to stop
        await host.restart("a")

    with pytest.raises(SystemExit):
        await host.wait()

    assert threads == [threading.get_ident()]
    assert host.lifetime.exit_code == 4


async def test_it_is_restarted_on_a_new_thread() -> None:
    """Each run has its own thread and its own token."""
    threads: list[threading.Thread] = []

    def service(stopping_token: ThreadStoppingToken) -> None:
        threads.append(threading.current_thread())
        if len(threads) < 3:
            raise OSError
        stopping_token.wait()

    builder = HostBuilder(QUICK)
    builder.add_service(service, on_failure=Restart(backoff=Backoff(0, 1, 0, 0)))
    async with builder.build():
        while len(threads) < 3:
            await anyio.sleep(0.001)

    assert len(set(threads)) == 3


async def test_a_thread_cannot_be_cancelled_but_may_end_late() -> None:
    """Ended between the two timeouts it had to be waited for longer than asked: a StopTimeoutError."""
    cancelled = threading.Event()

    def service(stopping_token: ThreadStoppingToken) -> None:
        cancelled.wait()

    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=0.05, cancellation_timeout=60))
    builder.on_event(lambda event: cancelled.set() if type(event).__name__ == "ServiceCancelled" else None)
    builder.add_service(service)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]


async def test_a_thread_that_does_not_end_is_abandoned_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with its line; what it raises later is one line on standard error."""
    over, gone = threading.Event(), threading.Event()

    def service(stopping_token: ThreadStoppingToken) -> None:
        over.wait()
        gone.set()
        message = "too late"
        raise OSError(message)

    host = build(service)
    await host.start()

    with pytest.raises(HostFailedError) as caught:
        await host.stop()

    error = caught.value.exceptions[0]
    assert isinstance(error, ServiceStuckError)
    assert error.waiting_at is not None
    assert "test_thread_service.py" in error.waiting_at
    with pytest.raises(HostStateError, match="still run"):
        await host.start()
    thread = next(thread for thread in threading.enumerate() if thread.name == "a")
    over.set()
    await anyio.to_thread.run_sync(thread.join)
    assert "abandoned thread 'a' failed: OSError('too late')" in capsys.readouterr().err


async def test_a_thread_that_is_abandoned_is_not_cleaned_up_under_its_feet() -> None:
    """`stop()` is never called while `execute()` runs, not even when the host has given that up."""
    over, stopped = threading.Event(), threading.Event()

    class Deaf(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            over.wait()

        async def stop(self) -> None:
            stopped.set()

    host = build(Deaf())
    await host.start()
    with pytest.raises(HostFailedError):
        await host.stop()
    thread = next(thread for thread in threading.enumerate() if thread.name == "a")
    over.set()
    await anyio.to_thread.run_sync(thread.join)

    assert not stopped.is_set()


async def test_an_ignored_stop_is_said_once_and_does_not_spin() -> None:
    """A thread that ignores the answer of sleep() is warned about once."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")

    def service(stopping_token: ThreadStoppingToken) -> None:
        for _ in range(4):
            stopping_token.sleep(0.001)
        stopping_token.wait()
        for _ in range(4):
            stopping_token.sleep(0.001)

    try:
        async with build(service, HostOptions()):
            pass
    finally:
        logger.remove(sink)

    assert len([line for line in lines if "sleep() has returned True" in line]) == 1


async def test_many_blocking_services_hinder_nobody() -> None:
    """Sixty of them leave anyio's own worker threads to the app."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    running = threading.Barrier(61)

    def service(stopping_token: ThreadStoppingToken) -> None:
        running.wait()
        stopping_token.wait()

    for number in range(60):
        builder.add_service(partial(service), name=f"t{number}")
    host = builder.build()

    async with host:
        await anyio.to_thread.run_sync(running.wait)

    assert host.lifetime.exit_code == 0


async def test_the_end_of_a_blocking_service_may_end_the_host() -> None:
    """on_return works as for the others."""
    builder = HostBuilder(QUICK)
    builder.add_service(lambda stopping_token: None, name="a", on_return=EndAction.STOP_HOST)
    builder.add_service(Plain())
    host = builder.build()

    await host.start()
    await host.wait()

    assert host.lifetime.stop_reason == "service 'a' has returned"


async def test_what_a_function_returns_to_be_awaited_is_awaited() -> None:
    """A sync function that returns an awaitable is no blocking loop: nothing is dropped in silence."""
    awaited: list[str] = []

    async def worker(stopping_token: ThreadStoppingToken, word: str) -> None:
        await anyio.lowlevel.checkpoint()
        awaited.append(word)

    builder = HostBuilder(QUICK)
    builder.add_service(lambda stopping_token: worker(stopping_token, "done"))
    host = builder.build()

    await host.start()
    await host.wait()

    assert awaited == ["done"]
