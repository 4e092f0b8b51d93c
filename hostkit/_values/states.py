"""States."""

from enum import StrEnum


class HostState(StrEnum):
    """Where a host is in its lifecycle; a stopped host may be started again, which is a new lifecycle."""

    CREATED = "created"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ServiceState(StrEnum):
    """Where a service is in its lifecycle."""

    CREATED = "created"
    STARTING = "starting"
    STARTED = "started"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    ABANDONED = "abandoned"
