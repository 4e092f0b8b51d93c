"""Hands events to listeners: one at a time, in order."""

from collections.abc import Iterator
from contextvars import copy_context

import pytest
from loguru import logger

from hostkit import HostOptions
from hostkit._config.service_context import ServiceContext, ServiceContexts
from hostkit._core.lifetime import LifetimeController, Listener
from hostkit._core.service_group import ServiceGroup, Wakeup
from hostkit._execution.event_loop import EventLoop
from hostkit.events import HostEvent, HostStarted, HostStopped, StopRequested

STARTED, REQUESTED, STOPPED = HostStarted(1.0, 0, 0.0), StopRequested(2.0, "done"), HostStopped(3.0, "done", 0, 1.0)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log lines that are written meanwhile."""
    found: list[str] = []
    sink = logger.add(lambda message: found.append(str(message)), format="{level} {message}")
    yield found
    logger.remove(sink)


def controller(*listeners: Listener, log_level: str = "CRITICAL") -> LifetimeController:
    """Return the lifetime of a host that starts, with *listeners*; its own lines are left out."""
    lifetime = LifetimeController(HostOptions(log_level=log_level))
    loop = EventLoop()
    group = ServiceGroup(loop, ServiceContexts(copy_context(), ServiceContext), lambda _: None)
    wakeup = Wakeup(loop.time, lambda: None)
    lifetime.begin(group, wakeup, lambda _: None, owns_process=False)
    for listener in listeners:
        lifetime.add_listener(listener)
    return lifetime


def fail(event: HostEvent) -> None:
    """Fail, as a listener may."""
    message = f"cannot take {type(event).__name__}"
    raise OSError(message)


async def test_every_listener_hears_every_event_in_order() -> None:
    """Listeners are called in the order in which they were added."""
    heard: list[tuple[str, HostEvent]] = []
    lifetime = controller(lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event)))

    lifetime.emit(STARTED)
    lifetime.emit(STOPPED)

    assert heard == [("a", STARTED), ("b", STARTED), ("a", STOPPED), ("b", STOPPED)]


async def test_no_listener_is_needed() -> None:
    """Without listeners an event goes nowhere."""
    controller().emit(STARTED)


async def test_an_event_that_a_listener_causes_comes_later() -> None:
    """One event at a time: what a listener causes comes after the current event has reached all."""
    heard: list[tuple[str, HostEvent]] = []

    def cause(event: HostEvent) -> None:
        heard.append(("a", event))
        if event == STARTED:
            lifetime.emit(REQUESTED)
            lifetime.emit(STOPPED)

    lifetime = controller(cause, lambda event: heard.append(("b", event)))
    lifetime.emit(STARTED)

    assert heard == [(name, event) for event in (STARTED, REQUESTED, STOPPED) for name in ("a", "b")]


async def test_a_listener_that_fails_is_logged_and_kept(lines: list[str]) -> None:
    """An error of a listener is in the log, with its traceback; it is kept, and so are the others."""
    heard: list[HostEvent] = []
    lifetime = controller(fail, heard.append)

    lifetime.emit(STARTED)
    lifetime.emit(STOPPED)

    assert heard == [STARTED, STOPPED]
    assert len(lines) == 2
    assert lines[0].startswith("ERROR listener <function fail at ")
    assert " failed on HostStarted(at=1.0, services=0, duration=0.0)" in lines[0]
    assert "OSError: cannot take HostStarted" in lines[0]


async def test_an_exit_does_not_stop_the_events(lines: list[str]) -> None:
    """What a listener raises, an exit too, is a stop request when it is logged; the events go on as before."""
    heard: list[HostEvent] = []

    def leave(event: HostEvent) -> None:
        if event == STARTED:
            raise SystemExit(7)

    lifetime = controller(leave, heard.append)
    lifetime.emit(STARTED)
    lifetime.emit(STOPPED)

    assert [event for event in heard if not isinstance(event, StopRequested)] == [STARTED, STOPPED]
    assert (lifetime.stop_reason, lifetime.exit_code) == ("a listener raised SystemExit(7)", 7)
    assert len(lines) == 1


async def test_an_interrupt_of_a_log_line_does_not_stop_the_events() -> None:
    """Ctrl-C that comes while a line of the host's is written costs that line alone, and is a stop request."""
    heard: list[HostEvent] = []
    interrupts = [KeyboardInterrupt()]

    def interrupted(_: object) -> None:
        if interrupts:
            raise interrupts.pop()

    lifetime = controller(heard.append, log_level="INFO")
    sink = logger.add(interrupted, catch=False)
    lifetime.emit(STARTED)
    lifetime.emit(STOPPED)
    logger.remove(sink)

    assert [event for event in heard if not isinstance(event, StopRequested)] == [STARTED, STOPPED]
    assert lifetime.stop_reason == "a listener raised KeyboardInterrupt()"


async def test_a_listener_that_is_taken_back_hears_no_more() -> None:
    """What `add_listener` returns takes one registration back, of a listener that was added twice as well."""
    heard: list[HostEvent] = []
    lifetime = controller(heard.append)
    remove = lifetime.add_listener(heard.append)

    lifetime.emit(STARTED)
    remove()
    remove()
    lifetime.emit(STOPPED)

    assert heard == [STARTED, STARTED, STOPPED]
    assert lifetime.has_listeners()


async def test_details_are_made_only_for_a_listener() -> None:
    """The events of single services are made while there is a listener, or the log shows them."""
    lifetime = controller()
    alone = lifetime.detailed
    remove = lifetime.add_listener(lambda _: None)
    watched = lifetime.detailed
    remove()

    assert (alone, watched, lifetime.detailed) == (False, True, False)
