"""`hostkit._config.service_context`: what a host lets its services know."""

from contextvars import copy_context
from datetime import UTC, datetime

import pytest
from loguru import logger

from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit._config.service_context import ServiceContext, ServiceContexts, service_context
from hostkit.events import HostEvent, JobFailed, JobsLost, RunSkipped
from hostkit.testing import Recorder


class Reader(BackgroundService):
    """Reads its context, and emits an event of its own in `start` and in `stop`."""

    context: ServiceContext

    async def start(self) -> None:
        self.context = context = service_context.get()
        context.emit(JobFailed(1.0, context.name, "send", 7, 3, OSError("no route")))

    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    async def stop(self) -> None:
        self.context.emit(JobsLost(2.0, self.context.name, 4))


async def test_a_service_knows_its_name_and_the_log_level() -> None:
    """A service reads its own name and its host's log level."""
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    first, second = builder.add_service(Reader()), builder.add_service(Reader(), name="other")

    async with builder.build():
        pass

    assert [(reader.context.name, reader.context.log_level) for reader in (first, second)] == [
        ("reader", 40),
        ("other", 40),
    ]


async def test_the_events_of_a_service_reach_the_listeners_in_order() -> None:
    """What a service emits comes to the listeners of its host, between the host's own events."""
    builder = HostBuilder()
    recorder = Recorder()
    builder.on_event(recorder)
    reader = builder.add_service(Reader())

    async with builder.build():
        assert reader.context.detailed

    recorder.assert_order("send failed", "reader started", "stop requested", "reader lost", "host stopped")
    assert [event.attempts for event in recorder.of(JobFailed, "reader")] == [3]


async def test_without_a_listener_no_event_is_wanted() -> None:
    """The log alone makes no lines of a service's own events, which so need not be made."""
    builder = HostBuilder()
    reader = builder.add_service(Reader())

    async with builder.build():
        assert not reader.context.detailed


async def test_nothing_comes_after_the_end_of_the_host() -> None:
    """An event that a service emits when its host has ended reaches no listener: that end was the last."""
    builder = HostBuilder()
    recorder = Recorder()
    builder.on_event(recorder)
    reader = builder.add_service(Reader())

    async with builder.build():
        pass
    reader.context.emit(JobsLost(3.0, "reader", 1))

    assert recorder.names()[-1] == "host stopped"


@pytest.mark.parametrize("event", [RunSkipped(1.0, "scheduler", "report", datetime(2026, 1, 5, tzinfo=UTC), "paused")])
def test_outside_a_host_events_go_nowhere(event: HostEvent) -> None:
    """A scheduler or a queue that a test drives by hand has no name, and emits to nothing."""
    context = service_context.get()

    context.emit(event)

    assert (context.name, context.log_level, context.detailed) == ("", 20, False)


def test_a_context_names_its_service() -> None:
    """Each service has a context in which its name is bound, and which is a copy of the host's otherwise."""
    with logger.contextualize(request="7"):
        contexts = ServiceContexts(copy_context(), ServiceContext)
    found: list[dict[str, object]] = []
    sink = logger.add(lambda message: found.append(message.record["extra"]))

    web, cache = contexts.of("web"), contexts.of("cache")
    web.run(logger.info, "line")
    cache.run(logger.info, "line")
    web.run(logger.bind(more=1).info, "line")
    logger.info("line")
    names = [web.run(service_context.get).name, cache.run(service_context.get).name, service_context.get().name]
    logger.remove(sink)

    assert found == [
        {"request": "7", "service": "web"},
        {"request": "7", "service": "cache"},
        {"request": "7", "service": "web", "more": 1},
        {},
    ]
    assert names == ["web", "cache", ""]
