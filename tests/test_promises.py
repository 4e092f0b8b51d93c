"""Promises that no other test would miss if they were broken; each was found by `mutants.py`."""

import asyncio

import anyio
import pytest
from puppet import QUIET, Puppet, build, trace

from hostkit import (
    Backoff,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostState,
    Restart,
    RestartLimitError,
    ServiceStuckError,
    StartupTimeoutError,
    StoppingToken,
    StopTimeoutError,
)
from hostkit.events import (
    HostEvent,
    ServiceAbandoned,
    ServiceCancelled,
    ServiceEvent,
    ServiceStopped,
    ServiceStopping,
    StopRequested,
)
from hostkit.testing import virtual_time

BUDGETS = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)


def instants(events: list[HostEvent], kind: type[ServiceEvent]) -> list[tuple[str, float]]:
    """Return which services had an event of *kind*, and when."""
    return [(event.service, event.at) for event in events if isinstance(event, kind)]


def hurry(host: Host) -> None:
    """Do what a second signal does."""
    lifecycle = host._runner.lifecycle
    assert lifecycle is not None
    lifecycle.shutdown.cancel_all()


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

    hurry(host)

    with pytest.raises(HostFailedError) as caught:
        await host.wait()
    assert [type(error) for error in caught.value.exceptions] == [ServiceStuckError]
    assert instants(events, ServiceCancelled) == [("a", 1)]
    assert instants(events, ServiceAbandoned) == [("a", 1 + 6)]
    await anyio.sleep(200)


async def test_the_dead_man_hears_of_the_last_instant() -> None:
    """Whenever the last instant is laid, whoever has to enforce it is told how many seconds are left until then."""
    host, _ = build(Puppet(drain=5), options=BUDGETS)
    await host.start()
    assert host._runner.lifecycle is not None
    heard: list[float] = []
    host._runner.lifecycle.shutdown.on_deadline = heard.append
    await anyio.sleep(100)
    host.lifetime.request_stop()
    await anyio.sleep(3)
    assert heard == [16]

    hurry(host)

    assert heard == [16, 6]
    with pytest.raises(HostFailedError):
        await host.wait()


async def test_two_signals_at_once_cancel_at_once() -> None:
    """A second signal that is there before the loop has heard of the first is not forgotten."""
    host, events = build(Puppet(drain=1), options=BUDGETS)
    await host.start()

    hurry(host)
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

    hurry(host)

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


async def test_a_late_start_names_nobody_who_is_ready() -> None:
    """The error of a start that takes too long names the late members of the group, and not the others."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", startup_timeout=5))
    builder.add_service(Puppet(start=1), name="before")
    builder.add_services(Puppet(start=1), Puppet(start=100))
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    (error,) = caught.value.exceptions
    assert isinstance(error, StartupTimeoutError)
    assert error.services == ("puppet-2",)


@pytest.mark.needs("trio")
def test_the_end_of_a_trio_loop_is_an_ordered_stop() -> None:
    """When trio's main task ends under a running host, its services drain one after the other, uncancelled."""
    host, events = build(Puppet(drain=2), Puppet(drain=3, stop=1))
    backend, options = virtual_time("trio")

    anyio.run(host.start, backend=backend, backend_options=options)

    assert trace(events)[-4:] == ["stopping b", "stopped b", "stopping a", "stopped a"]
    assert events[-1].at - events[-5].at == 3 + 1 + 2


async def test_a_service_that_is_done_is_cleaned_up_at_its_turn() -> None:
    """A service whose execute has ended has its stop() called when all that started after it have stopped."""
    first, second = Puppet(run=1, stop=1), Puppet(drain=2)
    host, events = build(first, second)
    await host.start()
    await anyio.sleep(5)
    before = list(first.calls)

    await host.stop()

    assert before == ["start", "execute"]
    assert instants(events, ServiceStopped) == [("b", 5 + 2), ("a", 5 + 2 + 1)]


