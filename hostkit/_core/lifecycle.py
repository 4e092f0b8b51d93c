"""One life of a host: start each step in order, wait for a reason to stop, stop each in reverse."""

import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING

import anyio

from hostkit import events
from hostkit._config.log_level import log_level
from hostkit._config.logging import LEVELS, log
from hostkit._config.options import HostOptions
from hostkit._core.failures import Failures, sort_out
from hostkit._core.lifetime import HostLifetime
from hostkit._core.listeners import Listener, Listeners
from hostkit._core.registration import Registration
from hostkit._core.service_group import ServiceGroup
from hostkit._core.shutdown import Ladder
from hostkit._core.startup import Startup
from hostkit._core.supervisor import Supervisor
from hostkit._execution.event_loop import RootTask
from hostkit._values.errors import HostFailedError
from hostkit._values.states import HostState, ServiceState
from hostkit._values.text import repr_of, text_of

if TYPE_CHECKING:
    from hostkit._process.lag import LagMonitor


class Life:
    """What exists from one start of a host to its end."""

    def __init__(  # noqa: PLR0913  # what the builder has collected
        self,
        steps: Sequence[Sequence[Registration]],
        options: HostOptions,
        lifetime: HostLifetime,
        listeners: Sequence[Listener],
        context: Context,
        *,
        detailed: bool,
    ) -> None:
        """Prepare, in the running event loop; `live` is to be run in a root task.

        Without *detailed*, nobody listens to the events of single services that go well, and they are not made.
        """
        self.root = RootTask()
        self.time = self.root.time
        self.steps: list[list[Supervisor]] = [
            [Supervisor(registration, self, number) for registration in step] for number, step in enumerate(steps)
        ]
        self.failures = Failures()
        self.startup = Startup(self, options.startup_timeout)
        self.ladder = Ladder(self, options.shutdown_timeout, options.cancellation_timeout)
        self.settled = anyio.Event()
        """Set when every service is ready, or the life has ended before that."""
        self.ended = anyio.Event()
        self.started = self.stopping = self.finished = False
        self.owns_process = False
        """Whether nothing but this host keeps the process busy: an embedded one may well have resources only."""
        self.ended_by_itself = False
        """Whether it stops because nothing was left to do."""
        self.state_since = self.time()
        self.detailed = detailed
        self.on_crash: Callable[[HostFailedError], None] | None = None
        """Called when a failure stops a host that had started."""
        self.on_fatal_end: Callable[[], None] | None = None
        """Called at the very end, if such a failure has stopped it, or something was abandoned."""
        self.options = options
        self._lifetime = lifetime
        self._listeners = Listeners(listeners, self.on_hook_error)
        context.run(log_level.set, LEVELS[options.log_level])
        self.group = ServiceGroup(context, self.fail)
        self._bell = anyio.Event()
        self._executing = sum(supervisor.registration.executes for supervisor in self.supervisors())
        self._lag = None if options.lag_warning is None else self._lag_monitor(options.lag_warning)
        self._beside: Sequence[Coroutine[object, object, None]] = ()  # what runs beside the services
        self._crashed = False

    def supervisors(self) -> Iterable[Supervisor]:
        """Return every service, in start order."""
        return (supervisor for step in self.steps for supervisor in step)

    async def live(self) -> None:
        """Live from the start to the end; it keeps every failure and never raises."""
        try:
            async with anyio.create_task_group() as outer:
                beside = [("end of the loop", self._watch_loop())]
                if any(supervisor.registration.heartbeat_timeout is not None for supervisor in self.supervisors()):
                    from hostkit._core.heartbeat import watch_heartbeats

                    beside.append(("heartbeats", watch_heartbeats(self)))
                if self._lag is not None:
                    beside.append(("lag", self._lag.run()))
                self._beside = [outer.create_task(task, name=f"hostkit: {name}").coro for name, task in beside]
                await self.group.hold(self._go_through)
                self.finished = True
                outer.cancel_scope.cancel()
        except BaseException as error:  # noqa: BLE001  # a root task that raises would take the loop with it
            self._note_broken_group(error)
        self._finish()

    def lose(self) -> None:
        """End a life whose event loop has ended before it could begin."""
        self._note_loop_end()
        self._finish()

    def begin_stop(self, reason: str, at: float | None = None) -> None:
        """Begin the stop, which began at the instant *at*; the first reason wins, and a second call does nothing."""
        if self.stopping:
            return
        if self.group.notice():
            return  # that is the reason then; whoever notices first begins the stop
        self.stopping = True
        now = self.time()
        self.ladder.begin(now if at is None else min(at, now))
        reason = self._lifetime._note_reason(reason)  # the host's side of the lifetime
        self._enter(HostState.STOPPING)
        self.tell(events.StopRequested(self.ladder.stop_at, reason))
        self.ring()

    def hurry(self) -> None:
        """Have everything cancelled at once."""
        self.ladder.hurry()

    @property
    def ready(self) -> bool:
        """Whether every service is ready and nobody has asked for the stop."""
        return self.started and not self.stopping and self._lifetime.stop_reason is None

    @property
    def healthy(self) -> bool:
        """Whether nothing has failed, is stalled or is being restarted, and the loop turns, if that is watched."""
        blocked = self._lag is not None and self._lag.blocked
        return (
            not self.failures
            and not blocked
            and not any(
                supervisor.stalled or (supervisor.pending and supervisor.was_ready) for supervisor in self.supervisors()
            )
        )

    def failure(self) -> HostFailedError | None:
        """Return a new group over what went wrong, or None."""
        return self.failures.error()

    def exit_code(self, asked: int | None) -> int:
        """Return the exit code as it is now; *asked* is the one that a stop request gave."""
        return self.failures.exit_code(asked)

    # For the ladder and for this life itself.

    def ring(self) -> None:
        """Wake whoever waits in `wait`."""
        self._bell.set()

    async def wait(self, deadline: float = math.inf) -> None:
        """Wait for the next `ring`, at most until *deadline*; asyncio's end of the loop does not cut it short."""
        try:
            with anyio.move_on_at(deadline):
                await self._bell.wait()
        except anyio.get_cancelled_exc_class():
            self._note_loop_end()
        if self._bell.is_set():
            self._bell = anyio.Event()

    async def pause(self) -> None:
        """Let the loop turn once."""
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self._note_loop_end()

    # For the supervisors.

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether a cancellation is the end of the loop or of the group, and no failure of a service."""
        return self.root.cancelled or self.group.cancelled

    def tell(self, event: events.HostEvent) -> None:
        """Hand *event* to the listeners."""
        self._listeners.tell(event)

    def fail(self, error: Exception, service: str | None = None) -> None:
        """Keep a failure, which stops the host."""
        self.failures.add(error, service)
        if service is None:  # no event tells of it
            self.log("ERROR", "the host failed: {}", error, error=error)
        if self.stopping:
            return
        self._crashed = self.started
        who = "the host" if service is None else f"service {service!r}"
        self.begin_stop(f"{who} failed: {text_of(error)}")
        failure = self.failure()
        if self._crashed and self.on_crash is not None and failure is not None:
            self.on_crash(failure)

    def ask_exit(self, error: BaseException, who: str) -> None:
        """Take a ``SystemExit`` or ``KeyboardInterrupt`` that somebody has raised as a request to stop."""
        if self.failures.exit_request is None:
            self.failures.exit_request = error
        self.begin_stop(f"{who} raised {repr_of(error)}")

    def on_hook_error(self, error: BaseException, hook: str) -> None:
        """Take note of what a callback of the user's has raised, which is logged already."""
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self.ask_exit(error, hook)

    def log(
        self, level: str, message: str, *args: object, service: str | None = None, error: BaseException | None = None
    ) -> None:
        """Write a line that is not below the options' ``log_level``."""
        if LEVELS[level] >= LEVELS[self.options.log_level]:
            log(level, message, *args, service=service, error=error)

    def on_ready(self, supervisor: Supervisor) -> None:
        """Take note that a service is ready."""
        self.startup.on_settled(supervisor)

    def on_restarting(self, supervisor: Supervisor) -> None:
        """Take note that a service waits to be run again."""
        self.startup.on_restarting(supervisor)

    def on_ended(self, supervisor: Supervisor) -> None:
        """Take note that a service has ended for good."""
        self.startup.on_settled(supervisor)
        if supervisor.state is ServiceState.ABANDONED:
            self.failures.abandoned = True
        self.ladder.on_ended(supervisor)

    def on_rest(self) -> None:
        """Take note that the loop of one more service has ended for good."""
        self._executing -= 1
        self._check_idle()

    # Inside.

    async def _go_through(self) -> None:
        await self._start()
        while not self.stopping:
            await self.wait()
        await self.ladder.run()
        if self.failures.abandoned:
            # The group goes on waiting for what was abandoned; nobody else does.
            self._finish()

    async def _start(self) -> None:
        began = self.time()
        count = sum(map(len, self.steps))
        self.tell(events.HostStarting(began, self.options.application_name, count))
        self._lifetime._pass_on()  # what was asked for before the start
        await self.startup.run()
        if self.stopping:
            return
        self.started = True
        self._enter(HostState.STARTED)
        now = self.time()
        self.tell(events.HostStarted(now, count, now - began))
        self.settled.set()
        self._check_idle()

    def _check_idle(self) -> None:
        """Stop a host that has nothing left to do."""
        if not self.started or self._executing or self._lifetime.stop_reason is not None:
            return
        if self.group.notice():
            return
        if self.root.cancelled:
            # asyncio cancels all tasks when its loop ends, in any order: a service may notice before `_watch_loop`.
            self._note_loop_end()
            return
        loops = [supervisor.registration.executes for supervisor in self.supervisors()]
        if all(loops):
            if not any(self.steps):
                self.log("WARNING", "the host has no services, and ends")
            self.ended_by_itself = True
            self.begin_stop("nothing left to do: every service has ended" if any(self.steps) else "no services")
        elif self.owns_process or any(loops):
            self.log("WARNING", "no service has anything left to do; the host waits to be stopped")

    async def _watch_loop(self) -> None:
        try:
            await anyio.Event().wait()
        finally:
            if not self.finished:
                self._note_loop_end()

    def _note_broken_group(self, error: BaseException) -> None:
        """Keep what comes out of the services' group in the end: why it has broken."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        failure, _ = sort_out(error)
        if failure is None:
            return  # the end of the loop
        if self.ended.is_set():
            self.log("ERROR", "an abandoned service has failed since: {}", failure, error=failure)
            return
        self.group.notice()
        self.fail(failure)

    def _note_loop_end(self) -> None:
        if not self.stopping:
            self.log("WARNING", "the event loop ends while the host runs; stop the host before")
        self.begin_stop("event loop ended")
        # All tasks were cancelled in this turn of the loop: one that has not begun in the next never will.
        self.root.post(self._drop_unbegun)

    def _drop_unbegun(self) -> None:
        for supervisor in self.supervisors():
            supervisor.drop_unbegun()
        self.group.drop_unbegun()
        for coroutine in self._beside:
            if getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()

    def _lag_monitor(self, seconds: float) -> "LagMonitor":
        from hostkit._process.lag import LagMonitor

        return LagMonitor(seconds, self.log)

    def _finish(self) -> None:
        if self.ended.is_set():
            return
        self.finished = True
        self._enter(HostState.STOPPED)
        now = self.time()
        lifetime = self._lifetime
        self.tell(events.HostStopped(now, lifetime.stop_reason or "", lifetime.exit_code, now - self.ladder.stop_at))
        self.settled.set()
        self.ended.set()
        if self.on_fatal_end is not None and (self._crashed or self.failures.abandoned):
            self.on_fatal_end()

    def _enter(self, state: HostState) -> None:
        self.state_since = self.time()
        self._lifetime._enter(state)  # the host's side of the lifetime
