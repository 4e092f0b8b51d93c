"""What a host and its services were doing: values, ready for JSON, and as lines for a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass

from hostkit._values.frozen import Value
from hostkit._values.states import HostState, ServiceState
from hostkit._values.text import printable, table


@dataclass(frozen=True, eq=False, repr=False)
class ServiceStatus(Value):
    """What one service was doing when it was asked; ready for JSON with `dataclasses.asdict`.

    Attributes:
        name: Its name.
        step: The number of its step in the start order, from 0; services that were added together share one.
        kind: ``"service"``, ``"background"`` or ``"thread"``.
        state: Where it is in its lifecycle.
        since: Since when it is in that state (ISO 8601, UTC); None if it was never started.
        restarts: How often it was restarted in this lifecycle of the host.
        restart_at: When its next run begins (ISO 8601, UTC), while it waits for that.
        restart_limit: How often in a row its ``Restart`` lets it fail; None without one, or without a limit.
        failures_in_a_row: How often it has failed without a run in between that was ready for ``reset_after``.
        last_failure: Its last error in words, also one that a restart recovered.
        last_failure_at: When that was (ISO 8601, UTC).
        heartbeat_timeout: After how many seconds of silence it counts as stalled; None if that is not watched.
        silent_for: For how many seconds it has neither waited in its token nor called ``beat()``; None while it waits
            there, where no heartbeat is watched, and where it does not run.
        stalled: Whether it has been silent for longer than its ``heartbeat_timeout``.
        waiting_at: The line of its own code where it is, if known.
        details: What its `HostedService.details` returned, bounded in size and ready for JSON.
    """

    name: str
    kind: str
    step: int
    state: ServiceState
    since: str | None
    restarts: int
    restart_at: str | None
    restart_limit: int | None
    failures_in_a_row: int
    last_failure: str | None
    last_failure_at: str | None
    heartbeat_timeout: float | None
    silent_for: float | None
    stalled: bool
    waiting_at: str | None
    details: Mapping[str, object]


@dataclass(frozen=True, eq=False, repr=False)
class HostStatus(Value):
    """What a host was doing when it was asked; ready for JSON with `dataclasses.asdict`.

    Attributes:
        application_name: The option of that name.
        environment: The option of that name.
        at: When this was (ISO 8601, UTC).
        loop_time: The same instant on the event loop's clock; None before the first start.
        started_at: When the current or last lifecycle began (ISO 8601, UTC); None before the first start.
        state: Where the host is in its lifecycle.
        since: Since when it is in that state (ISO 8601, UTC); None if it was never started.
        ready: Started, and no stop requested.
        healthy: No service has failed (ignored failures excepted), is stalled or restarting.
        stop_reason: Why it stops or has stopped.
        exit_code: What the process's exit code would be now.
        seconds_to_stop: While a stop is announced (see ``stop_delay``): seconds until it begins.
        waiting_for: While stopping: names of the services that are waited for now, in stop order.
        seconds_to_cancel: While stopping: seconds until services that still run are cancelled.
        seconds_to_abandon: While stopping: seconds until services that still run are abandoned.
        services: Every service, in start order.
    """

    application_name: str
    environment: str
    at: str
    loop_time: float | None
    started_at: str | None
    state: HostState
    since: str | None
    ready: bool
    healthy: bool
    stop_reason: str | None
    exit_code: int
    seconds_to_stop: float | None
    waiting_for: tuple[str, ...]
    seconds_to_cancel: float | None
    seconds_to_abandon: float | None
    services: tuple[ServiceStatus, ...]


def status_lines(status: HostStatus) -> str:
    """Return *status* as lines for a terminal."""
    reason = f" ({status.stop_reason})" if status.stop_reason else ""
    words = f"{'ready' if status.ready else 'not ready'}, {'healthy' if status.healthy else 'unhealthy'}"
    rows = [("service", "state", "restarts", "at")]
    rows += [
        (row.name, row.state + (" (stalled)" if row.stalled else ""), str(row.restarts), row.waiting_at or "-")
        for row in status.services
    ]
    return printable(f"{status.application_name}: {status.state}{reason}, {words}") + "\n" + table(rows)
