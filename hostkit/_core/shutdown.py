"""The stop of a host: ask by token, cancel, abandon; last step first, against deadlines that are absolute."""

import math
from collections.abc import Callable, Sequence

from hostkit._core.lifetime import LifetimeController
from hostkit._core.service_group import Wakeup
from hostkit._core.supervisor import Supervisor

# How often the loop turns for a task that was cancelled at the last instant to end: a few levels of nested groups.
LAST_ROUNDS = 10
FIRST_REPORT, NEXT_REPORTS = 2.01, 5.0
"""After how many seconds a stop reports what it waits for (2 s are in time), and how often from then on."""
LAST_CHANCE = 1.0
"""Seconds for what still runs when the process was paused, or the loop blocked, until the time was over."""
MOST_NAMED = 3
"""How many services a line names."""


class Shutdown:
    """The stop of the services, for one lifecycle of a host.

    Attributes:
        stop_at: The first instant of the stop, t₀, on the loop's clock; infinite before it.
        cancel_at: When services that still run are cancelled, t₁.
        leave_at: When services that still run are abandoned, t₂.
        own_deadlines: When services that have less time than the host are cancelled, or, once they are, abandoned.
        on_deadline: Called with the seconds until t₂, each time that this is set, and with ``anew=True`` when it is put
            off.
    """

    def __init__(self, steps: Sequence[Sequence[Supervisor]], lifetime: LifetimeController, wakeup: Wakeup) -> None:
        """Prepare; `begin` lays the deadlines, `run` stops the services."""
        self.stop_at = self.cancel_at = self.leave_at = math.inf
        self.on_deadline: Callable[..., None] | None = None
        self._steps = steps
        self._lifetime = lifetime
        self._options = lifetime.options
        self._wakeup = wakeup
        self._report_at = math.inf
        self._turn = -1  # the step that is being stopped; before the first, and after the last, -1
        self._running: list[int] = []  # for each step: how many services are to be waited for; empty before the stop
        self._forcing = self._cancelling_all = False
        self.own_deadlines: dict[Supervisor, float] = {}
        self._last: set[Supervisor] = set()  # those whose own deadline is their last one

    def begin(self, at: float) -> None:
        """Lay the deadlines: the stop has begun at *at*."""
        self.stop_at = at
        self._report_at = at + FIRST_REPORT
        self.cancel_at = self._wakeup.time() if self._cancelling_all else at + self._options.shutdown_timeout
        self._lay_last(self.cancel_at + self._options.cancellation_timeout)
        self._wakeup.event.set()

    def cancel_all(self, at: float) -> None:
        """Have everything cancelled, as was asked for at *at*; nothing changes if that time had come."""
        self._cancelling_all = True
        if self.stop_at < math.inf and at < self.cancel_at:
            self.cancel_at = at
            self._lay_last(at + self._options.cancellation_timeout)
            self._wakeup.event.set()

    def time_left(self, supervisor: Supervisor) -> float:
        """Return the seconds until a service that was asked to stop is cancelled."""
        return min(self.cancel_at, self.own_deadlines.get(supervisor, math.inf)) - self._wakeup.time()

    def limit_restart(self, supervisor: Supervisor) -> None:
        """Lay the deadline of a run that is asked to end for the next one, if it has none yet."""
        timeout = supervisor.registration.stop_timeout
        timeout = self._options.shutdown_timeout if timeout is None else timeout
        self.own_deadlines.setdefault(supervisor, self._wakeup.time() + timeout)
        self._wakeup.event.set()

    def forget(self, supervisor: Supervisor) -> None:
        """Forget the deadlines of a run that has ended."""
        self.own_deadlines.pop(supervisor, None)
        self._last.discard(supervisor)

    async def run(self) -> None:
        """Stop every service that runs, and return when none is to be waited for; those not ready are cancelled."""
        unready = [each for step in self._steps for each in step if not each.ended and each.run.ready_at is None]
        for supervisor in unready:
            supervisor.cancel_start()
            if not supervisor.ended and supervisor.run.cancelled:  # not in its stop() already
                self.own_deadlines[supervisor] = min(self.stop_at + self._options.cancellation_timeout, self.leave_at)
                self._last.add(supervisor)
        for supervisor in (each for step in self._steps for each in step if each.ended and each.was_ready):
            supervisor.run.token.request_stop()  # what the run has left behind may wait for that
        for supervisor in self.own_deadlines.keys() - self._last:  # of restarts
            if supervisor.registration.stop_timeout is None:
                del self.own_deadlines[supervisor]
        self._running = [sum(not supervisor.ended for supervisor in step) for step in self._steps]
        self._turn = len(self._steps) - 1
        self._advance()
        while any(self._running) and self._wakeup.time() < self.cancel_at:
            await self._wakeup.wait(min([self.cancel_at, self._report_at, *self.own_deadlines.values()]))
            if self._wakeup.time() >= self._report_at:
                self._report()
            if self.own_deadlines:
                await self.enforce_own_deadlines()
        if any(self._running):
            await self._force()

    def waiting_for(self) -> list[Supervisor]:
        """Return the services that the stop waits for now: those whose turn it is, or all when all are cancelled."""
        steps = self._steps if self._forcing else self._steps[self._turn : self._turn + 1]
        return [supervisor for step in reversed(steps) for supervisor in step if not supervisor.ended]

    def on_ended(self, supervisor: Supervisor) -> None:
        """Go on where a service has ended: with the step before, when it was the last of its own."""
        self.forget(supervisor)
        if not self._running:
            return
        self._running[supervisor.step] -= 1
        if self._forcing:
            self._wakeup.event.set()
        elif supervisor.step == self._turn and not self._running[self._turn]:
            # Here, not in the task of `run`: ten thousand services would wake it ten thousand times.
            self._advance()

    async def abandon(self, supervisors: Sequence[Supervisor]) -> None:
        """Give services up, after a last chance for those that end as soon as they are cancelled once more."""
        runs = [(supervisor, supervisor.run) for supervisor in supervisors]
        for supervisor, _ in runs:
            supervisor.cancel_everything()
        for left in reversed(range(LAST_ROUNDS + 1)):
            # A run may end for the next one, which is not to be given up with it.
            runs = [(supervisor, run) for supervisor, run in runs if not supervisor.ended and supervisor.run is run]
            if runs and left:
                await self._wakeup.pause()
        for supervisor, _ in runs:
            supervisor.abandon()

    async def _wait(self, deadline: float) -> None:
        await self._wakeup.wait(min(deadline, self._report_at))
        if self._wakeup.time() >= self._report_at:
            self._report()

    def _report(self) -> None:
        """Log which services a slow stop waits for, where they are, and how long it will."""
        now = self._wakeup.time()
        self._report_at = now + NEXT_REPORTS
        waiting_for = self.waiting_for()
        if not waiting_for:  # pragma: no cover  # a service that ends in that very instant
            return
        named = ", ".join(f"{each.name}{each.short_line()}" for each in waiting_for[:MOST_NAMED])
        more = f" and {len(waiting_for) - MOST_NAMED} more" if len(waiting_for) > MOST_NAMED else ""
        action, left, end = "cancelled", self.cancel_at - now, ""
        if left <= 0:
            action, left = "abandoned", self.leave_at - now
        elif self._lifetime.owns_process:
            again = "a second Ctrl-C" if self._lifetime.stop_reason == "signal SIGINT" else "a second signal"
            end = f"; {again} cancels now"
        self._lifetime.log("INFO", "waiting for {}{}, {} in {:.0f} s{}", named, more, action, left, end)

    def _lay_last(self, at: float, *, anew: bool = False) -> None:
        self.leave_at = at
        if self.on_deadline is not None:
            self.on_deadline(self.leave_at - self._wakeup.time(), anew=anew)

    def _advance(self) -> None:
        while self._turn >= 0 and not self._running[self._turn]:
            self._turn -= 1
        if self._turn < 0:
            self._wakeup.event.set()
            return
        for supervisor in self._steps[self._turn]:
            timeout = supervisor.registration.stop_timeout
            if timeout is not None and not supervisor.ended:
                self.own_deadlines.setdefault(supervisor, self._wakeup.time() + timeout)
                self._wakeup.event.set()
            supervisor.request_stop()

    async def enforce_own_deadlines(self) -> None:
        """Cancel services whose own time is over, for the stop or for a restart, and abandon those that ignore it."""
        now = self._wakeup.time()
        stopping = self.stop_at < math.inf
        late = []
        for supervisor, deadline in list(self.own_deadlines.items()):
            if now >= deadline and supervisor in self._last:
                late.append(supervisor)
            elif now >= deadline:
                self._last.add(supervisor)
                reason = "its stop_timeout has passed" if stopping else "its restart takes too long"
                cancelled = supervisor.cancel(reason, overdue=stopping)
                last = self.leave_at if stopping and not cancelled else now + self._options.cancellation_timeout
                self.own_deadlines[supervisor] = min(last, self.leave_at)
        if late:
            await self.abandon(late)

    async def _force(self) -> None:
        """Cancel last step first, and give each an equal share of the time that is left: none is starved."""
        self._forcing = True
        if self._wakeup.time() >= self.leave_at:
            # Nothing has been cancelled yet, as the loop has not turned: a stop() that saves something may still do so.
            self._lay_last(self._wakeup.time() + min(LAST_CHANCE, self._options.cancellation_timeout), anew=True)
        reason = "a second signal asked for it" if self._cancelling_all else "the shutdown_timeout has passed"
        pending = [number for number in range(self._turn, -1, -1) if self._running[number]]
        for position, number in enumerate(pending):
            for supervisor in self._steps[number]:
                supervisor.request_stop()
            for supervisor in self._steps[number]:
                supervisor.cancel(reason)
            now = self._wakeup.time()
            share = (self.leave_at - now) / (len(pending) - position)
            while self._running[number] and self._wakeup.time() < now + share:
                await self._wait(now + share)
        while any(self._running) and self._wakeup.time() < self.leave_at:
            await self._wait(self.leave_at)
        await self.abandon([supervisor for step in self._steps for supervisor in step if not supervisor.ended])
