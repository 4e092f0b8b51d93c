"""The stop of a host: ask by token, cancel, abandon; last step first, against deadlines that are absolute."""

import math
from typing import TYPE_CHECKING

from hostkit._core.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostkit._core.lifecycle import Life

# How often the loop turns for a task that was cancelled at the last instant to end: a few levels of nested groups.
LAST_ROUNDS = 10


class Ladder:
    """The three rungs, for one life of a host."""

    def __init__(self, life: "Life", shutdown_timeout: float, cancellation_timeout: float) -> None:
        """Prepare; `begin` lays the deadlines, `run` climbs down."""
        self._life = life
        self._shutdown_timeout = shutdown_timeout
        self._cancellation_timeout = cancellation_timeout
        self.stop_at = self.cancel_at = self.leave_at = math.inf
        """The instants t₀, t₁ and t₂ on the loop's clock."""
        self.on_deadline: Callable[[float], None] | None = None
        """Told the seconds until t₂, whenever that is laid."""
        self._turn = -1  # the step that is being stopped
        self._running: list[int] | None = None  # for each step: how many services are to be waited for
        self._left = 0
        self._forcing = self._hurried = False
        self._watched: dict[Supervisor, float] = {}  # services with a deadline of their own

    def begin(self, at: float) -> None:
        """Lay the deadlines: the stop has begun at *at*."""
        self.stop_at = at
        self.cancel_at = self._life.time() if self._hurried else at + self._shutdown_timeout
        self._lay_last(self.cancel_at)

    def hurry(self) -> None:
        """Have everything cancelled now, or as soon as the stop begins; nothing changes if that time has come."""
        self._hurried = True
        now = self._life.time()
        if self.stop_at < math.inf and now < self.cancel_at:
            self.cancel_at = now
            self._lay_last(now)
            self._life.ring()

    async def run(self) -> None:
        """Stop every service that runs, and return when none is to be waited for."""
        life = self._life
        for supervisor in list(life.startup.unready):
            supervisor.cut()
            if not supervisor.ended:
                self._watched[supervisor] = min(self.stop_at + self._cancellation_timeout, self.leave_at)
        self._running = [sum(not supervisor.ended for supervisor in step) for step in life.steps]
        self._left = sum(self._running)
        self._turn = len(life.steps) - 1
        self._advance()
        while self._left and life.time() < self.cancel_at:
            await life.wait(min([self.cancel_at, *self._watched.values()]))
            await self._enforce_own_deadlines()
        if self._left:
            await self._force()

    def on_ended(self, supervisor: Supervisor) -> None:
        """Take note that a service has ended, and tell the step before when its own has."""
        self._watched.pop(supervisor, None)
        if self._running is None:
            return
        self._left -= 1
        self._running[supervisor.step] -= 1
        if self._forcing:
            self._life.ring()
        elif supervisor.step == self._turn and not self._running[self._turn]:
            # Here, not in the ladder's task: ten thousand services would wake it ten thousand times.
            self._advance()

    def _lay_last(self, cancel_at: float) -> None:
        self.leave_at = cancel_at + self._cancellation_timeout
        if self.on_deadline is not None:
            self.on_deadline(self.leave_at - self._life.time())

    def _advance(self) -> None:
        assert self._running is not None
        while self._turn >= 0 and not self._running[self._turn]:
            self._turn -= 1
        if self._turn < 0:
            self._life.ring()
            return
        for supervisor in self._life.steps[self._turn]:
            supervisor.tell()
            timeout = supervisor.registration.stop_timeout
            if timeout is not None and not supervisor.ended:
                self._watched.setdefault(supervisor, self._life.time() + timeout)
                self._life.ring()

    async def _enforce_own_deadlines(self) -> None:
        now = self._life.time()
        late = []
        for supervisor, deadline in list(self._watched.items()):
            if now >= deadline:
                if supervisor.cancelled:
                    late.append(supervisor)
                else:
                    supervisor.cancel("its stop_timeout has passed")
                    self._watched[supervisor] = min(now + self._cancellation_timeout, self.leave_at)
        if late:
            await self.abandon(late)

    async def _force(self) -> None:
        """Cancel last step first, and give each an equal share of the time that is left: nobody is starved."""
        assert self._running is not None
        self._forcing = True
        reason = "a second signal asked for it" if self._hurried else "the shutdown_timeout has passed"
        pending = [number for number in range(self._turn, -1, -1) if self._running[number]]
        for position, number in enumerate(pending):
            for supervisor in self._life.steps[number]:
                supervisor.tell()
            for supervisor in self._life.steps[number]:
                supervisor.cancel(reason)
            now = self._life.time()
            share = (self.leave_at - now) / (len(pending) - position)
            while self._running[number] and self._life.time() < now + share:
                await self._life.wait(now + share)
        while self._left and self._life.time() < self.leave_at:
            await self._life.wait(self.leave_at)
        await self.abandon([supervisor for step in self._life.steps for supervisor in step if not supervisor.ended])

    async def abandon(self, supervisors: list[Supervisor]) -> None:
        """Give services up, after a last chance for those that end as soon as they are cancelled once more."""
        for supervisor in supervisors:
            supervisor.cancel_everything()
        for _ in range(LAST_ROUNDS):
            if all(supervisor.ended for supervisor in supervisors):
                return
            await self._life.pause()
        for supervisor in supervisors:
            if not supervisor.ended:
                supervisor.abandon()
