"""A service that leaves a cancel scope open breaks the services' group: a failure of the host, and an ordered stop."""

from collections.abc import Sequence

import anyio
import pytest
from loguru import logger
from puppet import QUIET, Plain, Puppet, build, trace

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostState,
    Restart,
    ServiceStuckError,
    StoppingToken,
    StopTimeoutError,
)
from hostkit.events import HostEvent, ServiceCancelled, ServiceStarting, ServiceStopped, StopRequested
from hostkit.testing import virtual_time

WORDS = "a service has left a cancel scope or a task group open, which cancels all services"


async def careless(stopping_token: StoppingToken) -> None:
    """Leave a scope open, after a second or at the stop."""
    anyio.CancelScope().__enter__()
    await stopping_token.sleep(1)


async def failures_of(host: Host) -> Sequence[Exception]:
    """Run *host* until it fails."""
    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()
    return caught.value.exceptions


async def test_it_is_a_failure_that_names_the_last_service_and_the_cause() -> None:
    """The first failure says what happened, the second is what anyio or trio say of it; the application is told."""
    fatal: list[HostFailedError] = []
    builder = HostBuilder(QUIET)
    builder.on_fatal(fatal.append)
    builder.add_service(Puppet(run=0.5), name="before")
    builder.add_service(careless)
    builder.add_service(Puppet(), name="after")
    host = builder.build()

    said, cause = await failures_of(host)

    assert str(said) == f"{WORDS}; the last that ended was 'careless'"
    assert "cancel scope" in str(cause).lower()
    assert isinstance(cause, RuntimeError)
    assert host.lifetime.stop_reason == f"the host failed: RuntimeError: {said}"
    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.exit_code == 1
    assert [error.exceptions[0] for error in fatal] == [said]


async def test_the_stop_is_in_order_and_has_its_time() -> None:
    """The loops are cancelled all at once, but each stop() has its turn, and may await."""
    host, events = build(Puppet(stop=3), Plain(), careless, Puppet(stop=2), Puppet(run=0.5, stop=1))

    await failures_of(host)

    assert trace(events)[-9:] == [
        "stopped c",
        "stopping e",
        "stopped e",
        "stopping d",
        "stopped d",
        "stopping b",
        "stopped b",
        "stopping a",
        "stopped a",
    ]
    assert anyio.current_time() == 1 + 1 + 2 + 3


async def test_a_stop_that_takes_too_long_is_cancelled_all_the_same() -> None:
    """The deadlines are those of any other stop."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)
    host, events = build(Puppet(stop=30), careless, options=options)

    errors = await failures_of(host)

    assert [type(error) for error in errors] == [RuntimeError, StopTimeoutError, RuntimeError]
    assert [event.at for event in events if isinstance(event, ServiceCancelled)] == [11]
    assert anyio.current_time() == 11


async def test_a_service_that_waits_to_be_run_again_is_not() -> None:
    """Its wait is cancelled with all the others, and that is not the reason of the stop."""
    builder = HostBuilder(QUIET)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    builder.add_service(careless)
    for number in range(20):
        policy = Restart(backoff=Backoff(initial=10, jitter=0))
        builder.add_service(Puppet(run=0, fails="execute"), name=f"waiting {number}", on_failure=policy)
    host = builder.build()

    errors = await failures_of(host)

    assert str(errors[0]).startswith(WORDS)
    assert host.lifetime.stop_reason == f"the host failed: RuntimeError: {errors[0]}"
    assert len([event for event in events if isinstance(event, ServiceStarting)]) == 21
    assert len([event for event in events if isinstance(event, StopRequested)]) == 1
    assert anyio.current_time() == 1


async def test_a_service_that_takes_it_for_its_own_stop_gives_no_other_reason() -> None:
    """One that swallows the cancellation and returns has not asked for the stop."""

    class Swallowing(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                return

    builder = HostBuilder(QUIET)
    builder.add_service(careless)
    for number in range(20):
        builder.add_service(Swallowing(), name=f"swallowing {number}", on_return=EndAction.STOP_HOST)
    host = builder.build()

    errors = await failures_of(host)

    assert host.lifetime.stop_reason == f"the host failed: RuntimeError: {errors[0]}"


async def test_during_the_start() -> None:
    """A service that is being started is cancelled too; the start fails."""
    for attempt in range(1, 21):  # trio runs the tasks of one instant in any order
        slow = Puppet(start=100)
        host, _ = build(Plain(), careless, slow)

        with pytest.raises(HostFailedError) as caught:
            await host.start()

        assert str(caught.value.exceptions[0]).startswith(WORDS)
        assert slow.calls == ["start"]
        assert anyio.current_time() == attempt


async def test_at_the_very_end() -> None:
    """Also where nothing else is left to be cancelled it is a failure."""
    host, _ = build(careless)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert str(caught.value.exceptions[0]) == f"{WORDS}; the last that ended was 'a'"
    assert host.lifetime.exit_code == 1


async def test_after_the_end_it_is_a_line_of_the_log() -> None:
    """A service that was abandoned cannot fail a host any more that has ended."""
    released = anyio.Event()

    async def deaf(stopping_token: StoppingToken) -> None:
        anyio.CancelScope(shield=True).__enter__()
        await released.wait()

    host, _ = build(deaf, options=HostOptions(log_level="ERROR", shutdown_timeout=1, cancellation_timeout=1))
    await host.start()
    with pytest.raises(HostFailedError) as caught:
        await host.stop()
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}", backtrace=False)

    try:
        released.set()
        await anyio.sleep(1)
    finally:
        logger.remove(sink)

    assert len(lines) == 1
    assert lines[0].startswith("ERROR an abandoned service has failed since: RuntimeError(")
    assert host.lifetime.failure is not None
    assert host.lifetime.failure.exceptions == caught.value.exceptions


def test_the_end_of_the_loop_with_something_abandoned_is_none() -> None:
    """Asyncio cancels what was left; the host has ended before, and nothing is told any more."""

    async def deaf(stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

    host, _ = build(deaf)
    backend, options = virtual_time("asyncio")

    async def main() -> None:
        await host.start()
        with pytest.raises(HostFailedError):
            await host.stop()

    anyio.run(main, backend=backend, backend_options=options)

    assert host.lifetime.failure is not None
    assert [type(error) for error in host.lifetime.failure.exceptions] == [ServiceStuckError]


async def test_a_service_with_a_stop_hook_is_named_at_once() -> None:
    """Between its execute() and its stop() it is found out."""

    class Careless(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            await careless(stopping_token)

        async def stop(self) -> None:
            await anyio.sleep(1)

    host, events = build(Puppet(), Careless())

    errors = await failures_of(host)

    assert host.lifetime.stop_reason is not None
    assert host.lifetime.stop_reason.startswith("service 'b' failed: RuntimeError: ")
    assert isinstance(errors[0], RuntimeError)
    assert [event.service for event in events if isinstance(event, ServiceStopped)] == ["b", "a"]
