"""The start of a host: step after step, each begun when the one before is ready, all within one timeout."""

import math
from collections.abc import Sequence

from hostkit._core.lifetime import LifetimeController
from hostkit._core.service_group import Wakeup
from hostkit._core.supervisor import Supervisor
from hostkit._values.errors import StartupTimeoutError

# So many services are begun before others get a turn.
BATCH = 64


class Startup:
    """The start of the services, for one lifecycle of a host."""

    def __init__(
        self,
        steps: Sequence[Sequence[Supervisor]],
        timeout: float | None,
        lifetime: LifetimeController,
        wakeup: Wakeup,
    ) -> None:
        """Prepare; `run` starts the services."""
        self._steps = steps
        self._timeout = math.inf if timeout is None else timeout
        self._lifetime = lifetime
        self._wakeup = wakeup
        self._starting: set[Supervisor] = set()  # of the step whose start is awaited

    async def run(self) -> None:
        """Start every service, or as many as until the stop begins; a start that is late is a failure."""
        deadline = self._wakeup.time() + self._timeout
        begun = 0
        for step in self._steps:
            if self._lifetime.stopping:
                break
            self._begin(step)
            if self._starting:
                await self._wait_for(step, deadline)
            begun += len(step)
            if begun >= BATCH:
                begun = 0
                await self._wakeup.pause()

    def on_settled(self, supervisor: Supervisor) -> None:
        """Go on where a service is ready, or has ended before that."""
        if supervisor in self._starting:
            self._starting.discard(supervisor)
            if not self._starting:
                self._wakeup.event.set()

    def _begin(self, step: Sequence[Supervisor]) -> None:
        self._starting.update(supervisor for supervisor in step if not supervisor.registration.ready_at_once)
        for supervisor in step:
            supervisor.begin()

    async def _wait_for(self, step: Sequence[Supervisor], deadline: float) -> None:
        while self._starting and not self._lifetime.stopping:
            if self._wakeup.time() >= deadline:
                late = [supervisor.name for supervisor in step if supervisor in self._starting]
                self._lifetime.fail(StartupTimeoutError(late, self._timeout))
                return
            await self._wakeup.wait(deadline)
