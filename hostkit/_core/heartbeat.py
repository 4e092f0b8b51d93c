"""Heartbeats: notices services that are silent for too long, with one timer for all of them.

A service can only be silent while the event loop turns. When another one blocks the loop, or the process is paused, the
timer comes late, and so much is taken from everyone's silence; it looks several times within the shortest timeout,
so that no more than a part of that is taken for silence.
"""

from collections.abc import Mapping

import anyio

from hostkit._core.lifetime import LifetimeController
from hostkit._core.service_run import Phase, ServiceRun
from hostkit._core.shutdown import Shutdown
from hostkit._core.supervisor import Supervisor

LOOKS = 4
"""How often it looks within the shortest timeout."""


async def watch_heartbeats(
    timeouts: Mapping[Supervisor, float], lifetime: LifetimeController, shutdown: Shutdown
) -> None:
    """Watch services with their ``heartbeat_timeout``, each from ready to the beginning of the stop."""
    patience = lifetime.options.cancellation_timeout
    stuck: dict[ServiceRun, float] = {}  # stalled runs that were cancelled, and until when they have time to end
    longest_sleep = min(timeouts.values()) / LOOKS
    expected = anyio.current_time()
    while not lifetime.stopping:
        now = anyio.current_time()
        late = now - expected
        stuck = {run: until + late for run, until in stuck.items()}
        due = [_look_at(supervisor, timeout, now, late) for supervisor, timeout in timeouts.items()]
        for supervisor in (each for each in timeouts if each.stalled):
            run = supervisor.run
            if run.cancelled and run.phase is not Phase.ENDED:
                if now >= stuck.setdefault(run, now + patience):
                    await shutdown.abandon([supervisor])
                due.append(stuck[run])
        expected = max(now, min(*due, now + longest_sleep))
        await anyio.sleep_until(expected)


def _look_at(supervisor: Supervisor, timeout: float, now: float, late: float) -> float:
    """Forgive the seconds that the timer was *late*, report a stall, and return when to look again."""
    if supervisor.ended or not supervisor.run.is_watched:
        return now + timeout
    run = supervisor.run
    run.active_at = min(now, run.active_at + late)
    if run.stalled_since is None:
        if now < run.active_at + timeout:
            return run.active_at + timeout
        supervisor.stall(now - run.active_at)
    return now + timeout
