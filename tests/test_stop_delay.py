"""`stop_delay`: the time between the first signal and the stop; and what a stop that is slow says."""

from collections.abc import Iterator

import anyio
import pytest
from loguru import logger
from puppet import Plain, Puppet, build

from hostkit import Host, HostFailedError, HostOptions, HostState
from hostkit._core.host import runner_of
from hostkit._core.lifetime import LifetimeController
from hostkit.events import HostEvent, StopAnnounced, StopRequested
from hostkit.jobs import JobQueue

DELAYED = HostOptions(stop_delay=10, log_level="CRITICAL")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What hostkit logs of waiting."""
    kept: list[str] = []
    sink = logger.add(lambda message: kept.append(message.rstrip()), level=0, format="{level} {message}")
    yield kept
    logger.remove(sink)


def announce(host: Host) -> bool:
    """Do what the first signal does."""
    lifetime = host.lifetime
    assert isinstance(lifetime, LifetimeController)
    lifetime.announce_stop("signal SIGTERM")
    return lifetime.delaying_stop


def stops(events: list[HostEvent]) -> list[HostEvent]:
    """Return the events of announcements and requests."""
    return [event for event in events if isinstance(event, StopAnnounced | StopRequested)]


async def test_everything_runs_until_the_delay_is_over() -> None:
    """From the signal on the host is not ready, and runs; after the delay it stops for the reason of the signal."""
    service = Puppet()
    host, events = build(service, options=DELAYED)
    await host.start()
    await anyio.sleep(5)

    delayed = announce(host)
    status = host.status()
    await anyio.sleep(4)
    later = host.status()
    calls = list(service.calls)
    await host.wait()

    assert delayed
    assert (status.ready, status.state, status.seconds_to_stop) == (False, HostState.STARTED, 10)
    assert (later.ready, later.healthy, later.state, later.seconds_to_stop) == (False, True, HostState.STARTED, 6)
    assert status.stop_reason == later.stop_reason == "signal SIGTERM"
    assert calls == ["start", "execute"]
    assert stops(events) == [StopAnnounced(5, "signal SIGTERM", 10), StopRequested(15, "signal SIGTERM")]
    assert (host.lifetime.exit_code, host.status().seconds_to_stop) == (0, None)


async def test_a_second_signal_ends_the_delay() -> None:
    """The second announcement is a request: the stop begins at once."""
    host, events = build(Puppet(), options=DELAYED)
    await host.start()
    announce(host)
    await anyio.sleep(3)

    delayed = announce(host)
    await host.wait()

    assert not delayed
    assert stops(events) == [StopAnnounced(0, "signal SIGTERM", 10), StopRequested(3, "signal SIGTERM")]


async def test_requests_and_failures_have_no_delay() -> None:
    """A request and a failure stop at once, during a delay as well; then nothing is announced any more."""
    host, events = build(Puppet(run=4, fails="execute"), options=DELAYED)
    await host.start()
    announce(host)

    with pytest.raises(HostFailedError):
        await host.wait()

    assert [event.at for event in stops(events)] == [0, 4]
    requested, requested_events = build(Puppet(), options=DELAYED)
    async with requested:
        requested.lifetime.request_stop("enough")
    assert [type(event) for event in stops(requested_events)] == [StopRequested]


async def test_before_the_start_is_over_there_is_no_delay() -> None:
    """A signal that comes while services are starting stops the host at once."""
    host, events = build(Puppet(start=5), options=DELAYED)

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        delayed = announce(host)

    assert not delayed
    assert stops(events) == [StopRequested(1, "signal SIGTERM")]


async def test_without_the_option_there_is_no_delay() -> None:
    """A host without `stop_delay` stops at the first signal."""
    host, events = build(Puppet(), options=HostOptions(log_level="CRITICAL"))
    await host.start()

    delayed = announce(host)
    await host.wait()

    assert not delayed
    assert stops(events) == [StopRequested(0, "signal SIGTERM")]


async def test_an_announcement_that_comes_with_a_stop_says_nothing() -> None:
    """When the stop was requested in the same turn of the loop, the announcement is no event."""
    host, events = build(Puppet(), options=DELAYED)
    await host.start()

    host.lifetime.request_stop("enough")
    announce(host)
    await host.wait()

    assert stops(events) == [StopRequested(0, "enough")]


async def test_a_host_starts_again_after_a_delay() -> None:
    """An announcement belongs to its lifecycle."""
    host, _ = build(Puppet(), options=DELAYED)
    await host.start()
    announce(host)
    await host.wait()

    async with host:
        again = host.status()

    assert (again.ready, again.stop_reason, again.seconds_to_stop) == (True, None, None)


async def test_a_slow_stop_says_what_it_waits_for(lines: list[str]) -> None:
    """After two seconds, and every five from then on: names, lines, what follows and when."""
    host, _ = build(Plain(), Puppet(drain=13), options=HostOptions(application_name="app"))
    waiting: list[tuple[str, ...]] = []

    async def look() -> None:
        await anyio.sleep(12)
        waiting.append(host.status().waiting_for)

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(look)
        await host.stop()

    told = [line for line in lines if "waiting for" in line]
    assert len(told) == 3
    assert told[0].startswith("INFO waiting for b (at puppet.py:")
    assert [line.partition("), ")[2] for line in told] == ["cancelled in 18 s", "cancelled in 13 s", "cancelled in 8 s"]
    assert waiting == [("b",)]
    assert host.status().waiting_for == ()


@pytest.mark.parametrize(
    ("shutdown_timeout", "said"),
    [(2.5, ["cancelled in 0 s"]), (6.5, ["cancelled in 4 s", "abandoned in 4 s"])],
)
async def test_a_slow_stop_says_what_follows(lines: list[str], shutdown_timeout: float, said: list[str]) -> None:
    """Just before the cancellation it is that, and just after it the end of the wait."""
    services = [Puppet(drain=8, deaf="execute") for _ in range(3)]
    host, _ = build(*services, options=HostOptions(shutdown_timeout=shutdown_timeout))

    await host.start()
    with pytest.raises(HostFailedError):
        await host.stop()

    assert [line.rpartition("), ")[2] for line in lines if "waiting for" in line][: len(said)] == said
    await anyio.sleep(10)


async def test_a_slow_stop_of_a_queue_says_where_its_job_is(lines: list[str]) -> None:
    """A service that has no code of the user's is where the first of its tasks is."""

    async def job() -> None:
        await anyio.sleep(3)

    queue = JobQueue()
    host, _ = build(queue, options=HostOptions())
    async with host:
        await queue.enqueue(job)
        await anyio.sleep(0.1)

    (told,) = [line for line in lines if "waiting for" in line]
    assert told.startswith("INFO waiting for a (at test_stop_delay.py:")


