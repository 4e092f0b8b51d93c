"""One service in one lifecycle of its host: run after run, and what the end of each means."""

import os
from functools import partial
from typing import Protocol

from hostkit import events
from hostkit._core.lifetime import LifetimeController
from hostkit._core.registration import Registration
from hostkit._core.service_group import ServiceGroup
from hostkit._core.service_run import ServiceRun
from hostkit._values.durations import to_seconds
from hostkit._values.errors import RestartLimitError, ServiceStuckError, StopTimeoutError
from hostkit._values.restart import EndAction, Restart
from hostkit._values.states import ServiceState
from hostkit._values.text import add_note

_BROKEN_POOL = (
    "the host stops: a signal to the whole process group ends the worker processes too; have them ignore it, "
    "by initializer=signal.signal, initargs=(signal.SIGTERM, signal.SIG_IGN)"
)


class SupervisorOwner(Protocol):
    """The lifecycle that a service is part of, which alone hears of its changes."""

    lifetime: LifetimeController
    group: ServiceGroup

    def time_left(self, supervisor: "Supervisor") -> float:
        """Return the seconds until a service that was asked to stop is cancelled."""
        ...

    def on_changed(self, supervisor: "Supervisor") -> None:
        """Go on with the start or the stop: the service is ready, is to be run again, or has ended for good."""

    def on_execute_ended(self, supervisor: "Supervisor") -> None:
        """Look whether anything is left to do: a loop has ended for good; the ``stop()`` may be still to come."""


