"""The start of a host: step after step, each begun when the one before is ready, all within one timeout."""

import math
from typing import TYPE_CHECKING

from hostkit._core.supervisor import Supervisor
from hostkit._values.errors import StartupTimeoutError

if TYPE_CHECKING:
    from hostkit._core.lifecycle import Life

# So many services are begun before others get a turn.
BATCH = 64


class Startup:
    """The start of the services, for one life of a host; and from then on, who is not ready."""

    def __init__(self, life: "Life", timeout: float | None) -> None:
        """Prepare; `run` starts the services."""
        self._life = life
        self._timeout = timeout
        self._starting: set[Supervisor] = set()  # of the step whose start is awaited
        self.unready: set[Supervisor] = set()
        """The same, and those that are being restarted."""

    async def run(self) -> None:
        """Start every service, or as many as until the stop begins; a start that is late is a failure."""
        life = self._life
        deadline = math.inf if self._timeout is None else life.time() + self._timeout
        begun = 0
        for step in life.steps:
            if life.stopping:
                break
            self._begin(step)
            if self._starting:
                await self._wait_for(step, deadline)
            begun += len(step)
            if begun >= BATCH:
                begun = 0
                await life.pause()

    def on_restarting(self, supervisor: Supervisor) -> None:
        """Take note that a service waits to be run again."""
        self.unready.add(supervisor)

    def on_settled(self, supervisor: Supervisor) -> None:
        """Take note that a service is ready, or has ended before that."""
        if supervisor in self.unready:
            self.unready.discard(supervisor)
            self._starting.discard(supervisor)
            if not self._starting:
                self._life.ring()

    def _begin(self, step: list[Supervisor]) -> None:
        for supervisor in step:
            if not supervisor.registration.ready_at_once:
                self._starting.add(supervisor)
                self.unready.add(supervisor)
        for supervisor in step:
            supervisor.begin()

    async def _wait_for(self, step: list[Supervisor], deadline: float) -> None:
        life = self._life
        while self._starting:
            if life.stopping:
                return
            if life.time() >= deadline:
                late = [supervisor.name for supervisor in step if supervisor in self._starting]
                life.fail(StartupTimeoutError(late, self._timeout or 0))
                return
            await life.wait(deadline)
