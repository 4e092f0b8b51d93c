"""The lifetime of a host: its instants and its stop, for users to watch and to ask for, and for hostkit to drive."""

import math
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from hostkit import events
from hostkit._config.event_log import EventLog
from hostkit._config.logging import bounded_log, choose_destination, log_error
from hostkit._config.options import HostOptions
from hostkit._core.failures import Failures
from hostkit._values.errors import HostFailedError, HostStateError
from hostkit._values.functions import require_sync
from hostkit._values.states import HostState
from hostkit._values.text import repr_of, text_of

if TYPE_CHECKING:
    from hostkit._core.service_group import ServiceGroup, Wakeup
    from hostkit._core.status import HostStatus
    from hostkit._execution.event_loop import EventLoop

Listener = Callable[[events.HostEvent], None]
FatalCallback = Callable[[HostFailedError], None]

LARGEST_EXIT_CODE = 255


class HostLifetime:
    """Where a host is in its lifecycle: for services that watch it or stop it.

    `request_stop`, `status` and the attributes are for any thread, ``wait_…`` and ``on_…`` for the host's event loop.
    """

    def __init__(self) -> None:
        """Make the lifetime of a host that has not been started."""
        self._state = HostState.CREATED
        self._failures = Failures()
        self._requests: list[tuple[str, float | None]] = []
        self._announcements: list[str] = []  # reasons of a stop that begins later
        self._codes: list[int] = []
        self._callbacks: dict[HostState, list[Callable[[], None]]] = {}
        self._loop: EventLoop | None = None
        self._status: Callable[[], HostStatus] | None = None
        self._on_request: Callable[[], None] | None = None
        self._renew()

    @property
    def state(self) -> HostState:
        """Where the host is."""
        return self._state

    @property
    def failure(self) -> HostFailedError | None:
        """What the host's `wait` and `stop` would raise now; a new group at each reading."""
        return self._failures.error()

    @property
    def stop_reason(self) -> str | None:
        """The first cause of the stop, in words; there at once when it was asked for."""
        if self._requests:
            return self._requests[0][0]
        return self._announcements[0] if self._announcements else None

    @property
    def exit_code(self) -> int:
        """The process's exit code, were it to end now.

        0: nothing failed and nothing was forced. 1: something failed or had to be cancelled. 3: something was
        abandoned. Otherwise the code that was asked for.
        """
        return self._failures.exit_code(self._codes[0] if self._codes else None)

    def request_stop(self, reason: str = "stop requested", *, exit_code: int | None = None) -> None:
        """Ask the host to stop, and return at once.

        From any thread, from a signal handler, any number of times: the first reason and the first exit code win. It
        never blocks. What follows, follows in the event loop, not in this call. Before the start it is remembered, and
        the host will start nothing; after the end it does nothing, not even for the next lifecycle.

        Args:
            reason: Why, in words, for the log and the status.
            exit_code: The process's exit code if nothing fails, 0 to 255.

        Raises:
            TypeError: *reason* is no str.
            ValueError: *exit_code* is no int from 0 to 255.
        """
        if not isinstance(reason, str):
            message = f"reason must be a str, got {reason!r}"
            raise TypeError(message)
        if exit_code is not None and (type(exit_code) is not int or not 0 <= exit_code <= LARGEST_EXIT_CODE):
            message = f"exit_code must be an int from 0 to {LARGEST_EXIT_CODE}, got {exit_code!r}"
            raise ValueError(message)
        if self._state is HostState.STOPPED:
            return
        loop = self._loop
        if exit_code is not None:
            self._codes.append(exit_code)
        if not self._requests:
            self._requests.append((reason, None if loop is None else loop.time()))
            if self._on_request is not None:
                self._on_request()
        if loop is not None:
            loop.call_soon(self._pass_on)

    async def wait_started(self) -> None:
        """Wait until every service is ready.

        Raises:
            HostStateError: The host has ended without.
        """
        await self._passed[HostState.STARTED].wait()
        if not self._has_started:
            message = "the host has ended without having started"
            raise HostStateError(message)

    async def wait_stopping(self) -> None:
        """Wait until the stop has begun."""
        await self._passed[HostState.STOPPING].wait()

    async def wait_stopped(self) -> None:
        """Wait until the host has ended; see `Host.wait` for one that raises its failure."""
        await self._passed[HostState.STOPPED].wait()

    def on_started(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when every service is ready, in this lifecycle and every further one.

        It must be short and synchronous. An error in it is logged and keeps no other callback from running; a
        ``SystemExit`` or ``KeyboardInterrupt`` also stops the host, and comes out of it as from a service. If the
        instant has passed already, it is called at once.

        Raises:
            TypeError: *callback* cannot be called, or is an async function.
        """
        self._on(HostState.STARTED, callback, "on_started()")

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when the stop begins, before the first service is asked; see `on_started`."""
        self._on(HostState.STOPPING, callback, "on_stopping()")

    def on_stopped(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when the host has ended; see `on_started`."""
        self._on(HostState.STOPPED, callback, "on_stopped()")

    def status(self) -> "HostStatus":
        """Return what the host and its services are doing; cheap enough for several times a second.

        Raises:
            HostStateError: The host has not been built yet.
        """
        if self._status is None:
            message = "no status: the host has not been built yet"
            raise HostStateError(message)
        return self._status()

    def _on(self, state: HostState, callback: Callable[[], None], taker: str) -> None:
        require_sync(callback, taker)
        self._callbacks.setdefault(state, []).append(callback)
        passed = self._has_started if state is HostState.STARTED else self._passed[state].is_set()
        if passed:
            self._call("a lifetime callback", callback)

    def _renew(self) -> None:
        self._passed = {state: anyio.Event() for state in (HostState.STARTED, HostState.STOPPING, HostState.STOPPED)}
        self._has_started = False

    def _pass_on(self) -> None:
        """Begin the stop that was requested, in the event loop."""

    def _call(self, hook: str, callback: Callable[..., None], *arguments: object) -> None:
        """Call a callback of the user's."""


class LifetimeController(HostLifetime):
    """The other side of a lifetime: made by the builder, driven by the lifecycle, and shown as a `HostLifetime`.

    It enters the states, keeps the failures, begins the stop, and hands events to the listeners.

    Attributes:
        failures: What went wrong in the current or last lifecycle.
        state_since: When the current state began, on the loop's clock.
        stop_due: When the stop begins that was announced, on the loop's clock; infinite if none was.
        stopping: Whether the stop has begun.
        crashed: Whether a failure has stopped the host after it had started.
        detailed: Whether the events of single services that go well have a listener; if not, they are not made.
        listeners: The listeners of the user's.
        owns_process: Whether nothing but this host keeps the process busy.
        fatal_callbacks: Called when a failure stops an embedded host that had started.
        options: The options of the host; the command line may set others before the start.
        log: Writes a line that is not below the host's log level.
    """

    log: Callable[..., None]
    _group: "ServiceGroup"
    _wakeup: "Wakeup"
    _lay_deadlines: Callable[[float], None]

    def __init__(self, options: HostOptions) -> None:
        """Make the lifetime of a host that has not been started."""
        super().__init__()
        self.options = options
        self.failures = self._failures
        self.state_since, self.stop_due = 0.0, math.inf
        self.stopping = self.crashed = self.detailed = False
        self.listeners: tuple[tuple[Listener], ...] = ()  # each by itself: the same one may be added twice
        self.fatal_callbacks: list[FatalCallback] = []
        self._event_log = EventLog(options)
        self._events: deque[events.HostEvent] = deque()
        self._emitting = False
        self.owns_process = False
        self._process = os.getpid()

    @property
    def delaying_stop(self) -> bool:
        """Whether a stop was announced that has not been asked for otherwise, nor begun."""
        return bool(self._announcements) and not self._requests and not self.stopping

    def announce_stop(self, reason: str) -> None:
        """Ask for the stop after the option ``stop_delay``; in a signal handler or any thread, without waiting.

        Without a delay, when it was announced before, and before everything runs, the stop is requested.
        """
        loop, delay = self._loop, self.options.stop_delay
        if loop is None or not delay or self._announcements or self._state is not HostState.STARTED:
            self.request_stop(reason)
            return
        self.stop_due = loop.time() + delay
        self._announcements.append(reason)
        loop.call_soon(self._report_announcement)

    def _report_announcement(self) -> None:
        if not self.stopping:
            delay = self.options.stop_delay
            self.emit(events.StopAnnounced(self.stop_due - delay, self._announcements[0], delay))
            self._wakeup.event.set()

    def show(self, status: "Callable[[], HostStatus]") -> None:
        """Have *status* answer `status`, now that the host has been built."""
        self._status = status

    def on_request(self, callback: Callable[[], None] | None) -> None:
        """Have *callback* called at the first stop request, in the frame that makes it: a signal handler, perhaps."""
        self._on_request = callback

    def begin(
        self, group: "ServiceGroup", wakeup: "Wakeup", lay_deadlines: Callable[[float], None], *, owns_process: bool
    ) -> None:
        """Begin a lifecycle; what was asked for before the first one holds for it.

        *wakeup* is set where the task that drives it has to look, and *lay_deadlines* called with the first instant of
        the stop.

        Raises:
            HostStateError: One has begun and not ended yet.
        """
        if self._state not in (HostState.CREATED, HostState.STOPPED):
            message = f"the host is {self._state}: it can be started when it is new or has stopped"
            if os.getpid() != self._process:
                message = "the process was forked after the host was started; make the host in the child"
            raise HostStateError(message)
        self._process = os.getpid()
        choose_destination(self.options.logging)
        if self._state is HostState.STOPPED:
            self._requests, self._announcements, self._codes = [], [], []
            self.stop_due = math.inf
            self.failures = self._failures = Failures()
            self._renew()
        self._loop = group.loop
        self._group, self._wakeup, self._lay_deadlines = group, wakeup, lay_deadlines
        self.owns_process = owns_process
        self.log = bounded_log(self.options)
        self._event_log = EventLog(self.options, owns_process=owns_process)
        self.stopping = self.crashed = False
        self._count_listeners()
        self.enter(HostState.STARTING)

    def enter(self, state: HostState) -> None:
        """Enter *state*, wake what waits for that, and call the callbacks."""
        assert self._loop is not None
        self._state = state
        self.state_since = self._loop.time()
        if state is HostState.STARTED:
            self._has_started = True
        if state is HostState.STOPPED:
            self._passed[HostState.STARTED].set()
        if state in self._passed:
            self._passed[state].set()
            for callback in tuple(self._callbacks.get(state, ())):  # one that is added now has its call already
                self._call("a lifetime callback", callback)

    def pass_on(self) -> None:
        """Begin the stop that was requested, if it was, in the event loop."""
        if self._requests:
            self.begin_stop(*self._requests[0])

    _pass_on = pass_on

    def begin_stop(self, reason: str, at: float | None = None) -> None:
        """Begin the stop, which began at the instant *at*; the first reason wins, and a second call does nothing."""
        loop = self._loop
        assert loop is not None
        if self.stopping or self._group.report_broken_group():
            return  # the broken group is the reason then
        self.stopping = True
        now = loop.time()
        at = now if at is None else min(at, now)
        self._lay_deadlines(at)
        if not self._requests:
            self._requests.append((self._announcements[0] if self._announcements else reason, None))
        self.enter(HostState.STOPPING)
        self.emit(events.StopRequested(at, self._requests[0][0]))

    def fail(self, error: Exception, service: str | None = None) -> None:
        """Keep a failure, which stops the host."""
        self.failures.add(error, service)
        if service is None:  # there is no event of it
            self.log("ERROR", "the host failed: {}", error, error=error)
        if self.stopping:
            return
        self.crashed = self._state is HostState.STARTED
        source = "the host" if service is None else f"service {service!r}"
        self.begin_stop(f"{source} failed: {text_of(error)}")
        failure = self.failure
        if self.crashed and failure is not None and not self.owns_process:
            self.log("CRITICAL", "{}; stopping the other services", failure.message)
            for callback in self.fatal_callbacks:
                self._call("an on_fatal callback", callback, failure)

    def request_exit(self, error: BaseException, source: str) -> None:
        """Take a ``SystemExit`` or ``KeyboardInterrupt`` that *source* has raised as a request to stop."""
        if self.failures.exit_request is None:
            self.failures.exit_request = error
        self.begin_stop(f"{source} raised {repr_of(error)}")

    def on_hook_error(self, error: BaseException, hook: str) -> None:
        """Take what a callback of the user's has raised, which is logged already."""
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self.request_exit(error, hook)

    def _call(self, hook: str, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except BaseException as error:  # noqa: BLE001  # the user's callback: logged, and no other is kept from running
            log_error("{} {} failed: {}", hook, callback, error, error=error)
            self.on_hook_error(error, hook)

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Have *listener* called with every event, after those that are there; return what takes it back."""
        registered = (listener,)
        self.listeners = (*self.listeners, registered)
        self._count_listeners()

        def remove() -> None:
            self.listeners = tuple(other for other in self.listeners if other is not registered)
            self._count_listeners()

        return remove

    def emit(self, event: events.HostEvent) -> None:
        """Write the line of *event*, and hand it to the listeners; one that these cause comes after this one."""
        waiting = self._events
        waiting.append(event)
        if self._emitting:
            return
        self._emitting = True
        while waiting:
            event = waiting.popleft()
            listeners: tuple[tuple[Listener], ...] = ((self._event_log,), *self.listeners)
            for (listener,) in listeners:
                try:
                    listener(event)
                except BaseException as error:  # noqa: BLE001  # logged, and kept as a listener
                    log_error("listener {} failed on {}", listener, event, error=error)
                    self.on_hook_error(error, "a listener")
        self._emitting = False

    def emit_for_service(self, event: events.HostEvent) -> None:
        """Hand on an event that a service has made; none after the end of the host, which is its last event."""
        if self._state is not HostState.STOPPED:
            self.emit(event)

    def has_listeners(self) -> bool:
        """Return whether there is a listener of the user's."""
        return bool(self.listeners)

    def _count_listeners(self) -> None:
        self.detailed = self._event_log.detailed or bool(self.listeners)