@pytest.mark.parametrize(("start", "stop"), [(50, 0), (0, 50)], ids=["start", "stop"])
async def test_only_the_time_of_being_up_starts_the_count_afresh(start: float, stop: float) -> None:
    """Neither a start nor a clean-up that takes long makes a run one that lasted."""
    builder = HostBuilder(QUIET)
    policy = Restart(limit=1, reset_after=40, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(Puppet(start=start, run=1, stop=stop, fails="execute"), on_failure=policy)
    host = builder.build()
    await host.start()

    with pytest.raises(HostFailedError) as caught, anyio.fail_after(500):
        await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [RestartLimitError]


async def test_failures_and_returns_count_apart() -> None:
    """A service may return as often as it may fail, and the one does not use up the other."""
    ends = ["fails", "returns", "fails"]

    async def moody(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)
        if ends.pop(0) == "fails":
            raise OSError

    builder = HostBuilder(QUIET)
    policy = Restart(limit=1, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(moody, on_failure=policy, on_return=policy)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert not ends
    (error,) = caught.value.exceptions
    assert isinstance(error, RestartLimitError)
    assert error.failures == 2


async def test_the_status_shows_the_last_failure() -> None:
    """Of a service that has failed more than once, the last failure is shown."""
    causes = ["first", "second"]

    async def flaky(stopping_token: StoppingToken) -> None:
        if causes:
            raise OSError(causes.pop(0))
        await stopping_token.wait()

    builder = HostBuilder(QUIET)
    builder.add_service(flaky, on_failure=Restart(backoff=Backoff(1, 1, 1, 0)))
    host = builder.build()

    async with host:
        await anyio.sleep(10)
        (service,) = host.status().services

    assert service.restarts == 2
    assert service.last_failure == "OSError: second"


@pytest.mark.parametrize("anyio_backend", [virtual_time("asyncio")], ids=["asyncio"])
async def test_a_native_cancellation_of_a_stop_is_not_lost() -> None:
    """A task.cancel() of asyncio's that finds its task in the stop comes out of it, when the host has ended."""
    host, _ = build(Puppet(drain=3))

    async def live() -> None:
        async with host:
            pass

    task = asyncio.get_running_loop().create_task(live())
    await anyio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert host.lifetime.state is HostState.STOPPED
    assert anyio.current_time() == 3


async def test_the_first_word_is_the_reason() -> None:
    """Who asks for the stop and fails in the same breath has asked first; the failure is kept as well."""

    async def leaver() -> None:
        host.lifetime.request_stop("asked")
        raise OSError

    host, events = build(leaver)

    with pytest.raises(HostFailedError):
        async with host:
            await host.wait()

    assert host.lifetime.stop_reason == "asked"
    assert [event.reason for event in events if isinstance(event, StopRequested)] == ["asked"]


async def test_a_stalled_run_that_ignores_its_cancellation_is_told_of_the_stop() -> None:
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


async def test_events_tell_how_long_something_took() -> None:
    """The durations of events are counted from when it began, at any time and in any lifecycle."""
    builder = HostBuilder(BUDGETS)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    builder.add_service(Puppet(start=1), name="a")
    builder.add_service(Puppet(start=2, drain=3, stop=4), name="b")
    host = builder.build()

    for _ in range(2):
        events.clear()
        await anyio.sleep(50)
        async with host:
            await anyio.sleep(10)

        took = [(type(event).__name__, event.duration) for event in events if hasattr(event, "duration")]
        assert took == [
            ("ServiceStarted", 1),
            ("ServiceStarted", 2),
            ("HostStarted", 3),
            ("ServiceStopped", 7),
            ("ServiceStopped", 0),
            ("HostStopped", 7),
        ]


async def test_an_abandoned_service_is_named_with_the_lines_of_its_tasks() -> None:
    """The error names where the service waits and where its own tasks do; the status shows it for as long as it is."""
    released = anyio.Event()

    async def child() -> None:
        with anyio.CancelScope(shield=True):
            await released.wait()

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    host, _ = build(parent, options=BUDGETS)
    await host.start()

    with pytest.raises(HostFailedError) as caught:
        await host.stop()

    (error,) = caught.value.exceptions
    assert isinstance(error, ServiceStuckError)
    assert ".parent; " in str(error)
    assert ".child" in str(error)
    (service,) = host.status().services
    assert service.state == "abandoned"
    assert (service.waiting_at or "").endswith(".parent")
    released.set()
    await anyio.sleep(1)
    assert host.status().services[0].waiting_at is None
