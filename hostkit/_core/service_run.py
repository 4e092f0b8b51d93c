"""One run of a service: start, execute and stop, one after the other in one task."""

from collections.abc import Callable, Coroutine
from enum import IntEnum
from functools import partial
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import anyio

from hostkit import events
from hostkit._core.lifetime import LifetimeController
from hostkit._core.registration import Registration
from hostkit._core.service import BackgroundService, ThreadService
from hostkit._core.service_group import ServiceGroup
from hostkit._execution import stack
from hostkit._execution.event_loop import watch_scope
from hostkit._tokens.stopping_token import StoppingSource, TokenOwner
from hostkit._tokens.thread_stopping_token import ThreadStoppingSource
from hostkit._values.errors import HostStateError, ServiceCancelledError
from hostkit._values.exceptions import classify
from hostkit._values.states import ServiceState

if TYPE_CHECKING:
    from hostkit._execution.daemon_thread import DaemonThread


class RunOwner(TokenOwner, Protocol):
    """The supervisor of a service, which decides what follows from what its run reports."""

    name: str
    registration: Registration
    lifetime: LifetimeController
    group: ServiceGroup
    state: ServiceState
    state_since: float | None

    def on_run_ready(self, run: "ServiceRun") -> None:
        """Go on, as the run is ready."""

    def on_run_recovered(self, run: "ServiceRun") -> None:
        """Go on, as a stalled run moves again."""

    def on_run_returned(self, run: "ServiceRun") -> None:
        """Decide what the end of ``execute`` means."""

    def on_run_failed(self, run: "ServiceRun", failure: Exception) -> None:
        """Decide what a failure means."""

    def on_execute_ended(self) -> None:
        """Count a loop that has ended for good."""

    def on_run_ended(self, run: "ServiceRun") -> None:
        """Decide what follows the end of the run."""


class Phase(IntEnum):
    """Which hook of a run is awaited."""

    STARTING = 1
    EXECUTING = 2
    AWAITING_TURN = 3
    STOPPING = 4
    ENDED = 5


