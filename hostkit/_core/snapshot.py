"""Snapshots of a host and its services."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from hostkit._config.options import HostOptions
from hostkit._core.host_status import HostStatus, ServiceStatus
from hostkit._core.lifecycle import Life
from hostkit._core.lifetime import HostLifetime
from hostkit._core.registration import Registration
from hostkit._core.supervisor import Supervisor
from hostkit._values import clock as _clock
from hostkit._values.states import HostState, ServiceState
from hostkit._values.text import text_of


def host_status(
    options: HostOptions, lifetime: HostLifetime, life: Life | None, registrations: Iterable[Registration]
) -> HostStatus:
    """Return what a host is doing; *life* is its current or last one."""
    stopping = life is not None and lifetime.state is HostState.STOPPING
    now = 0.0 if life is None else life.time()
    return HostStatus(
        application_name=options.application_name,
        environment=options.environment,
        state=lifetime.state,
        since=None if life is None else _instant(now - life.state_since),
        ready=life is not None and (life.ready or life.ended_by_itself),
        healthy=life is None or life.healthy,
        stop_reason=lifetime.stop_reason,
        exit_code=lifetime.exit_code,
        seconds_to_cancel=max(0.0, life.ladder.cancel_at - now) if life is not None and stopping else None,
        seconds_to_abandon=max(0.0, life.ladder.leave_at - now) if life is not None and stopping else None,
        services=tuple(map(_unstarted, registrations))
        if life is None
        else tuple(_service_status(supervisor, now) for supervisor in life.supervisors()),
    )


def status_lines(status: HostStatus) -> str:
    """Return *status* as lines for a terminal."""
    reason = f" ({status.stop_reason})" if status.stop_reason else ""
    words = f"{'ready' if status.ready else 'not ready'}, {'healthy' if status.healthy else 'unhealthy'}"
    rows = [("service", "state", "restarts", "at")]
    rows += [
        (row.name, row.state + (" (stalled)" if row.stalled else ""), str(row.restarts), row.waiting_at or "-")
        for row in status.services
    ]
    return f"{status.application_name}: {status.state}{reason}, {words}\n" + table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _service_status(supervisor: Supervisor, now: float) -> ServiceStatus:
    failure = supervisor.last_failure
    return ServiceStatus(
        name=supervisor.name,
        kind=supervisor.registration.kind,
        state=supervisor.state,
        since=None if supervisor.state_since is None else _instant(now - supervisor.state_since),
        restarts=supervisor.restarts,
        last_failure=None if failure is None else text_of(failure),
        stalled=supervisor.stalled,
        waiting_at=supervisor.waiting_at(),
    )


def _unstarted(registration: Registration) -> ServiceStatus:
    return ServiceStatus(
        name=registration.name,
        kind=registration.kind,
        state=ServiceState.CREATED,
        since=None,
        restarts=0,
        last_failure=None,
        stalled=False,
        waiting_at=None,
    )


def _instant(age: float) -> str:
    return (_clock.now() - timedelta(seconds=age)).isoformat(timespec="milliseconds")
