"""Heartbeats: notices services that give no sign of life, with one timer for all of them."""

from typing import TYPE_CHECKING

import anyio

from hostkit._core.service_run import Phase, Run
from hostkit._core.supervisor import Supervisor

if TYPE_CHECKING:
    from hostkit._core.lifecycle import Life


async def watch_heartbeats(life: "Life") -> None:
    """Watch the services that have a ``heartbeat_timeout``, each from ready to the beginning of the stop."""
    timeouts = {
        supervisor: supervisor.registration.heartbeat_timeout
        for supervisor in life.supervisors()
        if supervisor.registration.heartbeat_timeout is not None
    }
    patience = life.options.cancellation_timeout
    stuck: dict[Run, float] = {}  # stalled runs that were cancelled, and until when they have time to end
    while not life.stopping:
        now = life.time()
        due = [_look_at(supervisor, timeout, now) for supervisor, timeout in timeouts.items()]
        for supervisor in timeouts:
            run = supervisor.run
            if supervisor.stalled and run is not None and run.cancelled and run.phase is not Phase.ENDED:
                if now >= stuck.setdefault(run, now + patience):
                    await life.ladder.abandon([supervisor])
                due.append(stuck[run])
        await anyio.sleep_until(min(due))


def _look_at(supervisor: Supervisor, timeout: float, now: float) -> float:
    """Notice a stall, and return when to look again."""
    run = supervisor.run
    if run is None or run.ready_at is None or run.phase is not Phase.EXECUTING or run.cancelled:
        return now + timeout
    if run.idle:
        return now + timeout
    if run.stalled_since is None:
        if now < run.active_at + timeout:
            return run.active_at + timeout
        supervisor.stall(now - run.active_at)
    return now + timeout
