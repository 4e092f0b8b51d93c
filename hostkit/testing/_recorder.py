"""A listener that keeps the events of a host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from hostkit.events import HostEvent, ServiceEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

E = TypeVar("E", bound=HostEvent)


class Recorder:
    """A listener that keeps every event of a host, for a test to look at.

    For example:

    .. code-block:: python

        recorder = Recorder()
        builder.on_event(recorder)
        ...
        recorder.assert_order(
            "database started", "web started", "web stopped", "database stopped"
        )
        assert recorder.of(ServiceFailed) == []

    Attributes:
        events: The events, in the order in which they came.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.events: list[HostEvent] = []

    def __call__(self, event: HostEvent) -> None:
        """Keep *event*."""
        self.events.append(event)

    def of(self, kind: type[E], service: str | None = None) -> list[E]:
        """Return the events of one kind, of one service if it is given, in order.

        Args:
            kind: One of the classes in `hostkit.events`; a base class gives all that derive from it.
            service: Name of the service.
        """
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (service is None or getattr(event, "service", None) == service)
        ]

    def names(self) -> list[str]:
        """Return the events in words: ``"host started"``, ``"web started"`` (a service's).

        Those of a run or a job name it, not its service: ``"nightly-report finished"``.
        """
        return [_in_words(event) for event in self.events]

    def assert_order(self, *names: str) -> None:
        """Check that events came in this order; others may have come before, between and after.

        Args:
            names: As `names` gives them.

        Raises:
            AssertionError: One of them did not come, or not after the one before it; the message shows all that came.
        """
        names_seen = self.names()
        position = 0
        for count, name in enumerate(names):
            if name not in names_seen[position:]:
                place = f" after {names[count - 1]!r}" if count else ""
                raise AssertionError(_complaint(f"no {name!r}{place}", names_seen))
            position = names_seen.index(name, position) + 1

    def clear(self) -> None:
        """Forget what came so far."""
        self.events.clear()


def _in_words(event: HostEvent) -> str:
    *first, last = re.findall("[A-Z][a-z]+", type(event).__name__)
    # A run or a job has a name of its own.
    subject = getattr(event, "job", event.service) if isinstance(event, ServiceEvent) else " ".join(first).lower()
    return f"{subject} {last.lower()}"


def _complaint(what: str, seen: Sequence[str]) -> str:
    return "\n  ".join([f"{what}; the events were:", *(seen or ["(none)"])])
