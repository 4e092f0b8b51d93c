"""Log lines made of a host's events."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from hostkit import events
from hostkit._config.logging import LEVELS, log
from hostkit._config.options import HostOptions
from hostkit._values.errors import RestartLimitError
from hostkit._values.repeats import Repeat, Repeats
from hostkit._values.standard_error import is_terminal
from hostkit._values.text import printable, repr_of, text_of

LOOP_ENDED, WAIT_CANCELLED = "event loop ended", "the task that waits for the host was cancelled"
"""The reasons of a stop that comes because the loop ends under the host, or what waits for the host in it."""

LINES: Mapping[type[events.HostEvent], tuple[str, str]] = MappingProxyType(
    {
        events.HostStarting: ("INFO", "starting {application_name} with {services}"),
        events.HostStarted: ("INFO", "started {services} in {duration:.2f} s"),
        events.StopAnnounced: ("INFO", "stopping in {delay:g} s: {reason}{hint}"),
        events.StopRequested: ("INFO", "stopping: {reason}{hint}"),
        events.HostStopped: ("INFO", "stopped in {duration:.2f} s{exit_code}"),
        events.ServiceStarting: ("DEBUG", "service {service} starting"),
        events.ServiceStarted: ("DEBUG", "service {service} started in {duration:.2f} s"),
        events.ServiceStopping: ("DEBUG", "service {service} stopping"),
        events.ServiceStopped: ("DEBUG", "service {service} stopped in {duration:.2f} s"),
        events.ServiceFailed: ("ERROR", "service {service} failed: {error}"),
        events.ServiceRestarting: (
            "WARNING",
            "service {service} restarting in {delay:.1f} s, restart {restarts}{limit}",
        ),
        events.ServiceStalled: ("WARNING", "service {service} stalled for {duration:.1f} s{waiting_at}"),
        events.ServiceRecovered: ("WARNING", "service {service} moves again after {duration:.1f} s"),
        events.ServiceCancelled: ("WARNING", "service {service} cancelled: {reason}{waiting_at}"),
        events.ServiceAbandoned: ("ERROR", "service {service} ignores its cancellation, abandoned{waiting_at}"),
    }
)
"""For each kind of event its level, and its line with the event's fields, of which `EventLog` shows some in words."""


_REPEATED = (events.ServiceFailed, events.ServiceRestarting, events.StopRequested)


class EventLog:
    """The listener that makes log lines of events."""

    def __init__(self, options: HostOptions, *, owns_process: bool = False) -> None:
        """Make no line below the options' ``log_level``; those of a process's owner have exit code and signals too."""
        self._lowest = LEVELS[options.log_level]
        self._owns_process = owns_process
        self._failures: Repeats | None = None
        self._repeating: set[str] = set()  # services of which the last failure was the same as one before
        self.detailed = self._lowest <= LEVELS["DEBUG"]
        """Whether the start and stop of single services makes lines; if not, those events need not be made."""

    def __call__(self, event: events.HostEvent) -> None:
        """Write the line of *event*, if it has one; of what a `Restart` recovers again and again, not each time."""
        if isinstance(event, _REPEATED) and self._is_repeated(event):
            return
        level, line = LINES.get(type(event), ("", ""))
        if getattr(event, "retried", False):
            level = "WARNING"  # what is tried again is no error yet
        if line and LEVELS[level] >= self._lowest:
            error = getattr(event, "error", None)
            if isinstance(error, RestartLimitError):
                error = None  # the failures before it are in the log already
            text = line.format_map(self._fields(event))
            log(level, "{}", text, service=getattr(event, "service", None), error=error)

    def _is_repeated(self, event: events.HostEvent) -> bool:
        """Return whether *event* needs no line of its own, as the same was written before, or is written here."""
        if isinstance(event, events.StopRequested):
            for key, left_out in () if self._failures is None else self._failures.end(event.at):
                service, text = cast("tuple[str, str]", key)
                self._write_repeat(service, left_out, text)
        elif isinstance(event, events.ServiceRestarting):
            return event.service in self._repeating and event.in_a_row > 0
        elif isinstance(event, events.ServiceFailed) and event.retried:
            text = text_of(event.error)
            self._failures = self._failures or Repeats()
            repeat = self._failures.take((event.service, text), event.at)
            if repeat is not None and not repeat.times:
                self._repeating.discard(event.service)
                return False
            self._repeating.add(event.service)
            if repeat is not None:
                self._write_repeat(event.service, repeat, text)
            return True
        return False

    def _write_repeat(self, service: str, repeat: Repeat, text: str) -> None:
        if LEVELS["WARNING"] >= self._lowest:
            times = "once" if repeat.times == 1 else f"{repeat.times} times"
            message = "service {} failed again ({} in {:.0f} s): {}"
            log("WARNING", message, service, times, repeat.seconds, text, service=service)

    def _fields(self, event: events.HostEvent) -> dict[str, object]:
        fields: dict[str, object] = {name: _shown(value) for name, value in vars(event).items()}
        if "services" in fields:
            fields["services"] = "1 service" if fields["services"] == 1 else f"{fields['services']} services"
        if "waiting_at" in fields:
            line = getattr(event, "waiting_at", None)
            fields["waiting_at"] = f", at {fields['waiting_at']}" if line else ""
        if isinstance(event, events.ServiceRestarting):
            limited = event.limit is not None
            fields["restarts"] = event.in_a_row if limited else event.restarts
            fields["limit"] = f" of {event.limit}" if limited else ""
        if isinstance(event, events.HostStopped):
            # The exit code of a process whose loop has ended by something else is not the host's.
            known = self._owns_process and event.reason not in (LOOP_ENDED, WAIT_CANCELLED)
            fields["exit_code"] = f", exit code {event.exit_code}" if known else ""
        fields["hint"] = self._hint(event)
        return fields

    def _hint(self, event: events.HostEvent) -> str:
        """Return what a further signal does, for a person who has stopped the host in a terminal."""
        reason = getattr(event, "reason", "")
        if not (self._owns_process and reason.startswith("signal ") and is_terminal()):
            return ""
        again = "a second Ctrl-C" if reason == "signal SIGINT" else "a second signal"
        effect = "ends the delay" if isinstance(event, events.StopAnnounced) else "cancels everything at once"
        return f" ({again} {effect})"


def _shown(value: object) -> object:
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else repr_of(value)
    return text if text.isprintable() else printable(text)
