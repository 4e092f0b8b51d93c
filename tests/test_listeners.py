"""Hands events to listeners: one at a time, in order."""

from collections.abc import Iterator

import pytest
from loguru import logger

from hostkit._core.listeners import Listeners
from hostkit.events import HostEvent, HostStarted, HostStopped, StopRequested

STARTED, REQUESTED, STOPPED = HostStarted(1.0, 0, 0.0), StopRequested(2.0, "done"), HostStopped(3.0, "done", 0, 1.0)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log lines that are written meanwhile."""
    found: list[str] = []
    sink = logger.add(lambda message: found.append(str(message)), format="{level} {message}")
    yield found
    logger.remove(sink)


def ignore(_error: BaseException, _hook: str) -> None:
    """Take what a listener raises, for nothing."""


def fail(event: HostEvent) -> None:
    """Fail, as a listener may."""
    message = f"cannot take {type(event).__name__}"
    raise OSError(message)


def test_every_listener_hears_every_event_in_order() -> None:
    """Listeners are told in the order in which they were added."""
    heard: list[tuple[str, HostEvent]] = []
    listeners = Listeners([lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event))], ignore)

    listeners.tell(STARTED)
    listeners.tell(STOPPED)

    assert heard == [("a", STARTED), ("b", STARTED), ("a", STOPPED), ("b", STOPPED)]


def test_nobody_has_to_listen() -> None:
    """Without listeners an event goes nowhere."""
    Listeners([], ignore).tell(STARTED)


def test_an_event_that_a_listener_causes_comes_later() -> None:
    """One event at a time: what a listener causes comes after the current event has reached all."""
    heard: list[tuple[str, HostEvent]] = []

    def cause(event: HostEvent) -> None:
        heard.append(("a", event))
        if event == STARTED:
            listeners.tell(REQUESTED)
            listeners.tell(STOPPED)

    listeners = Listeners([cause, lambda event: heard.append(("b", event))], ignore)
    listeners.tell(STARTED)

    assert heard == [(name, event) for event in (STARTED, REQUESTED, STOPPED) for name in ("a", "b")]


def test_a_listener_that_fails_is_logged_and_kept(lines: list[str]) -> None:
    """An error of a listener is in the log, with its traceback; it is kept, and so are the others."""
    heard: list[HostEvent] = []
    listeners = Listeners([fail, heard.append], ignore)

    listeners.tell(STARTED)
    listeners.tell(STOPPED)

    assert heard == [STARTED, STOPPED]
    assert len(lines) == 2
    assert lines[0].startswith("ERROR listener <function fail at ")
    assert " failed on HostStarted(at=1.0, services=0, duration=0.0)" in lines[0]
    assert "OSError: cannot take HostStarted" in lines[0]


def test_an_exit_does_not_stop_the_events(lines: list[str]) -> None:
    """What a listener raises, an exit too, is handed on when it is logged; the events are told as before."""
    heard: list[HostEvent] = []
    raised: list[tuple[BaseException, str]] = []

    def leave(event: HostEvent) -> None:
        if event == STARTED:
            raise SystemExit(7)

    listeners = Listeners([leave, heard.append], lambda error, hook: raised.append((error, hook)))
    listeners.tell(STARTED)
    listeners.tell(STOPPED)

    assert heard == [STARTED, STOPPED]
    assert [(repr(error), hook) for error, hook in raised] == [("SystemExit(7)", "a listener")]
    assert len(lines) == 1
