"""What a host says in its log, and what it does when nothing is left to do."""

import asyncio
from collections.abc import Iterator

import anyio
import pytest
from loguru import logger
from puppet import QUIET, Plain, Puppet, PuppetError, build

from hostkit import BackgroundService, EndAction, HostBuilder, HostFailedError, HostOptions, StoppingToken
from hostkit.events import HostEvent, HostStarted, StopRequested
from hostkit.testing import virtual_time


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What hostkit logs."""
    kept: list[str] = []
    sink = logger.add(
        lambda message: kept.append(message.rstrip()), level=0, format="{level} {message}", filter="hostkit"
    )
    yield kept
    logger.remove(sink)


async def test_an_ordinary_day_is_four_lines(lines: list[str]) -> None:
    """Starting, started, stopping with its reason, stopped with the exit code."""
    host, _ = build(Puppet(start=1), Puppet(drain=2), options=HostOptions(application_name="app"))

    async with host:
        host.lifetime.request_stop("enough")

    assert lines == [
        "INFO starting app with 2 services",
        "INFO started 2 services in 1.00 s",
        "INFO stopping: enough",
        "INFO stopped in 2.00 s",
    ]


async def test_a_failure_is_logged_once(lines: list[str]) -> None:
    """A failure is one ERROR line with its traceback; an embedded crash is one CRITICAL line besides."""
    host, _ = build(Puppet(run=1, fails="execute"), options=HostOptions(log_level="ERROR"))
    await host.start()
    with pytest.raises(HostFailedError):
        await host.wait()

    assert [line.splitlines()[0] for line in lines] == [
        "ERROR service a failed: PuppetError('execute')",
        "CRITICAL host failed: PuppetError: execute (service 'a'); stopping the other services",
    ]
    assert lines[0].count("puppet.PuppetError: execute") == 1


async def test_no_line_is_made_below_the_level(lines: list[str]) -> None:
    """Hostkit makes no line below options.log_level, whatever the sinks would take."""
    host, _ = build(Puppet(run=1), Plain(), options=HostOptions(log_level="ERROR"))

    async with host:
        await anyio.sleep(2)

    assert lines == []


async def test_an_idle_host_says_so_once(lines: list[str]) -> None:
    """When only services without a loop remain, one warning says so; for resources of an app there is none."""
    options = HostOptions(log_level="WARNING")
    with_loop, _ = build(Puppet(run=1), Puppet(run=2), Plain(), options=options)
    without, _ = build(Plain(), options=options)

    for host in (with_loop, without):
        async with host:
            await anyio.sleep(5)

    assert lines == ["WARNING no service has anything left to do; the host waits to be stopped"]


@pytest.mark.parametrize("stops", [False, True])
def test_a_loop_that_ends_under_a_host_is_a_warning(lines: list[str], *, stops: bool) -> None:
    """Who leaves a host behind in a loop that ends is told so, unless its stop is under way."""
    host, _ = build(Puppet(drain=1), options=HostOptions(log_level="WARNING"))
    backend, options = virtual_time("asyncio")

    async def main() -> None:
        await host.start()
        if stops:
            host.lifetime.request_stop()
            await anyio.sleep(0.5)

    anyio.run(main, backend=backend, backend_options=options)

    assert lines == ([] if stops else ["WARNING the event loop ends while the host runs; stop the host before"])


@pytest.mark.parametrize("anyio_backend", [virtual_time("asyncio")], ids=["asyncio"])
async def test_a_loop_that_has_ended_counts_once() -> None:
    """Whatever wakes a service that waits to be cleaned up, it has not ended a second time."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    for name, run in (("a", 1.0), ("b", None)):
        builder.add_service(Puppet(run=run), name=name, on_failure=EndAction.IGNORE)
    host = builder.build()

    async with host:
        await anyio.sleep(2)
        for task in asyncio.all_tasks():
            if task.get_name() == "a":
                task.cancel()
        await anyio.sleep(2)
        assert host.lifetime.stop_reason is None


async def test_a_host_without_services_says_so(lines: list[str]) -> None:
    """A host with nothing to do ends at once, with a warning."""
    host, _ = build(options=HostOptions(log_level="WARNING"))
    await host.start()
    await host.wait()

    assert lines == ["WARNING the host has no services, and ends"]


async def test_a_late_start_is_logged(lines: list[str]) -> None:
    """What no service has raised is logged as well."""
    host, _ = build(Puppet(start=5), options=HostOptions(startup_timeout=2, log_level="ERROR"))
    with pytest.raises(HostFailedError):
        await host.start()

    (line,) = lines
    assert line.startswith("ERROR the host failed: StartupTimeoutError(\"not ready within 2 s: 'a'; if it needs longer")


async def test_a_failure_while_later_services_start_cuts_the_start() -> None:
    """The host does not wait for execute; if it fails while later services start, the start is rolled back."""
    host, _ = build(Puppet(run=1, fails="execute"), Puppet(start=3))

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert [type(error) for error in caught.value.exceptions] == [PuppetError]
    assert anyio.current_time() == 1


async def test_the_start_and_stop_of_single_services_is_for_debugging(lines: list[str]) -> None:
    """At DEBUG each service's start and stop has a line, with its duration."""
    host, _ = build(Puppet(start=1, drain=2), options=HostOptions(log_level="DEBUG"))
    async with host:
        pass

    assert [line for line in lines if line.startswith("DEBUG")] == [
        "DEBUG service a starting",
        "DEBUG service a started in 1.00 s",
        "DEBUG service a stopping",
        "DEBUG service a stopped in 2.00 s",
    ]


async def test_a_listener_may_stop_the_host() -> None:
    """An event that a listener causes comes after the current one has reached all."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    seen: list[type[HostEvent]] = []

    def stop(event: HostEvent) -> None:
        if isinstance(event, HostStarted):
            builder.lifetime.request_stop("seen enough")

    builder.on_event(stop)
    builder.on_event(lambda event: seen.append(type(event)))
    builder.add_service(Plain())
    host = builder.build()

    await host.start()
    await host.wait()

    assert seen.index(HostStarted) < seen.index(StopRequested)
    assert host.lifetime.stop_reason == "seen enough"


async def test_other_base_exceptions_come_out_as_they_are() -> None:
    """What is neither an Exception nor a cancellation cannot stand in a group: it stops the host and comes out."""

    class Odd(BaseException):
        pass

    class Raising(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            raise Odd

    host, _ = build(Raising(), Plain())

    with pytest.raises(Odd):
        async with host:
            await anyio.sleep(1)

    assert host.lifetime.exit_code == 1


async def test_events_tell_how_long_something_took() -> None:
    """The durations of events are counted from when it began, at any time and in any lifecycle."""
    builder = HostBuilder(QUIET)
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
