"""Speaks to systemd for a host: ready, status, watchdog, more time, stopping. Needs no extra."""

import faulthandler
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

import anyio

from hostkit import Host, HostBuilder, HostedService, HostState, HostStatus, ServiceState, ServiceStatus, events
from hostkit._config.logging import log
from hostkit._values import clock
from hostkit._values.standard_error import error_descriptor
from hostkit._values.text import text_of

if TYPE_CHECKING:
    from hostkit.scheduling import ScheduledJob

__all__ = ["SystemdNotifier"]

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LONGEST_ADDRESS = 107
"""Bytes that the path of a socket may have."""
LONGEST_STATUS = 512
"""In bytes."""
MOST_NAMES = 3
LONGEST_EXTENSION, MARGIN, STOP_EXTENSION = 10.0, 5.0, 5.0
"""Seconds by which a start is extended, beyond its own timeout, and by which a stop is; systemd hears again before."""
INTERVALS = {HostState.STARTING: 5.0, HostState.STOPPING: 2.0}
"""Seconds between two messages."""
LEAST_INTERVAL = 1.0
"""Seconds between two messages that a change has caused."""
NO_SIGNAL = socket.MSG_NOSIGNAL if hasattr(socket, "MSG_NOSIGNAL") else 0


class SystemdNotifier(HostedService):
    """A service that notifies systemd of what its host does; for units with ``Type=notify``.

    Add it first, ``builder.add_service(SystemdNotifier(builder))``: it then starts before the others, and stops last.
    ``hostkit run`` adds one by itself. Without ``NOTIFY_SOCKET`` in the environment it does nothing.

    systemd hears when every service is ready, what the host does (a line in ``systemctl status``), and when the stop
    begins. Starts and stops ask for more time while they go on: the host's own ``startup_timeout``,
    ``shutdown_timeout`` and ``cancellation_timeout`` hold, also where those of the unit are shorter; without a
    ``startup_timeout`` the unit's holds. With ``WatchdogSec=`` in the unit the event loop reports in time, unless
    something was abandoned and the host does not stop: no dependency, no restart and no stall holds that back.

    When the host starts, ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are taken out of the environment:
    child processes do not speak for the host.

    Failures:
        None: a message that cannot be sent is logged at DEBUG, and an address that is not understood once as a warning.
    """

    def __init__(self, source: HostBuilder | Host) -> None:
        """Prepare to speak for *source*, the builder that makes the host, or the host.

        Raises:
            HostStateError: *source* is a builder, and has made its host already.
        """
        self._source = source
        self._environment: dict[str, str] = {}
        self._socket: socket.socket | None = None
        self._address = b""
        self._tasks = AsyncExitStack()
        self._begin(0.0, 0)
        source.on_event(self._on_event)
        source.lifetime.on_started(self._on_state)
        source.lifetime.on_stopping(self._on_state)

    async def start(self) -> None:
        """Begin to repeat what must be repeated; it is for the host to call."""
        if self._socket is None:
            return
        group = await self._tasks.enter_async_context(anyio.create_task_group())
        self._tasks.callback(group.cancel_scope.cancel)
        group.start_soon(self._report_changes)
        interval = self._watchdog_interval()
        if interval is not None:
            group.start_soon(self._feed_watchdog, interval)
            descriptor = error_descriptor()
            if descriptor is not None and not faulthandler.is_enabled():
                faulthandler.enable(file=descriptor)  # systemd aborts a process that blocks: it shows where

    async def stop(self) -> None:
        """End what `start` has begun; it is for the host to call."""
        await self._tasks.aclose()

    def _begin(self, at: float, services: int) -> None:
        self._began_at = at
        self._services = services
        self._begun: dict[str, None] = {}  # services whose start has begun
        self._ready = self._stopping = self._lost = False
        self._words = self._problems = self._next = ""
        self._look = True  # at the services, as one has changed
        self._changed = anyio.Event()

    def _on_event(self, event: events.HostEvent) -> None:
        match event:
            case events.HostStarting():
                self._open()
                self._begin(event.at, event.services)
                self._report()
            case events.ServiceStarting() if self._host.lifetime.state is HostState.STARTING:
                self._begun.setdefault(event.service)
                self._report()
            case events.StopAnnounced():
                self._look = True
                self._send(_status(f"stopping in {event.delay:g} s: {event.reason}"))
            case events.HostStopped():
                self._send(*_end(self._host, event))
                self._close()
            case events.RunFinished() | events.RunSkipped():
                if event.job == self._next:
                    self._changed.set()
            case events.ServiceEvent():
                self._look = True
                if self._host.lifetime.state is not HostState.STARTING:
                    self._changed.set()

    def _on_state(self) -> None:
        self._changed.set()  # other intervals hold from now on
        self._report()

    async def _report_changes(self) -> None:
        while True:
            interval = INTERVALS.get(self._host.lifetime.state, inf)
            with anyio.move_on_after(interval - LEAST_INTERVAL):
                await self._changed.wait()
            self._changed = anyio.Event()
            self._report()
            await anyio.sleep(LEAST_INTERVAL)

    async def _feed_watchdog(self, interval: float) -> None:
        # As long as `/livez` is well: what is abandoned begins the stop, and this ends when the stop does.
        while True:
            await anyio.sleep(interval)
            self._send("WATCHDOG=1")

    def _report(self) -> None:
        """Say what the host does, if that has changed or must be repeated."""
        if self._socket is None:
            return
        state = self._host.lifetime.state
        if state is HostState.STARTING:
            self._report_start()
        elif state is HostState.STARTED:
            self._report_run()
        else:
            self._report_stop()

    def _report_start(self) -> None:
        words = f"starting {next(reversed(self._begun), 'services')} ({len(self._begun)} of {self._services})"
        timeout = self._host.options.startup_timeout
        left = inf if timeout is None else self._began_at + timeout - anyio.current_time()
        more = [] if timeout is None else [_extension(min(LONGEST_EXTENSION, left + MARGIN))]
        self._send(_status(words), *more)

    def _report_run(self) -> None:
        if self._look:
            status = self._host.status(lines=False)
            if status.seconds_to_stop is not None:
                return  # that was said
            self._look = False
            self._problems = "; ".join(_problems(status))
        words = f"not well: {self._problems}" if self._problems else self._running()
        if not self._ready:
            self._ready = self._send("READY=1", _status(words), "WATCHDOG=1")
        elif words != self._words:
            self._send(_status(words))
        self._words = words

    def _report_stop(self) -> None:
        status = self._host.status()
        words = f"stopping: {status.stop_reason}"
        # From the instant on at which the host gives up what has not ended, the unit's own timeout holds.
        more = [_extension(STOP_EXTENSION)] if status.seconds_to_abandon else []
        if not self._stopping:
            self._stopping = self._send("STOPPING=1", _status(words), *more)
        else:
            self._send(_status(_waiting(status) or words), *more, "WATCHDOG=1")

    def _running(self) -> str:
        words = f"running: {self._services} services"
        jobs: list[ScheduledJob] = []
        if "hostkit.scheduling" in sys.modules:
            from hostkit.scheduling import Scheduler

            schedulers = (each for each in self._host.services.values() if isinstance(each, Scheduler))
            jobs = [job for scheduler in schedulers for job in scheduler.jobs.values()]
            words += f", {len(jobs)} schedules" if jobs else ""
        due = [(job.next_run, job.name) for job in jobs if job.next_run is not None]
        if not due:
            return words
        at, self._next = min(due)
        return f"{words}, next {self._next} {_clock_time(at)}"

    @property
    def _host(self) -> Host:
        host = self._source if isinstance(self._source, Host) else self._source.host
        assert host is not None  # there is no event before
        return host

    def _open(self) -> None:
        if "NOTIFY_SOCKET" in os.environ:
            self._environment = {name: os.environ.pop(name, "") for name in VARIABLES}
        address = self._environment.get("NOTIFY_SOCKET")
        if not address:
            return
        self._address = os.fsencode(address)
        if address[0] in "/@" and len(self._address) <= LONGEST_ADDRESS and hasattr(socket, "AF_UNIX"):
            if address[0] == "@":
                self._address = b"\0" + self._address[1:]
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(0)
            return
        log("WARNING", "systemd is not notified: NOTIFY_SOCKET={} is no address of a socket here", address)
        self._environment = {}

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _watchdog_interval(self) -> float | None:
        """Return the seconds between two watchdog messages, half of what systemd allows; None if it wants none."""
        usec, pid = self._environment["WATCHDOG_USEC"], self._environment["WATCHDOG_PID"]
        if not usec.isdecimal() or not int(usec) or pid not in ("", str(os.getpid())):
            return None
        return int(usec) / 2 / 1_000_000

    def _send(self, *assignments: str) -> bool:
        """Send one message, without waiting; return whether systemd has it."""
        if self._socket is None:
            return False
        message = "\n".join(assignments)
        try:
            self._socket.sendto(message.encode(), NO_SIGNAL, self._address)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                self._changed.set()  # the queue is full: tried again, in a second
            if not self._lost:
                log("DEBUG", "a message to systemd is lost: {!r} ({})", message, text_of(error))
            self._lost = True
            return False
        self._lost = False
        return True


