"""One run of a service: start, execute and stop, one after the other in one task."""

from collections.abc import Coroutine
from enum import IntEnum
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING

import anyio

from hostkit import events
from hostkit._core.failures import sort_out
from hostkit._core.service import BackgroundService, ThreadService
from hostkit._execution import stack as _where
from hostkit._tokens.stopping_token import StoppingToken
from hostkit._tokens.thread_stopping_token import ThreadStoppingToken
from hostkit._values.errors import HostStateError, ServiceCancelledError
from hostkit._values.states import ServiceState

if TYPE_CHECKING:
    from hostkit._core.service_thread import ServiceThread
    from hostkit._core.supervisor import Supervisor


class Phase(IntEnum):
    """Which hook of a run is awaited."""

    STARTING = 1
    EXECUTING = 2
    AWAITING_TURN = 3
    STOPPING = 4
    ENDED = 5


class Run:
    """One run of a service.

    The hooks are awaited in one task, because what ``start()`` opens ``stop()`` must be able to close: a cancel scope
    or a task group belongs to a task. A restart is a new run, in a new task.
    """

    __slots__ = (
        "_handle",
        "_scope",
        "_supervisor",
        "_thread",
        "_turn",
        "abandoned",
        "active_at",
        "cancelled",
        "cancelled_at",
        "ending_since",
        "failed",
        "leaving",
        "overdue",
        "phase",
        "ready_at",
        "since",
        "stalled_since",
        "token",
        "told",
    )

    token: StoppingToken | ThreadStoppingToken
    since: float
    active_at: float

    def __init__(self, supervisor: "Supervisor") -> None:
        """Prepare; `begin` starts it."""
        self._supervisor = supervisor
        self.phase = Phase.STARTING
        self.ready_at: float | None = None
        self.ending_since: float | None = None
        self.told = self.cancelled = self.overdue = self.abandoned = self.failed = False
        self.stalled_since: float | None = None
        self.cancelled_at: str | None = None
        self.leaving = False
        """Whether ``stop()`` is called without waiting for the service's turn: it is to be run again."""
        self._turn: anyio.Event | None = None
        self._scope: anyio.CancelScope | None = None
        self._thread: ServiceThread | None = None
        self._handle: anyio.TaskHandle[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether it is starting and not ready yet."""
        return self.ready_at is None and self.phase < Phase.STOPPING

    @property
    def idle(self) -> bool:
        """Whether it waits in its token."""
        return self.token._waits > 0

    @property
    def alive(self) -> bool:
        """Whether its task or its thread still exists."""
        task = self._handle is not None and self._handle.status in (
            anyio.TaskHandle.Status.PENDING,
            anyio.TaskHandle.Status.CANCELLING,
        )
        return task or (self._thread is not None and self._thread.alive)

    @property
    def unbegun(self) -> bool:
        """Whether its task has not had its first step yet."""
        return self._handle is not None and getcoroutinestate(self._handle.coro) == CORO_CREATED

    def drop(self) -> None:
        """Give up a task that has not begun, and never will."""
        assert self._handle is not None
        self._handle.coro.close()
        self._handle = None
        self.phase = Phase.ENDED

    def begin(self) -> None:
        """Start the run, in a task of its own."""
        self.open()
        supervisor = self._supervisor
        self._handle = supervisor.life.group.spawn(self.live(), supervisor.name)

    def begin_after(self, delay: float) -> None:
        """Start the run after a while, in a task of its own."""
        supervisor = self._supervisor
        self._handle = supervisor.life.group.spawn(self._live_after(delay), supervisor.name)

    def tell(self) -> None:
        """Set the token, and let ``stop()`` follow."""
        self.told = True
        self._note_ending()
        if self._turn is not None:
            self._turn.set()
        self.token._set()

    def cancel(self, *, overdue: bool) -> bool:
        """Cancel whatever hook is awaited, once; return False where nothing was to be cancelled."""
        if self.cancelled or self.phase in (Phase.AWAITING_TURN, Phase.ENDED):
            return False
        self._note_cancelled()
        self.overdue = overdue
        registration = self._supervisor.registration
        in_execute = self.phase is Phase.EXECUTING or (self.phase is Phase.STARTING and not registration.starts)
        if not in_execute or not registration.stops:
            self.cancel_task()
        elif self._scope is not None:  # pragma: no branch  # it has begun before the ladder's next turn
            self._scope.cancel()
        return True

    def cancel_everything(self) -> bool:
        """Cancel the task whatever it does, as overdue; return whether that is its first cancellation."""
        first = not self.cancelled
        if first:
            self._note_cancelled()
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
            return _where.thread_line(self._thread.ident)
        coroutine = self._handle.coro
        return _where.task_lines(coroutine) if deep else _where.coroutine_line(coroutine)

    def open(self) -> None:
        """Make the token, and be ready at once where nothing has to be awaited for that."""
        supervisor = self._supervisor
        registration = supervisor.registration
        pulse = None if registration.heartbeat_timeout is None else self._beat
        self.since = supervisor.enter(ServiceState.STARTING)
        if registration.kind == "thread":
            self.token = ThreadStoppingToken(supervisor.note_ignored_stop, pulse)
        else:
            self.token = StoppingToken(supervisor, pulse)
        if supervisor.life.detailed:
            supervisor.life.tell(events.ServiceStarting(self.since, supervisor.name))
        if registration.ready_at_once:
            self._become_ready()

    async def live(self) -> None:
        """Live from ``start()`` to the end of ``stop()``."""
        supervisor = self._supervisor
        registration = supervisor.registration
        try:
            if registration.starts:
                await registration.service.start()
            if self.cancelled and registration.starts:
                self.phase = Phase.AWAITING_TURN  # a start that has swallowed its cancellation
            else:
                self.phase = Phase.EXECUTING
                if self.ready_at is None and not registration.takes_task_status:
                    self._become_ready()
                if registration.executes:
                    if registration.stops:
                        # Cancelling the task would cancel stop() too.
                        with anyio.CancelScope() as self._scope:
                            if self.cancelled:  # pragma: no cover  # it has begun before the ladder's next turn
                                self._scope.cancel()
                            await self._execute()
                    else:
                        await self._execute()
                    if not self.cancelled:
                        self._note_return()
        except BaseException as error:  # noqa: BLE001  # where a service meets its supervisor
            self._note(error)
        # A service without a loop is up until its turn, also where it has nothing to do then.
        if (registration.stops or not registration.executes) and self.phase is not Phase.STARTING:
            await self._stop()
        self.phase = Phase.ENDED
        supervisor.on_run_ended(self)

    async def _live_after(self, delay: float) -> None:
        try:
            await anyio.sleep(delay)
        except anyio.get_cancelled_exc_class():
            # By the stop, or by somebody else, who has no say in that.
            self._supervisor.life.begin_stop("the wait for a restart was cancelled")
        if not self._supervisor.life.stopping:
            self.open()
            await self.live()

    def _execute(self) -> Coroutine[object, object, None]:
        supervisor = self._supervisor
        service, token = supervisor.registration.service, self.token
        if isinstance(token, StoppingToken):
            assert isinstance(service, BackgroundService)
            if supervisor.registration.takes_task_status:
                return service.execute(token, task_status=_Readiness(self))  # type: ignore[call-arg]
            return service.execute(token)
        assert isinstance(service, ThreadService)
        execute = service.execute
        from hostkit._core.service_thread import ServiceThread

        self._thread = ServiceThread(lambda: execute(token), supervisor.name, supervisor.life.root)
        return self._thread.run()

    async def _stop(self) -> None:
        self.phase = Phase.AWAITING_TURN
        while not (self.leaving or self.ready_at is None or self.told or self.cancelled):
            self._supervisor.rest()
            self._turn = anyio.Event()
            try:
                # A scope that start() has left open may be cancelled: that must not end this wait, again and again.
                with anyio.CancelScope(shield=True):
                    await self._turn.wait()
            except BaseException as error:  # noqa: BLE001  # a native cancellation; the turn is still to come
                self._note(error)
        self.phase = Phase.STOPPING
        stop = self._supervisor.registration.service.stop
        try:
            if self._supervisor.life.group.cancelled:
                # Without a shield nothing could be awaited any more. Else there is none: a scope that start() has
                # opened could not be left within.
                with anyio.CancelScope(shield=True) as self._scope:
                    await stop()
            else:
                await stop()
        except BaseException as error:  # noqa: BLE001  # where a service meets its supervisor
            self._note(error)

    def _become_ready(self) -> None:
        if self.cancelled and self._supervisor.registration.takes_task_status:
            return  # too late: that start was cut
        self.ready_at = self.active_at = self._supervisor.life.root.time()
        self._supervisor.on_run_ready(self)

    def _beat(self) -> None:
        """Take a sign of life, from any thread."""
        self.active_at = self._supervisor.life.root.time()
        if self.stalled_since is not None:
            self._supervisor.life.root.post(self._supervisor.recover)

    def _note_return(self) -> None:
        if self.ready_at is None:
            message = f"service {self._supervisor.name!r} returned before it called task_status.started()"
            self._fail(HostStateError(message))
        elif not self._supervisor.life.stopping:
            self._supervisor.on_run_returned(self)

    def _note(self, error: BaseException) -> None:
        supervisor = self._supervisor
        if not supervisor.life.root.in_loop:
            # The loop was closed over this task, and the collector takes it; a cancel scope may have made an error of
            # that, which is nobody's.
            raise GeneratorExit from None
        if self.abandoned:
            supervisor.note_late_error(error)
            return
        failure, exit_request = sort_out(error)
        if exit_request is not None:
            supervisor.life.ask_exit(exit_request, f"service {supervisor.name!r}")
        elif failure is None and not self.cancelled and not supervisor.life.cancelled_from_outside:
            failure = ServiceCancelledError(supervisor.name)
            failure.__cause__ = error
        if failure is not None:
            self._fail(failure)

    def _fail(self, failure: Exception) -> None:
        self.failed = True
        self._note_ending()
        self._supervisor.on_run_failed(self, failure)

    def _note_cancelled(self) -> None:
        self.cancelled_at = self.waiting_at()
        if self.cancelled_at is None and self.phase > Phase.STARTING:
            # A service of hostkit's: the lines are in the tasks of its jobs.
            self.cancelled_at = self.waiting_at(deep=True)
        self.cancelled = True
        self._note_ending()

    def _note_ending(self) -> None:
        if self.ending_since is None:
            self.ending_since = self._supervisor.life.root.time()


class _Readiness:
    """The ``task_status`` of a service."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def started(self, value: object = None) -> None:  # noqa: ARG002  # anyio's signature
        """Make the service ready; *value* is ignored."""
        if self._run.ready_at is not None:
            message = "task_status.started() was called twice"
            raise HostStateError(message)
        self._run._become_ready()