class ServiceRun:
    """One run of a service.

    The hooks are awaited in one task, because what ``start()`` opens ``stop()`` must be able to close: a cancel scope
    or a task group belongs to a task. A restart is a new run, in a new task.
    """

    since: float
    active_at: float

    def __init__(self, supervisor: RunOwner) -> None:
        """Prepare; `begin` starts it."""
        self.supervisor = supervisor
        registration = supervisor.registration
        kind = ThreadStoppingSource if registration.kind == "thread" else StoppingSource
        self.token: StoppingSource | ThreadStoppingSource = kind(
            supervisor, None if registration.heartbeat_timeout is None else self._record_activity
        )
        self.phase = Phase.STARTING
        self.ready_at: float | None = None
        self.ending_since: float | None = None
        self.stop_requested = self.cancelled = self.overdue = self.abandoned = self.failed = False
        self.stalled_since: float | None = None
        self.cancelled_at: str | None = None
        self.leaving = False
        """Whether ``stop()`` is called without waiting for the service's turn: it is to be run again."""
        self._turn: anyio.Event | None = None  # set when the wait for the start, or for stop(), is over
        self._scope: anyio.CancelScope | None = None
        self._thread: DaemonThread[object] | None = None
        self._handle: anyio.TaskHandle[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether it is starting and not ready yet."""
        return self.ready_at is None and self.phase < Phase.STOPPING

    @property
    def is_watched(self) -> bool:
        """Whether its silence counts: it executes, has a heartbeat timeout, and does not wait in its token."""
        return (
            self.supervisor.registration.heartbeat_timeout is not None
            and self.phase is Phase.EXECUTING
            and self.ready_at is not None
            and not self.cancelled
            and not self.stop_requested
            and not self.token.waiting
        )

    @property
    def alive(self) -> bool:
        """Whether its task or its thread still exists."""
        task = self._handle is not None and getcoroutinestate(self._handle.coro) != CORO_CLOSED
        return task or (self._thread is not None and self._thread.is_alive())

    def drop_unbegun(self) -> None:
        """End a run whose task was cancelled before its first step, as asyncio does when its loop ends."""
        if self._handle is not None and getcoroutinestate(self._handle.coro) == CORO_CREATED:
            self._handle.coro.close()
            self.phase = Phase.ENDED
            self.supervisor.on_run_ended(self)

    def begin(self) -> None:
        """Start the run, in a task of its own."""
        self.open()
        self._handle = self.supervisor.group.spawn(self.run(), self.supervisor.name)
        if self.supervisor.registration.ready_at_once and self.ready_at is None:  # where tasks are eager, it has begun
            self.become_ready()

    def begin_after(self, delay: float) -> None:
        """Start the run after a while, in a task of its own."""
        self._turn = anyio.Event()
        self._handle = self.supervisor.group.spawn(self._run_after(delay, self._turn), self.supervisor.name)

    def skip_delay(self) -> None:
        """Start the run at once that was to start after a while."""
        assert self._turn is not None
        self._turn.set()

    def request_stop(self) -> None:
        """Set the token, and let ``stop()`` follow."""
        self.stop_requested = True
        self._record_ending()
        if self._turn is not None:
            self._turn.set()
        self.token.request_stop()

    def cancel(self, *, overdue: bool) -> bool:
        """Cancel whatever hook is awaited, once; return False where nothing was to be cancelled."""
        if self.cancelled or self.phase in (Phase.AWAITING_TURN, Phase.ENDED):
            return False
        if self.phase is Phase.STOPPING and self.supervisor.registration.service.extended_stop:
            return False
        self._record_cancellation()
        self.overdue = overdue
        registration = self.supervisor.registration
        in_execute = self.phase is Phase.EXECUTING or (self.phase is Phase.STARTING and not registration.starts)
        if not in_execute or not registration.stops:
            self.cancel_task()
        elif self._scope is not None:  # pragma: no branch  # it has begun before the next turn of the stop
            self._scope.cancel()
        return True

    def cancel_everything(self) -> bool:
        """Cancel the task whatever it does, as overdue; return whether that is its first cancellation."""
        first = not self.cancelled
        if first:
            self._record_cancellation()
        self.overdue = True
        self.cancel_task()
        return first

    def cancel_task(self) -> None:
        """Cancel the task, whatever it does, and for good."""
        assert self._handle is not None
        self._handle.cancel()
        if self._scope is not None:
            self._scope.cancel()

    def abandon(self) -> None:
        """Wait no longer for what cannot be ended."""
        self.abandoned = True
        if self._thread is not None:
            self._thread.abandon()

    def waiting_at(self, *, deep: bool = False) -> str | None:
        """Return the line of the service's own code where it is; *deep* looks into the tasks it has made as well."""
        if self.phase in (Phase.AWAITING_TURN, Phase.ENDED) or self._handle is None:
            return None
        if self._thread is not None and self.phase is Phase.EXECUTING:
            return stack.thread_line(self._thread.ident)
        coroutine = self._handle.coro
        return stack.task_lines(coroutine) if deep else stack.coroutine_line(coroutine)

    def open(self) -> None:
        """Begin; after a delay, only then."""
        supervisor = self.supervisor
        supervisor.state = ServiceState.STARTING
        supervisor.state_since = self.since = supervisor.group.time()
        if supervisor.lifetime.detailed:
            supervisor.lifetime.emit(events.ServiceStarting(self.since, supervisor.name))

    async def run(self) -> None:
        """Await ``start()``, ``execute()`` and ``stop()``."""
        supervisor = self.supervisor
        registration = supervisor.registration
        is_in_order = watch_scope() if registration.starts else None
        cancelled = False  # for good: a start that has swallowed its cancellation
        try:
            if registration.starts:
                await registration.service.start()
                cancelled = self.cancelled
            if cancelled:
                self.phase = Phase.AWAITING_TURN
            else:
                self.phase = Phase.EXECUTING
                if self.ready_at is None and not registration.takes_task_status:
                    self.become_ready()
                if registration.executes:
                    await (self._execute_in_scope() if registration.stops else self._execute())
                    if not self.cancelled and (self.ready_at is None or not supervisor.lifetime.stopping):
                        self._on_returned()
        except BaseException as error:  # noqa: BLE001  # where a service meets its supervisor
            self._on_error(error)
        # A service without a loop is up until its turn, also where it has nothing to do then.
        stops = registration.stops or not registration.executes
        thread_runs = self.abandoned and self._thread is not None
        if stops and self.phase is not Phase.STARTING and not thread_runs:
            await self._stop(cancelled=cancelled, is_in_order=is_in_order)
        self.phase = Phase.ENDED
        if not self.abandoned:
            supervisor.group.on_run_ended(supervisor.name)
        supervisor.on_run_ended(self)

    async def _run_after(self, delay: float, turn: anyio.Event) -> None:
        try:
            with anyio.move_on_after(delay):
                await turn.wait()
        except anyio.get_cancelled_exc_class():
            # By the stop, or natively, which is no way to end a service.
            self.supervisor.lifetime.begin_stop("the wait for a restart was cancelled")
        if not self.supervisor.lifetime.stopping:
            self.open()
            await self.run()

    async def _execute_in_scope(self) -> None:
        # Cancelling the task would cancel stop() too.
        with anyio.CancelScope() as self._scope:
            if self.cancelled:  # pragma: no cover  # it has begun before the next turn of the stop
                self._scope.cancel()
            await self._execute()

    def _execute(self) -> Coroutine[object, object, None]:
        supervisor = self.supervisor
        service, token = supervisor.registration.service, self.token
        if isinstance(token, StoppingSource):
            assert isinstance(service, BackgroundService)
            if supervisor.registration.takes_task_status:
                return service.execute(token, task_status=_Readiness(self))  # type: ignore[call-arg]
            return service.execute(token)
        assert isinstance(service, ThreadService)
        from hostkit._execution.daemon_thread import DaemonThread

        self._thread = DaemonThread(partial(service.execute, token), supervisor.name)
        return self._thread.run_to_end()

    async def _stop(self, *, cancelled: bool, is_in_order: Callable[[], bool] | None) -> None:
        self.phase = Phase.AWAITING_TURN
        while not (self.leaving or self.ready_at is None or self.stop_requested or self.cancelled):
            self.supervisor.on_execute_ended()
            self._turn = anyio.Event()
            try:
                # A scope that start() has left open may be cancelled: that must not end this wait, again and again.
                with anyio.CancelScope(shield=True):
                    await self._turn.wait()
            except BaseException as error:  # noqa: BLE001  # a native cancellation; the turn is still to come
                self._on_error(error)
        self.phase = Phase.STOPPING
        service, group = self.supervisor.registration.service, self.supervisor.group
        cancelled = cancelled or group.loop.cancelled  # which breaks the group a little later
        try:
            if group.cancelled or (cancelled and (is_in_order is None or is_in_order())):
                # Without a shield nothing could be awaited any more. Else there is none: a scope that start() has
                # opened could not be left within.
                with anyio.CancelScope(shield=True) as self._scope:
                    await service.stop()
            else:
                await service.stop()
        except BaseException as error:  # noqa: BLE001  # where a service meets its supervisor
            self._on_error(error)

    def become_ready(self) -> None:
        """Be ready, unless the start has been cancelled."""
        if self.cancelled and self.supervisor.registration.takes_task_status:
            return
        self.ready_at = self.active_at = self.supervisor.group.time()
        self.supervisor.on_run_ready(self)

    def _record_activity(self) -> None:
        """Record that the service is active, in any thread."""
        self.active_at = self.supervisor.group.time()
        if self.stalled_since is not None:
            self.supervisor.group.loop.call_soon(partial(self.supervisor.on_run_recovered, self))

    def _on_returned(self) -> None:
        if self.ready_at is None and not self.stop_requested:
            message = f"service {self.supervisor.name!r} returned before it called task_status.started()"
            self.fail(HostStateError(message))
        else:
            self.supervisor.on_run_returned(self)

    def _on_error(self, error: BaseException) -> None:
        supervisor = self.supervisor
        if not supervisor.group.loop.in_loop:
            # The loop was closed over this task, and the collector takes it; a cancel scope may have made an error of
            # that, which means nothing.
            raise GeneratorExit from None
        if self.abandoned:
            # The host has reported it already, and may have ended.
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                name = supervisor.name
                message = "service {} was abandoned and has failed since: {}"
                supervisor.lifetime.log("ERROR", message, name, error, service=name, error=error)
            return
        failure, exit_request = classify(error)
        if isinstance(exit_request, KeyboardInterrupt) and supervisor.lifetime.stopping:
            # An echo of the stop: Ctrl-C reaches the worker processes of a pool as well.
            supervisor.lifetime.log("INFO", "service {} raised {}, while the host stops", supervisor.name, exit_request)
        elif exit_request is not None:
            supervisor.lifetime.request_exit(exit_request, f"service {supervisor.name!r}")
        elif failure is None and not (self.cancelled or supervisor.group.cancelled or supervisor.group.loop.cancelled):
            failure = ServiceCancelledError(supervisor.name)
            failure.__cause__ = error
        if failure is not None:
            self.fail(failure)

    def fail(self, failure: Exception) -> None:
        """Record a failure of the run."""
        self.failed = True
        self._record_ending()
        self.supervisor.on_run_failed(self, failure)

    def _record_cancellation(self) -> None:
        self.cancelled_at = self.waiting_at()
        if self.cancelled_at is None and self.phase > Phase.STARTING:
            # A service of hostkit's: the lines are in the tasks of its jobs.
            self.cancelled_at = self.waiting_at(deep=True)
        self.cancelled = True
        self._record_ending()

    def _record_ending(self) -> None:
        if self.ending_since is None:
            self.ending_since = self.supervisor.group.time()


class _Readiness:
    """The ``task_status`` of a service."""

    def __init__(self, run: ServiceRun) -> None:
        self._run = run

    def started(self, value: object = None) -> None:  # noqa: ARG002  # anyio's signature
        """Make the service ready; *value* is ignored."""
        if self._run.ready_at is not None:
            message = "task_status.started() was called twice"
            raise HostStateError(message)
        self._run.become_ready()


def running_service(frame: FrameType | None) -> ServiceRun | None:
    """Return the run whose service is in this stack, or None: found by the coroutine of its task."""
    while frame is not None:
        if frame.f_code is ServiceRun.run.__code__:
            run = frame.f_locals["self"]
            assert isinstance(run, ServiceRun)
            return run
        frame = frame.f_back
    return None
