"""The start of a host: step after step, each begun when the one before is ready, all within one timeout."""

import math
from collections.abc import Sequence

from hostkit._core.lifetime import LifetimeController
from hostkit._core.service_group import Wakeup
from hostkit._core.supervisor import Supervisor
from hostkit._values.errors import StartupTimeoutError

# So many services are begun before others get a turn.
BATCH = 64


async def start_services(steps: Sequence[Sequence[Supervisor]], lifetime: LifetimeController, wakeup: Wakeup) -> None:
    """Start every service, or as many as until the stop begins; a start that is late is a failure.

    *wakeup* is to be set when a service is ready, or has ended before that.
    """
    timeout = math.inf if lifetime.options.startup_timeout is None else lifetime.options.startup_timeout
    deadline = wakeup.time() + timeout
    begun = 0
    for step in steps:
        if lifetime.stopping:
            return
        for supervisor in step:
            supervisor.begin()
        for supervisor in step:
            while supervisor.starting and not lifetime.stopping:
                if wakeup.time() >= deadline:
                    lifetime.fail(StartupTimeoutError([each.name for each in step if each.starting], timeout))
                else:
                    await wakeup.wait(deadline)
        begun += len(step)
        if begun >= BATCH:
            begun = 0
            await wakeup.pause()