def _status(words: str) -> str:
    line = " ".join(words.replace("\0", " ").splitlines()).encode(errors="backslashreplace")
    return f"STATUS={line[:LONGEST_STATUS].decode(errors='ignore')}"


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={max(0, round(seconds * 1_000_000))}"


def _problems(status: HostStatus) -> Iterator[str]:
    for service in status.services:
        cause = "" if service.last_failure is None else f" ({service.last_failure})"
        if service.state is ServiceState.STARTING:
            yield f"{service.name} starts again{cause}"
        elif service.restart_at is not None:
            yield f"{service.name} restarts in {_restart_time(service, service.restart_at, status.at)}{cause}"
        elif service.stalled:
            yield f"{service.name} is stalled"


def _restart_time(service: ServiceStatus, restart_at: str, at: str) -> str:
    seconds = (datetime.fromisoformat(restart_at) - datetime.fromisoformat(at)).total_seconds()
    limit = "" if service.restart_limit is None else f", {service.failures_in_a_row} of {service.restart_limit}"
    return f"{seconds:.0f} s{limit}"


def _waiting(status: HostStatus) -> str:
    """Return whom a stop waits for, and for how long; nothing if for none."""
    if not status.waiting_for:
        return ""
    services = {service.name: service for service in status.services}
    shown = [f"{name}{_line(services[name])}" for name in status.waiting_for[:MOST_NAMES]]
    if len(status.waiting_for) > MOST_NAMES:
        shown.append(f"{len(status.waiting_for) - MOST_NAMES} more")
    what, seconds = "cancelled", status.seconds_to_cancel
    if not seconds:
        what, seconds = "abandoned", status.seconds_to_abandon
    return f"waiting for {', '.join(shown)}, {what} in {seconds or 0:.0f} s"


def _line(service: ServiceStatus) -> str:
    place = (service.waiting_at or "").partition("; ")[0].partition(" in ")[0]
    return f" (at {place.rpartition(os.sep)[2]})" if place else ""


def _end(host: Host, event: events.HostStopped) -> list[str]:
    if host.lifetime.failure is None:
        return [_status(f"stopped: {event.reason}, exit code {event.exit_code}")]
    causes: list[BaseException] = [host.lifetime.failure]
    while isinstance(causes[-1], BaseExceptionGroup):
        causes[-1] = causes[-1].exceptions[0]
    while causes[-1].__cause__ is not None and causes[-1].__cause__ not in causes:
        causes.append(causes[-1].__cause__)
    numbers = [error.errno for error in causes if isinstance(error, OSError) and error.errno is not None]
    words = "; caused by ".join(map(text_of, causes))
    return [_status(f"failed: {words}"), *(f"ERRNO={number}" for number in numbers[:1])]


def _clock_time(at: datetime) -> str:
    soon = at - clock.now() < timedelta(days=1)
    return f"{at:%H:%M}" if soon else f"{at:%Y-%m-%d %H:%M}"
