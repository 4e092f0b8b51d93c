"""The history of a host's services, and counters, from the host's events."""

from collections import Counter, deque
from dataclasses import dataclass

from hostkit import Host, HostBuilder
from hostkit.events import (
    HostEvent,
    HostStarted,
    HostStarting,
    HostStopped,
    ServiceAbandoned,
    ServiceCancelled,
    ServiceEvent,
    ServiceFailed,
    ServiceRecovered,
    ServiceRestarting,
    ServiceStalled,
    ServiceStarted,
    ServiceStopped,
)
from hostkit.ext.dashboard._text import line_of, short_lines, words
from hostkit.ext.health import listen

FOR_EACH = 20
IN_ALL = 1_000
REPEATS_WITHIN = 4
"""How many of the last entries a repeated one may replace: a crash loop has few other entries in between."""


@dataclass(frozen=True)
class Entry:
    """One line of a service's history.

    Attributes:
        at: When it happened, on the event loop's clock; the last time, if it was more than once.
        first_at: When it happened first.
        what: The word for it, such as ``"failed"``.
        text: What there is to say.
        where: The line of code.
        times: How often it happened, with few other entries in between.
    """

    at: float
    first_at: float
    what: str
    text: str
    where: str | None
    times: int

    def is_like(self, what: str, text: str) -> bool:
        """Return whether a further entry of that kind is a repetition of this one."""
        return self.what == what and (what != "failed" or self.text == text)


class EventLog:
    """Listens to a host, and keeps the last entries of each service, and counters that never decrease.

    Attributes:
        entries: By service, the oldest first.
        restarts: How often each service was restarted, also before the host was last started.
        failures: How often each has failed, likewise.
        start_durations: How long each took to be ready, the last time.
        host_durations: How long the host took to start and to stop, the last time: ``"start"``, ``"stop"``.
    """

    def __init__(self, source: HostBuilder | Host) -> None:
        """Listen to *source*."""
        self.entries: dict[str, deque[Entry]] = {}
        self.restarts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.start_durations: dict[str, float] = {}
        self.host_durations: dict[str, float] = {}
        self._order: deque[str] = deque()  # the service of each entry; of one that was replaced, its first place
        if isinstance(source, Host) and source.lifetime.state != "created":
            for service in source.status(lines=False).services:
                self.restarts[service.name] = service.restarts
        listen(source, self._listen)

    def last(self, service: str) -> str | None:
        """Return the word of the last entry of a service."""
        entries = self.entries.get(service)
        return entries[-1].what if entries else None

    def _listen(self, event: HostEvent) -> None:
        if isinstance(event, HostStarting):
            self.entries.clear()  # the clock may be another loop's
            self._order.clear()
        elif isinstance(event, HostStarted):
            self.host_durations["start"] = event.duration
        elif isinstance(event, HostStopped):
            self.host_durations["stop"] = event.duration
        elif isinstance(event, ServiceEvent):
            self._of_service(event)

    def _of_service(self, event: ServiceEvent) -> None:
        match event:
            case ServiceStarted():
                self.start_durations[event.service] = event.duration
                self._add(event, "started", f"ready after {_seconds(event.duration)}")
            case ServiceFailed():
                self.failures[event.service] += 1
                self._add(event, "failed", words(event.error) or "", line_of(event.error))
            case ServiceRestarting():
                self.restarts[event.service] += 1
                self._add(event, "restarting", f"in {_seconds(event.delay)}, restart {event.restarts}")
            case ServiceStalled():
                self._add(event, "stalled", f"silent for {_seconds(event.duration)}", short_lines(event.waiting_at))
            case ServiceRecovered():
                self._add(event, "recovered", f"was silent for {_seconds(event.duration)}")
            case ServiceCancelled():
                self._add(event, "cancelled", event.reason, short_lines(event.waiting_at))
            case ServiceAbandoned():
                self._add(event, "abandoned", "ignored its cancellation", short_lines(event.waiting_at))
            case ServiceStopped() if self.last(event.service) != "failed":  # which says it all
                self._add(event, "stopped", f"took {_seconds(event.duration)}")
            case _:
                pass  # the state says that it has

    def _add(self, event: ServiceEvent, what: str, text: str, where: str | None = None) -> None:
        entries = self.entries.setdefault(event.service, deque(maxlen=FOR_EACH))
        same = next((entry for entry in list(entries)[-REPEATS_WITHIN:] if entry.is_like(what, text)), None)
        if same is not None:
            entries.remove(same)
            entries.append(Entry(event.at, same.first_at, what, text, where, same.times + 1))
            return
        if len(entries) < FOR_EACH:
            self._order.append(event.service)
        entries.append(Entry(event.at, event.at, what, text, where, 1))
        if len(self._order) > IN_ALL:
            self.entries[self._order.popleft()].popleft()


def _seconds(duration: float) -> str:
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.3g} s"