async def test_a_slow_stop_of_many_names_some(lines: list[str]) -> None:
    """When all are cancelled, all are waited for: three of them are named."""
    services = [Puppet(drain=30, deaf="execute") for _ in range(5)]
    host, _ = build(*services, options=HostOptions(shutdown_timeout=1, cancellation_timeout=9))
    waiting: list[tuple[str, ...]] = []

    async def look() -> None:
        await anyio.sleep(9.9)
        waiting.append(host.status().waiting_for)

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(look)
        with pytest.raises(HostFailedError):
            await host.stop()

    told = [line for line in lines if "waiting for" in line]
    assert told[-1].count("(at puppet.py:") == 3
    assert told[-1].endswith(" and 2 more, abandoned in 3 s")
    assert waiting == [("e", "d", "c", "b", "a")]
    await anyio.sleep(30)


@pytest.mark.parametrize(("reason", "again"), [("signal SIGINT", "a second Ctrl-C"), ("enough", "a second signal")])
async def test_a_slow_stop_of_a_process_says_what_a_signal_does(lines: list[str], reason: str, again: str) -> None:
    """A host that owns its process says how to make it faster."""
    host, _ = build(Puppet(drain=3), options=HostOptions())
    lifecycle = runner_of(host).begin(owns_process=True)
    await lifecycle.settled.wait()
    host.lifetime.request_stop(reason)
    await host.wait()

    (told,) = [line for line in lines if "waiting for" in line]
    assert told.endswith(f"), cancelled in 18 s; {again} cancels now")


@pytest.mark.parametrize("drain", [0, 1.9, 2])
async def test_a_stop_in_time_says_nothing(lines: list[str], drain: float) -> None:
    """A stop of two seconds is no slow one."""
    host, _ = build(Puppet(drain=drain), options=HostOptions())

    async with host:
        pass

    assert [line for line in lines if "waiting for" in line] == []
