"""`hostkit.testing.Recorder`: the events of a host, to be asserted on."""

import pytest

from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit.events import (
    HostEvent,
    HostStarted,
    ServiceEvent,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    StopRequested,
)
from hostkit.testing import Recorder


class Idle(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


async def test_keeps_the_events_of_a_host(recorder: Recorder) -> None:
    """A recorder keeps every event, and tells them in words."""
    builder = HostBuilder(HostOptions(application_name="app"))
    builder.add_service(Idle, name="database")
    builder.add_service(Idle, name="web")
    builder.on_event(recorder)

    async with builder.build():
        started = recorder.names()
        recorder.clear()

    assert started == [
        "host starting",
        "database starting",
        "database started",
        "web starting",
        "web started",
        "host started",
    ]
    assert recorder.names() == [
        "stop requested",
        "web stopping",
        "web stopped",
        "database stopping",
        "database stopped",
        "host stopped",
    ]
    recorder.assert_order("web stopped", "database stopped")


def told(*events: HostEvent) -> Recorder:
    """Return a recorder that was told *events*."""
    recorder = Recorder()
    for event in events:
        recorder(event)
    return recorder


WEB_STARTED = ServiceStarted(1.0, "web", 0.5)
WEB_STOPPING = ServiceStopping(3.0, "web")
CACHE_STARTED = ServiceStarted(2.0, "cache", 0.5)


def test_finds_the_events_of_a_kind_and_of_a_service() -> None:
    """Events are found by their class or a base of it, and by the service."""
    recorder = told(StopRequested(0.5, "done"), WEB_STARTED, CACHE_STARTED, WEB_STOPPING)

    assert recorder.of(ServiceStarted) == [WEB_STARTED, CACHE_STARTED]
    assert recorder.of(ServiceStarted, "web") == [WEB_STARTED]
    assert recorder.of(ServiceEvent, "web") == [WEB_STARTED, WEB_STOPPING]
    assert recorder.of(HostEvent) == recorder.events
    assert recorder.of(HostEvent, "cache") == [CACHE_STARTED]
    assert recorder.of(ServiceStopped) == recorder.of(HostStarted) == []


def test_checks_an_order() -> None:
    """Events came in an order, whatever else came between; one name is one event."""
    recorder = told(WEB_STARTED, CACHE_STARTED, WEB_STOPPING, WEB_STARTED)

    recorder.assert_order()
    recorder.assert_order("web started", "cache started", "web stopping", "web started")
    recorder.assert_order("web started", "web started")
    recorder.assert_order("cache started", "web started")
    with pytest.raises(AssertionError, match="no 'web started' after 'web started'"):
        recorder.assert_order("web started", "web started", "web started")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["web stopped"], "no 'web stopped'; the events were:\n  web started\n  cache started"),
        (["cache started", "web started"], "no 'web started' after 'cache started'; the events were:\n  web started"),
        (["web started", "started"], "no 'started' after 'web started'; "),
    ],
)
def test_shows_what_came_instead(names: list[str], complaint: str) -> None:
    """A wrong order is told with all that came."""
    recorder = told(WEB_STARTED, CACHE_STARTED)

    with pytest.raises(AssertionError) as caught:
        recorder.assert_order(*names)

    assert str(caught.value).startswith(complaint)


def test_shows_that_nothing_came(recorder: Recorder) -> None:
    """Where no event came, that is told."""
    with pytest.raises(AssertionError) as caught:
        recorder.assert_order("host started")

    assert str(caught.value) == "no 'host started'; the events were:\n  (none)"
    assert recorder.events == recorder.names() == []
