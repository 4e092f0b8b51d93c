"""One lifecycle of a host: start each step in order, wait for a reason to stop, stop each in reverse."""

from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from hostkit import events
from hostkit._config.event_log import LOOP_ENDED
from hostkit._config.logging import LEVELS
from hostkit._config.service_context import ServiceContext, ServiceContexts
from hostkit._core.heartbeat import watch_heartbeats
from hostkit._core.lifetime import LifetimeController
from hostkit._core.registration import Registration
from hostkit._core.service_group import ServiceGroup, Wakeup
from hostkit._core.shutdown import Shutdown
from hostkit._core.startup import start_services
from hostkit._core.supervisor import Supervisor
from hostkit._execution.event_loop import EventLoop
from hostkit._values.errors import HostStateError
from hostkit._values.exceptions import classify
from hostkit._values.states import HostState, ServiceState


class LoopWatch(Protocol):
    """What watches the event loop while a host runs in it."""

    blocked: bool
    """Whether the loop is blocked now."""

    async def run(self) -> None:
        """Watch until cancelled."""


class Lifecycle:
    """What exists from one start of a host to its end.

    Attributes:
        lifetime: The host's lifetime, which this lifecycle drives.
        loop: The event loop in which it runs.
        token: anyio's token of that loop.
        group: The tasks of the services.
        steps: The services, step by step in start order.
        supervisors: The same by name.
        began_at: When it began, on the loop's clock.
        shutdown: The stop, and its deadlines.
        settled: Set when every service is ready, or the lifecycle has ended before that.
        ended: Set when the host has ended; an abandoned service may still be there.
        started: Whether every service was ready once.
        finished: Whether it has ended, or is about to.
        on_run_change: Called when a service that has a start is ready, and when a run of any service has ended, with
            its name and state.
        on_fatal_end: Called at the very end, if a failure has stopped it after the start, or something was abandoned.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[Registration]],
        lifetime: LifetimeController,
        *,
        owns_process: bool,
        loop_watch: LoopWatch | None = None,
    ) -> None:
        """Begin, in the running event loop; `run` is to be run in a root task. The services get copies of the context.

        Args:
            steps: The services, as they were registered.
            lifetime: The host's lifetime, which enters `STARTING` now.
            owns_process: Whether nothing but this host keeps the process busy.
            loop_watch: Watches the event loop, where that is wanted.
        """
        self.lifetime = lifetime
        self.loop = loop = EventLoop()
        self.token = anyio.lowlevel.current_token()
        options = lifetime.options
        describe = partial(
            ServiceContext,
            log_level=LEVELS[options.log_level],
            emit=lifetime.emit_for_service,
            has_listeners=lifetime.has_listeners,
            request_exit=self._request_exit,
            cancellation_timeout=options.cancellation_timeout,
        )
        self.group = ServiceGroup(loop, ServiceContexts(copy_context(), describe), self._on_group_broken)
        self._wakeup = Wakeup(loop.time, self._on_loop_end)
        self.steps = [[Supervisor(each, self) for each in step] for step in steps]
        self.supervisors = {each.name: each for step in self.steps for each in step}
        self.shutdown = Shutdown(self.steps, lifetime, self._wakeup)
        self.settled = anyio.Event()
        self.ended = anyio.Event()
        self.started = self.finished = False
        self.on_run_change: Callable[[str, ServiceState], None] | None = None
        self.on_fatal_end: Callable[[], None] | None = None
        self._ended_by_itself = False
        self._executing: set[Supervisor] = set()  # those with a loop that has something to do, or will be run again
        self._changed: anyio.Event | None = None  # set when the state of a service has changed, for `restart`
        self._loop_watch = loop_watch
        self._beside: list[Coroutine[object, object, None]] = []  # what runs beside the services
        self.began_at = loop.time()
        lifetime.begin(self.group, self._wakeup, self.shutdown.begin, owns_process=owns_process)

    async def run(self) -> None:
        """Run from the start to the end; it keeps every failure and never raises."""
        try:
            async with anyio.create_task_group() as outer:
                self._run_beside(outer)
                # Trio cancels what is left when its main task ends, and that shall be an ordered stop.
                with anyio.CancelScope(shield=True):
                    async with anyio.create_task_group() as tasks:
                        self.group.tasks = tasks
                        watch = self._watch_for_cancellation(self.group.report_broken_group)
                        guard = tasks.create_task(watch, name="hostkit: group")
                        self._beside.append(guard.coro)
                        # When the group breaks, that shall be an ordered stop as well.
                        with anyio.CancelScope(shield=True):
                            await self._run_services()
                        self.finished = True
                        guard.cancel()
                outer.cancel_scope.cancel()
        except BaseException as error:  # noqa: BLE001  # a root task that raises would take the loop with it
            self._on_group_error(error)
        self._finish()

    def on_loop_closed(self) -> None:
        """End a lifecycle whose event loop has ended before it could begin."""
        self._on_loop_end()
        self._finish()

    async def restart(self, supervisor: Supervisor) -> None:
        """End the current run of a service, if it has one, and start the next; see `Host.restart`."""
        if supervisor.registration.executes and not supervisor.registration.auxiliary:
            self._executing.add(supervisor)
        ending = None
        if supervisor.ended:
            supervisor.begin()
        elif supervisor.state is ServiceState.RESTARTING:
            supervisor.run.skip_delay()
        else:
            ending = supervisor.run
            self.shutdown.limit_restart(supervisor)
            supervisor.request_restart()
        while not self.lifetime.stopping:
            if supervisor.run is not ending and supervisor.run.ready_at is not None:
                return
            if supervisor.ended:
                message = f"service {supervisor.name!r} has ended before it was ready"
                raise HostStateError(message)
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
        message = "the host has begun to stop meanwhile"
        raise HostStateError(message)

    @property
    def ready(self) -> bool:
        """Whether every service is ready and no stop was requested, or nothing is left to do."""
        return self.started and (self.lifetime.stop_reason is None or self._ended_by_itself)

    @property
    def healthy(self) -> bool:
        """Whether nothing has failed, is stalled or is being restarted, and the loop turns, if that is watched."""
        return (
            not self.lifetime.failures
            and not (self._loop_watch is not None and self._loop_watch.blocked)
            and not any(each.stalled or (each.pending and each.was_ready) for each in self.supervisors.values())
        )

    # For the supervisors.

    def time_left(self, supervisor: Supervisor) -> float:
        """Return the seconds until a service that was asked to stop is cancelled."""
        return self.shutdown.time_left(supervisor)

    def on_changed(self, supervisor: Supervisor) -> None:
        """Go on with the start or the stop: the service is ready, is to be run again, or has ended for good."""
        if self.on_run_change is not None:
            self.on_run_change(supervisor.name, supervisor.state)
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if supervisor.state is ServiceState.RESTARTING:
            self.shutdown.forget(supervisor)
        was_settled = supervisor.ended and supervisor.was_ready  # its end may break the group, which is noticed first
        if not (self.started or self.lifetime.stopping or was_settled):
            self._wakeup.event.set()
        if supervisor.ended:
            self.on_execute_ended(supervisor)
            self.shutdown.on_ended(supervisor)

    def on_execute_ended(self, supervisor: Supervisor) -> None:
        """Look whether anything is left to do, as the loop of a service has ended for good."""
        if supervisor in self._executing:
            self._executing.discard(supervisor)
            if not self._executing and self.started and not self.lifetime.stopping:
                self._check_idle()

    # Inside.

    def _run_beside(self, outer: TaskGroup) -> None:
        beside = [("end of the loop", self._watch_for_cancellation(self._on_loop_end))]
        found = ((each, each.registration.heartbeat_timeout) for each in self.supervisors.values())
        timeouts = {supervisor: timeout for supervisor, timeout in found if timeout is not None}
        if timeouts:
            beside.append(("heartbeats", watch_heartbeats(timeouts, self.lifetime, self.shutdown)))
        if self._loop_watch is not None:
            beside.append(("watchdog", self._loop_watch.run()))
        for name, coroutine in beside:
            outer.create_task(coroutine, name=f"hostkit: {name}")
            self._beside.append(coroutine)

    async def _run_services(self) -> None:
        await self._start()
        while not self.lifetime.stopping:
            due = self.lifetime.stop_due
            await self._wakeup.wait(min([due, *self.shutdown.own_deadlines.values()]))
            if self.loop.time() >= due:
                self.lifetime.begin_stop("its delay is over", due)
            if self.shutdown.own_deadlines:
                await self.shutdown.enforce_own_deadlines()
        if self._changed is not None:
            self._changed.set()
        await self.shutdown.run()
        if self.lifetime.failures.abandoned:
            # The group goes on waiting for what was abandoned; nothing else does.
            self._finish()

    async def _start(self) -> None:
        lifetime, time = self.lifetime, self.loop.time
        loops = (supervisor for supervisor in self.supervisors.values() if supervisor.registration.executes)
        self._executing = {supervisor for supervisor in loops if not supervisor.registration.auxiliary}
        count = len(self.supervisors)
        lifetime.emit(events.HostStarting(time(), lifetime.options.application_name, count))
        lifetime.pass_on()  # what was asked for before the start
        await start_services(self.steps, lifetime, self._wakeup)
        if lifetime.stopping:
            return
        self.started = True
        lifetime.enter(HostState.STARTED)
        now = time()
        lifetime.emit(events.HostStarted(now, count, now - self.began_at))
        self.settled.set()
        if not self._executing:
            self._check_idle()

    def _check_idle(self) -> None:
        """Stop a host that has nothing left to do."""
        if self.lifetime.stop_reason is not None or self.group.report_broken_group():
            return
        if self.loop.cancelled:
            # asyncio cancels all tasks when its loop ends, in any order: a service may notice before the watch.
            self._on_loop_end()
            return
        registrations = (supervisor.registration for supervisor in self.supervisors.values())
        loops = [registration.executes for registration in registrations if not registration.auxiliary]
        if all(loops):
            if not loops:
                self.lifetime.log("WARNING", "the host has no services, and ends")
            self._ended_by_itself = True
            self.lifetime.begin_stop("nothing left to do: every service has ended" if loops else "no services")
        elif self.lifetime.owns_process or any(loops):
            message = "no service has anything left to do; the host waits to be stopped"
            self.lifetime.log("WARNING", message)

    async def _watch_for_cancellation(self, on_cancelled: Callable[[], object]) -> None:
        """Notice, unshielded, that this task is cancelled before the services have ended."""
        try:
            await anyio.Event().wait()
        finally:
            if not self.finished:
                on_cancelled()

    def _on_group_error(self, error: BaseException) -> None:
        """Keep what comes out of the services' group in the end: why it has broken."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        failure, _ = classify(error)
        if failure is None:
            return  # the end of the loop
        if self.ended.is_set():
            self.lifetime.log("ERROR", "an abandoned service has failed since: {}", failure, error=failure)
            return
        self.group.report_broken_group()
        self.lifetime.fail(failure)

    def _request_exit(self, error: BaseException, source: str) -> None:
        """Take an exit out of what a service runs, in any thread."""
        self.loop.call_soon(partial(self.lifetime.request_exit, error, source))

    def _on_group_broken(self, error: Exception) -> None:
        self.lifetime.fail(error)
        # asyncio: a task that was cancelled natively before its first step breaks the group, and never begins.
        self.loop.call_soon(self._drop_unbegun)

    def _on_loop_end(self) -> None:
        if not self.lifetime.stopping:
            self.lifetime.log("WARNING", "the event loop ends while the host runs; stop the host before")
        self.lifetime.begin_stop(LOOP_ENDED)
        # All tasks were cancelled in this turn of the loop: one that has not begun in the next never will.
        self.loop.call_soon(self._drop_unbegun)

    def _drop_unbegun(self) -> None:
        if not self.loop.cancels_natively:
            return
        for supervisor in self.supervisors.values():
            if supervisor.state is not ServiceState.CREATED:
                supervisor.run.drop_unbegun()
        for coroutine in self._beside:
            if getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()

    def _finish(self) -> None:
        if self.ended.is_set():
            return
        lifetime = self.lifetime
        self.finished = True
        lifetime.enter(HostState.STOPPED)
        now = lifetime.state_since
        duration = now - self.shutdown.stop_at
        lifetime.emit(events.HostStopped(now, lifetime.stop_reason or "", lifetime.exit_code, duration))
        self.settled.set()
        self.ended.set()
        if self.on_fatal_end is not None and (lifetime.crashed or lifetime.failures.abandoned):
            self.on_fatal_end()
