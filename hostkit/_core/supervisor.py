"""One service's life in one life of its host: run after run, and what its ends mean."""

import anyio

from hostkit import events
from hostkit._config.surroundings import Surroundings
from hostkit._core.registration import Registration
from hostkit._core.service_run import Run
from hostkit._values.errors import RestartLimitError, ServiceStuckError, StopTimeoutError
from hostkit._values.restart import EndAction, Restart
from hostkit._values.states import ServiceState


class Supervisor:
    """Runs one service, and decides by its policies what follows when a run ends."""

    __slots__ = (
        "_counts",
        "_restart",
        "ended",
        "executing",
        "last_failure",
        "life",
        "name",
        "registration",
        "restarts",
        "run",
        "state",
        "state_since",
        "step",
        "was_ready",
    )

    def __init__(self, registration: Registration, life: Surroundings, step: int) -> None:
        """Prepare; `begin` starts the first run."""
        self.registration = registration
        self.name = registration.name
        self.life = life
        self.step = step
        self.state = ServiceState.CREATED
        self.state_since: float | None = None
        self.run: Run | None = None
        self.ended = True
        """Whether nothing of it is to be waited for: it never began, has ended for good, or was abandoned."""
        self.executing = registration.executes
        """Whether it has a loop that still has something to do, or will be run again."""
        self.was_ready = False
        self.restarts = 0
        self.last_failure: Exception | None = None
        self._restart: Restart | None = None  # what follows the current run
        self._counts: dict[bool, int] | None = None  # ends in a row, failures and returns

    @property
    def pending(self) -> bool:
        """Whether it waits for its first or next run, or such a run is not ready yet."""
        return not self.ended and self.run is not None and self.run.pending

    @property
    def cancelled(self) -> bool:
        """Whether its current run was cancelled."""
        return self.run is not None and self.run.cancelled

    @property
    def stalled(self) -> bool:
        """Whether its current run gives no sign of life."""
        return not self.ended and self.run is not None and self.run.stalled_since is not None

    @property
    def alive(self) -> bool:
        """Whether a task or thread of it still exists."""
        return self.run is not None and self.run.alive

    def waiting_at(self) -> str | None:
        """Return the line of the service's own code where it is."""
        return None if self.run is None else self.run.waiting_at()

    # What the life asks for.

    def begin(self) -> None:
        """Start the first run."""
        self.ended = False
        self.run = Run(self)
        self.run.begin()

    def tell(self) -> None:
        """Tell the service that its turn to stop has come; a start that was cut has no turn."""
        run = self.run
        if self.ended or run is None or run.told or (run.cancelled and run.pending):
            return
        now = self.enter(ServiceState.STOPPING)
        if self.life.detailed:
            self.life.tell(events.ServiceStopping(now, self.name))
        run.tell()

    def cut(self) -> None:
        """Cancel a start that is pending when the stop begins, or the wait for the next run."""
        run = self.run
        assert run is not None
        if self.state is ServiceState.RESTARTING:
            run.cancel_task()
            self._end(ServiceState.STOPPED)
        elif run.pending:
            run.token._set()
            self.cancel("its start was pending", overdue=False)

    def cancel(self, reason: str, *, overdue: bool = True) -> None:
        """Cancel the current run, once; *overdue* makes that a failure. A run that waits for its turn is left alone."""
        if self.ended:
            return
        run = self.run
        assert run is not None
        if run.cancel(overdue=overdue):
            self._tell_cancelled(run, reason)

    def cancel_everything(self) -> None:
        """Cancel the task whatever it does, a running ``stop()`` too; the last step before `abandon`."""
        run = self.run
        assert run is not None
        if run.cancel_everything():
            self._tell_cancelled(run, "no time is left")

    def drop_unbegun(self) -> None:
        """End a run whose task was cancelled before its first step, as asyncio does when its loop ends."""
        if not self.ended and self.run is not None and self.run.unbegun:
            self.run.drop()
            self.on_run_ended(self.run)

    def stall(self, silence: float) -> None:
        """Take note that the current run gives no sign of life; where the policy says so, cancel it as a failure."""
        run = self.run
        assert run is not None
        run.stalled_since = run.active_at
        now = self.life.root.time()
        self.life.tell(events.ServiceStalled(now, self.name, silence, run.waiting_at()))
        policy = self.registration.on_failure
        if isinstance(policy, Restart) and policy.on_stall:
            self.cancel("it is stalled", overdue=False)
            line = f", at {run.cancelled_at}" if run.cancelled_at else ""
            run._fail(TimeoutError(f"no sign of life for {silence:g} s{line}"))

    def recover(self) -> None:
        """Take note that a stalled run moves again."""
        run = self.run
        if run is not None and run.stalled_since is not None and not run.cancelled:
            silence = run.active_at - run.stalled_since
            run.stalled_since = None
            self.life.tell(events.ServiceRecovered(self.life.root.time(), self.name, silence))

    def abandon(self) -> None:
        """Give the current run up: it has ignored its cancellation."""
        run = self.run
        assert run is not None
        line = run.waiting_at(deep=True)
        run.abandon()
        self.life.tell(events.ServiceAbandoned(self.life.root.time(), self.name, line))
        self.life.fail(ServiceStuckError(self.name, line), self.name)
        self._end(ServiceState.ABANDONED)

    # What the current run tells.

    def on_run_ready(self, run: Run) -> None:
        """Take note that the run is ready."""
        assert run.ready_at is not None
        self.was_ready = True
        self.state, self.state_since = ServiceState.STARTED, run.ready_at
        if self.life.detailed:
            self.life.tell(events.ServiceStarted(run.ready_at, self.name, run.ready_at - run.since))
        self.life.on_ready(self)

    def on_run_returned(self, run: Run) -> None:
        """Decide what the end of ``execute`` means."""
        policy = self.registration.on_return
        if isinstance(policy, Restart):
            self._restart = policy
            run.leaving = True
        elif policy is EndAction.STOP_HOST:
            self.life.begin_stop(f"service {self.name!r} has returned")

    def on_run_failed(self, run: Run, failure: Exception) -> None:
        """Decide what a failure means; one that stops the host does so at once."""
        self.last_failure = failure
        if not run.told:
            self.enter(ServiceState.FAILED)
        policy = self.registration.on_failure if self.was_ready and not self.life.stopping else EndAction.STOP_HOST
        retried = isinstance(policy, Restart)
        self.life.tell(events.ServiceFailed(self.life.root.time(), self.name, failure, retried))
        if isinstance(policy, Restart):
            self._restart = policy
            run.leaving = True
        elif policy is EndAction.STOP_HOST:
            self._restart = None
            self.life.fail(failure, self.name)

    def rest(self) -> None:
        """Take note that its loop has ended for good; its ``stop()`` may be still to come."""
        if self.executing:
            self.executing = False
            self.life.on_rest()

    def on_run_ended(self, run: Run) -> None:
        """Start the next run, or end for good."""
        if run.abandoned:
            return  # gone after all
        self.life.group.on_run_ended(self.name)
        now = self.life.root.time()
        since = now if run.ending_since is None else run.ending_since
        if self.life.detailed:
            self.life.tell(events.ServiceStopped(now, self.name, now - since))
        if self._restart is not None and not self.life.stopping:
            self._begin_again(self._restart, run, since)
            return
        if run.overdue:
            self.life.fail(StopTimeoutError(self.name, run.cancelled_at), self.name)
        self._end(ServiceState.FAILED if run.failed else ServiceState.STOPPED)

    # What its token has to say.

    def note_ignored_stop(self) -> None:
        """Say that the service goes on sleeping after the stop."""
        self.life.log(
            "WARNING",
            "service {} goes on although it was asked to stop: sleep() has returned True, leave the loop then",
            self.name,
            service=self.name,
        )

    def note_callback_error(self, error: BaseException) -> None:
        """Log the error of an ``on_stop`` callback."""
        message = "on_stop callback of service {} failed: {}"
        self.life.log("ERROR", message, self.name, error, service=self.name, error=error)
        self.life.on_hook_error(error, f"an on_stop callback of service {self.name!r}")

    def note_late_error(self, error: BaseException) -> None:
        """Log what an abandoned run raises in the end: the host has told of it already, and may have ended."""
        if not isinstance(error, anyio.get_cancelled_exc_class()):
            message = "service {} was abandoned and has failed since: {}"
            self.life.log("ERROR", message, self.name, error, service=self.name, error=error)

    def enter(self, state: ServiceState) -> float:
        """Enter *state*, and return since when."""
        self.state = state
        self.state_since = now = self.life.root.time()
        return now

    def _tell_cancelled(self, run: Run, reason: str) -> None:
        self.life.tell(events.ServiceCancelled(self.life.root.time(), self.name, reason, run.cancelled_at))

    def _begin_again(self, policy: Restart, run: Run, ended_at: float) -> None:
        self._restart = None
        counts = self._counts
        if counts is None or (run.ready_at is not None and ended_at - run.ready_at >= policy.reset_after):
            counts = self._counts = {True: 0, False: 0}
        counts[run.failed] += 1
        count = counts[run.failed]
        if policy.limit is not None and count > policy.limit:
            self._give_up(policy, count, self.last_failure if run.failed else None)
            return
        self.restarts += 1
        delay = policy.backoff.delay(count)
        now = self.enter(ServiceState.RESTARTING)
        self.life.tell(events.ServiceRestarting(now, self.name, delay, self.restarts))
        self.life.on_restarting(self)
        self.run = Run(self)
        self.run.begin_after(delay)

    def _give_up(self, policy: Restart, count: int, cause: Exception | None) -> None:
        error = RestartLimitError(self.name, count)
        error.__cause__ = cause
        self.last_failure = error
        self.life.tell(events.ServiceFailed(self.life.root.time(), self.name, error, retried=False))
        if policy.then is EndAction.STOP_HOST:
            self.life.fail(error, self.name)
        self._end(ServiceState.FAILED)

    def _end(self, state: ServiceState) -> None:
        self.ended = True
        self.enter(state)
        self.life.on_ended(self)
        self.rest()
