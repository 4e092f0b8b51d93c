"""What a status tells. Loaded when one is asked for: few programs are, and none before it has started."""

from dataclasses import dataclass

from hostkit._values.frozen import Value
from hostkit._values.states import HostState, ServiceState


@dataclass(frozen=True, eq=False, repr=False)
class ServiceStatus(Value):
    """What one service was doing when it was asked; ready for JSON with `dataclasses.asdict`.

    Attributes:
        name: Its name.
        kind: ``"service"``, ``"background"`` or ``"thread"``.
        state: Where it is in its life.
        since: Since when it is in that state (ISO 8601, UTC); None if it was never started.
        restarts: How often it was restarted in this life of the host.
        last_failure: Its last error in words, also one that a restart recovered.
        stalled: Whether it has been silent for longer than its ``heartbeat_timeout``.
        waiting_at: The line of its own code where it is, if known.
    """

    name: str
    kind: str
    state: ServiceState
    since: str | None
    restarts: int
    last_failure: str | None
    stalled: bool
    waiting_at: str | None


@dataclass(frozen=True, eq=False, repr=False)
class HostStatus(Value):
    """What a host was doing when it was asked; ready for JSON with `dataclasses.asdict`.

    Attributes:
        application_name: The option of that name.
        environment: The option of that name.
        state: Where the host is in its life.
        since: Since when it is in that state (ISO 8601, UTC); None if it was never started.
        ready: Started, and no stop requested.
        healthy: No service has failed (ignored failures excepted), is stalled or restarting.
        stop_reason: Why it stops or has stopped.
        exit_code: What the process's exit code would be now.
        seconds_to_cancel: While stopping: seconds until services that still run are cancelled.
        seconds_to_abandon: While stopping: seconds until services that still run are abandoned.
        services: Every service, in start order.
    """

    application_name: str
    environment: str
    state: HostState
    since: str | None
    ready: bool
    healthy: bool
    stop_reason: str | None
    exit_code: int
    seconds_to_cancel: float | None
    seconds_to_abandon: float | None
    services: tuple[ServiceStatus, ...]
