"""The deadlines of a stop: when it counts from, what a second signal changes, and the share of each step."""

import anyio
import pytest
from puppet import Puppet, build, instants
from scheduled import block

from hostkit import (
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    Restart,
    ServiceStuckError,
    StoppingToken,
    StopTimeoutError,
)
from hostkit.events import (
    HostEvent,
    ServiceAbandoned,
    ServiceCancelled,
    ServiceStopped,
    ServiceStopping,
    StopRequested,
)

BUDGETS = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)


def cancel_all(host: Host) -> None:
    """Do what a second signal does."""
    lifecycle = host._runner.lifecycle
    assert lifecycle is not None
    lifecycle.shutdown.cancel_all(anyio.current_time())


@pytest.mark.real_time
async def test_the_stop_counts_from_the_request() -> None:
    """The instant of the stop is that of the request, however long the loop takes to hear of it."""
    host, events = build(Puppet())
    await host.start()

    host.lifetime.request_stop()
    requested = anyio.current_time()
    while anyio.current_time() == requested:
        """The loop's clock goes on, but the loop does not turn."""
    await host.wait()

    assert [event.at <= requested for event in events if isinstance(event, StopRequested)] == [True]


async def test_a_second_signal_cancels_at_once() -> None:
    """A second signal moves both deadlines: everything is cancelled now, and left one cancellation timeout later."""
    host, events = build(Puppet(drain=100, deaf="execute"), options=BUDGETS)
    await host.start()
    host.lifetime.request_stop()
    await anyio.sleep(1)

    cancel_all(host)

    with pytest.raises(HostFailedError) as caught:
        await host.wait()
    assert [type(error) for error in caught.value.exceptions] == [ServiceStuckError]
    assert instants(events, ServiceCancelled) == [("a", 1)]
    assert instants(events, ServiceAbandoned) == [("a", 1 + 6)]
    await anyio.sleep(200)


async def test_the_watchdog_hears_of_the_last_deadline() -> None:
    """Whenever the last deadline is set, the watchdog gets the number of seconds until then."""
    host, _ = build(Puppet(drain=5), options=BUDGETS)
    await host.start()
    assert host._runner.lifecycle is not None
    heard: list[float] = []
    host._runner.lifecycle.shutdown.on_deadline = lambda seconds, **_: heard.append(seconds)
    await anyio.sleep(100)
    host.lifetime.request_stop()
    await anyio.sleep(3)
    assert heard == [16]

    cancel_all(host)

    assert heard == [16, 6]
    with pytest.raises(HostFailedError):
        await host.wait()


async def test_two_signals_at_once_cancel_at_once() -> None:
    """A second signal that is there before the loop has heard of the first is not forgotten, and begins no stop."""
    host, events = build(Puppet(drain=1), options=BUDGETS)
    await host.start()
    assert host._runner.lifecycle is not None
    deadlines: list[float] = []
    host._runner.lifecycle.shutdown.on_deadline = lambda seconds, **_: deadlines.append(seconds)

    cancel_all(host)
    assert not deadlines
    with pytest.raises(HostFailedError) as caught:
        await host.stop()

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert instants(events, ServiceCancelled) == [("a", 0)]


async def test_a_late_second_signal_gives_no_new_time() -> None:
    """After the shutdown timeout a second signal changes nothing."""
    host, events = build(Puppet(drain=100, deaf="execute"), options=BUDGETS)
    await host.start()
    host.lifetime.request_stop()
    await anyio.sleep(12)

    cancel_all(host)

    with pytest.raises(HostFailedError):
        await host.wait()
    assert instants(events, ServiceAbandoned) == [("a", 10 + 6)]
    await anyio.sleep(200)


async def test_every_step_has_an_equal_share_to_be_cancelled_in() -> None:
    """Two steps that ignore their cancellation use up two of three equal shares; the third has its own in full."""
    deaf = [Puppet(drain=100, deaf="execute") for _ in range(2)]
    host, events = build(Puppet(), *deaf, options=BUDGETS)
    await host.start()

    with pytest.raises(HostFailedError):
        await host.stop()

    assert instants(events, ServiceCancelled) == [("c", 10), ("b", 12), ("a", 14)]
    await anyio.sleep(200)


async def test_without_any_time_only_those_that_ignore_it_are_abandoned() -> None:
    """Of a stop at once, those that end when they are cancelled are waited for; only the others are given up."""
    no_time = HostOptions(log_level="CRITICAL", shutdown_timeout=0, cancellation_timeout=0)
    host, events = build(Puppet(drain=100), Puppet(drain=100, deaf="execute"), Puppet(drain=100), options=no_time)
    await host.start()

    with pytest.raises(HostFailedError):
        await host.stop()

    assert [name for name, _ in instants(events, ServiceAbandoned)] == ["b"]
    await anyio.sleep(200)


async def test_a_stalled_run_that_ignores_its_cancellation_hears_of_the_stop() -> None:
    """A run that was cancelled for its silence sees its token when the host stops, and may end by that."""

    async def deaf(stopping_token: StoppingToken) -> None:
        told = anyio.Event()
        stopping_token.on_stop(told.set)
        with anyio.CancelScope(shield=True):
            await told.wait()

    builder = HostBuilder(BUDGETS)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    policy = Restart(on_stall=True)
    builder.add_service(deaf, name="a", heartbeat_timeout=2, on_failure=policy)
    async with builder.build():
        await anyio.sleep(4)

    assert instants(events, ServiceCancelled) == [("a", 2)]
    assert instants(events, ServiceStopping) == instants(events, ServiceStopped) == [("a", 4)]


async def test_a_second_signal_counts_from_when_it_came() -> None:
    """While the loop is blocked the time goes on, for the watchdog too; what still runs has a last chance then."""
    host, events = build(Puppet(drain=100, stop=0.5), options=BUDGETS)
    await host.start()
    lifecycle = host._runner.lifecycle
    assert lifecycle is not None
    heard: list[tuple[float, bool]] = []
    lifecycle.shutdown.on_deadline = lambda seconds, *, anew: heard.append((seconds, anew))
    host.lifetime.request_stop()
    await anyio.sleep(2)
    came_at = anyio.current_time()
    block(7)

    lifecycle.shutdown.cancel_all(came_at)

    with pytest.raises(HostFailedError):
        await host.wait()
    assert heard == [(16, False), (-1, False), (1, True)]
    assert instants(events, ServiceCancelled) == [("a", 9)]
    assert anyio.current_time() == 9.5
    assert host.lifetime.exit_code == 1