class Supervisor:
    """Runs one service, and decides by its policies what follows when a run ends."""

    run: ServiceRun
    """The current or last run; there is one from `begin` on."""

    def __init__(self, registration: Registration, owner: SupervisorOwner) -> None:
        """Prepare; `begin` starts the first run."""
        self.registration = registration
        self.name = registration.name
        self.step = registration.step
        self.lifetime = owner.lifetime
        self.group = owner.group
        self.state = ServiceState.CREATED
        self.state_since: float | None = None
        self.ended = True
        """Whether it is not to be waited for: it never began, has ended for good, or was abandoned."""
        self.was_ready = False
        self.restarts = 0
        self.failures_in_a_row = self._returns_in_a_row = 0  # since it was last ready for as long as its policy wants
        self.restart_at: float | None = None
        """When the next run begins, or the current one was to begin, if it is not the first."""
        self.last_failure: Exception | None = None
        self.last_failure_at: float | None = None
        self._owner = owner
        self._restart_requested = False
        self._restart: Restart | None = None  # what follows the current run

    @property
    def starting(self) -> bool:
        """Whether it has begun, and was not ready yet."""
        return not (self.was_ready or self.ended)

    @property
    def pending(self) -> bool:
        """Whether it waits for its first or next run, or such a run is not ready yet."""
        return not self.ended and self.run.pending

    @property
    def stalled(self) -> bool:
        """Whether its current run is silent for longer than its ``heartbeat_timeout``."""
        return not self.ended and self.run.stalled_since is not None

    def short_line(self) -> str:
        """Return where it is, in short: `` (at app.py:31)``; empty if that is not known."""
        line = self.run.waiting_at() or self.run.waiting_at(deep=True)
        place = "" if line is None else line.partition("; ")[0].partition(" in ")[0]
        return f" (at {os.path.basename(place)})" if place else ""  # noqa: PTH119  # pathlib is slow to import

    # What the lifecycle, its start and its stop ask for.

    def begin(self) -> None:
        """Start the first run."""
        self.run = ServiceRun(self)
        self.ended = False  # after it, for threads that look
        self.run.begin()

    def request_stop(self) -> None:
        """Ask the service to stop, as its turn has come; a start that was cancelled has no turn."""
        if self.ended or self.run.stop_requested or (self.run.cancelled and self.run.pending):
            return
        now = self.enter(ServiceState.STOPPING)
        if self.lifetime.detailed:
            self.lifetime.emit(events.ServiceStopping(now, self.name))
        self.run.request_stop()

    def request_restart(self) -> None:
        """End the current run, whatever the policies say, and let the next one follow at once."""
        self._restart_requested = True
        self.request_stop()

    def cancel_start(self) -> None:
        """Cancel a start that is pending when the stop begins, or the wait for the next run."""
        if self.state is ServiceState.RESTARTING:
            self.run.cancel_task()
            self._end(ServiceState.STOPPED)
        elif self.run.pending:
            self.cancel("its start was pending", overdue=False)
            self.run.token.request_stop()

    def cancel(self, reason: str, *, overdue: bool = True) -> bool:
        """Cancel the current run, once; *overdue* makes that a failure.

        A run that waits for its turn is left alone, and so is an extended ``stop()``; then it returns False.
        """
        if self.ended or not self.run.cancel(overdue=overdue):
            return False
        self._emit_cancelled(reason)
        return True

    def cancel_everything(self) -> None:
        """Cancel the task whatever it does, a running ``stop()`` too; the last step before `abandon`."""
        if self.run.cancel_everything():
            self._emit_cancelled("no time is left")

    def abandon(self) -> None:
        """Give the current run up: it has ignored its cancellation."""
        line = self.run.waiting_at(deep=True)
        self.run.abandon()
        self.lifetime.emit(events.ServiceAbandoned(self.group.time(), self.name, line))
        error = ServiceStuckError(self.name, line)
        self.last_failure, self.last_failure_at = error, self.group.time()
        self.lifetime.fail(error, self.name)
        self._end(ServiceState.ABANDONED)

    def stall(self, silence: float) -> None:
        """Report that the current run is silent; where the policy says so, cancel it as a failure."""
        run = self.run
        run.stalled_since = run.active_at
        self.lifetime.emit(events.ServiceStalled(self.group.time(), self.name, silence, run.waiting_at()))
        policy = self.registration.on_failure
        if isinstance(policy, Restart) and policy.on_stall:
            self.cancel("it is stalled", overdue=False)
            line = f", at {run.cancelled_at}" if run.cancelled_at else ""
            run.fail(TimeoutError(f"silent for {silence:g} s{line}"))

    # What the current run reports.

    def enter(self, state: ServiceState) -> float:
        """Enter *state*, and return since when."""
        self.state = state
        self.state_since = now = self.group.time()
        return now

    def on_run_ready(self, run: ServiceRun) -> None:
        """Go on, as the run is ready."""
        assert run.ready_at is not None
        again, self.was_ready = self.was_ready, True
        self.state, self.state_since = ServiceState.STARTED, run.ready_at
        if self.lifetime.detailed:
            self.lifetime.emit(events.ServiceStarted(run.ready_at, self.name, run.ready_at - run.since))
        if again or not self.registration.ready_at_once:
            self._owner.on_changed(self)

    def on_run_recovered(self, run: ServiceRun) -> None:
        """Report that a stalled run moves again."""
        if run is self.run and run.stalled_since is not None and not run.cancelled:
            silence = run.active_at - run.stalled_since
            run.stalled_since = None
            self.lifetime.emit(events.ServiceRecovered(self.group.time(), self.name, silence))

    def on_run_returned(self, run: ServiceRun) -> None:
        """Decide what the end of ``execute`` means."""
        if self._restart_requested:
            return
        policy = self.registration.on_return
        if isinstance(policy, Restart):
            self._restart = policy
            run.leaving = True
        elif policy is EndAction.STOP_HOST:
            self.lifetime.begin_stop(f"service {self.name!r} has returned")

    def on_run_failed(self, run: ServiceRun, failure: Exception) -> None:
        """Decide what a failure means; one that stops the host does so at once."""
        self.last_failure, self.last_failure_at = failure, self.group.time()
        if self.lifetime.stopping and type(failure).__name__ == "BrokenProcessPool":
            # Not imported for this: a service that has a pool has imported it.
            add_note(failure, _BROKEN_POOL)
        if not run.stop_requested:
            self.enter(ServiceState.FAILED)
        if not self.was_ready and isinstance(self.registration.on_failure, Restart):
            # Where it stands in the log, and with the error.
            note = f"service {self.name!r} was not ready yet: its Restart holds from then on; connect in execute()"
            add_note(failure, note)
        policy = self.registration.on_failure if self.was_ready and not self.lifetime.stopping else EndAction.STOP_HOST
        retried = isinstance(policy, Restart)
        self.lifetime.emit(events.ServiceFailed(self.group.time(), self.name, failure, retried))
        if isinstance(policy, Restart):
            self._restart = policy
            run.leaving = True
        elif policy is EndAction.STOP_HOST:
            self.lifetime.fail(failure, self.name)

    def on_execute_ended(self) -> None:
        """Report that its loop has ended for good."""
        self._owner.on_execute_ended(self)

    def on_run_ended(self, run: ServiceRun) -> None:
        """Start the next run, or end for good."""
        if self.ended:
            return  # it was abandoned, or waited to begin when the stop came
        now = self.group.time()
        since = now if run.ending_since is None else run.ending_since
        if self.lifetime.detailed:
            self.lifetime.emit(events.ServiceStopped(now, self.name, now - since))
        self._start_counts_afresh(-1.0 if run.ready_at is None else since - run.ready_at)
        policy, self._restart = self._restart, None
        if self._restart_requested and not self.lifetime.stopping:
            self._begin_after(0.0)
        elif policy is not None and not self.lifetime.stopping:
            self._begin_again(policy, run)
        else:
            if run.overdue:
                self.lifetime.fail(StopTimeoutError(self.name, run.cancelled_at), self.name)
            self._end(ServiceState.FAILED if run.failed else ServiceState.STOPPED)

    # What its token reports.

    def time_left(self) -> float:
        """Return the seconds until the current run is cancelled, now that it was asked to stop."""
        return 0.0 if self.run.cancelled else self._owner.time_left(self)

    def log_ignored_stop(self) -> None:
        """Log that the service goes on sleeping after the stop."""
        message = "service {} goes on although it was asked to stop: sleep() has returned True, leave the loop then"
        self.lifetime.log("WARNING", message, self.name, service=self.name)

    def on_callback_error(self, error: BaseException) -> None:
        """Log the error of an ``on_stop`` callback; in the thread that registered it, when the stop had come before."""
        message = "on_stop callback of service {} failed: {}"
        self.lifetime.log("ERROR", message, self.name, error, service=self.name, error=error)
        take = partial(self.lifetime.on_hook_error, error, f"an on_stop callback of service {self.name!r}")
        if self.group.loop.in_loop:
            take()
        else:
            self.group.loop.call_soon(take)

    def _emit_cancelled(self, reason: str) -> None:
        self.lifetime.emit(events.ServiceCancelled(self.group.time(), self.name, reason, self.run.cancelled_at))

    def _start_counts_afresh(self, up_time: float) -> None:
        """Forget the ends before a run that was ready for long enough, whatever has ended it."""
        on_failure, on_return = self.registration.on_failure, self.registration.on_return
        if isinstance(on_failure, Restart) and up_time >= on_failure.reset_after:
            self.failures_in_a_row = 0
        if isinstance(on_return, Restart) and up_time >= on_return.reset_after:
            self._returns_in_a_row = 0

    def _begin_again(self, policy: Restart, run: ServiceRun) -> None:
        if run.failed:
            count = self.failures_in_a_row = self.failures_in_a_row + 1
        else:
            count = self._returns_in_a_row = self._returns_in_a_row + 1
        if policy.limit is not None and count > policy.limit:
            error = RestartLimitError(self.name, count)
            error.__cause__ = self.last_failure if run.failed else None
            self._give_up(error, policy.then)
            return
        try:
            delay = to_seconds(policy.backoff.delay(count), "the delay of a Backoff")
        except Exception as error:  # noqa: BLE001  # of the user's own kind
            self._give_up(error, EndAction.STOP_HOST)
        else:
            self._begin_after(delay, count, policy.limit)

    def _begin_after(self, delay: float, count: int = 0, limit: int | None = None) -> None:
        self.restarts += 1
        self._restart_requested = False
        now = self.enter(ServiceState.RESTARTING)
        self.restart_at = now + delay
        self.lifetime.emit(events.ServiceRestarting(now, self.name, delay, self.restarts, count, limit))
        self._owner.on_changed(self)
        self.run.token.request_stop()  # what the run has left behind may wait for that
        self.run = ServiceRun(self)
        self.run.begin_after(delay)

    def _give_up(self, error: Exception, then: EndAction) -> None:
        self.last_failure, self.last_failure_at = error, self.group.time()
        self.lifetime.emit(events.ServiceFailed(self.group.time(), self.name, error, retried=False))
        if then is EndAction.STOP_HOST:
            self.lifetime.fail(error, self.name)
        self._end(ServiceState.FAILED)

    def _end(self, state: ServiceState) -> None:
        self.ended = True
        self.enter(state)
        self._owner.on_changed(self)
