"""The events of a host, for its listeners (`HostBuilder.on_event`): one small frozen class each.

Every event has ``at``, an instant on the event loop's own clock in seconds; those of a service have ``service``, its
name, and those of a run or a job ``job``, its name. Durations are seconds. Events compare equal when type and values
do.
"""

import inspect
from datetime import datetime
from typing import dataclass_transform

from hostkit._values.frozen import Value

__all__ = [
    "HostEvent",
    "HostStarted",
    "HostStarting",
    "HostStopped",
    "JobFailed",
    "JobsLost",
    "RunFinished",
    "RunSkipped",
    "ServiceAbandoned",
    "ServiceCancelled",
    "ServiceEvent",
    "ServiceFailed",
    "ServiceRecovered",
    "ServiceRestarting",
    "ServiceStalled",
    "ServiceStarted",
    "ServiceStarting",
    "ServiceStopped",
    "ServiceStopping",
    "StopAnnounced",
    "StopRequested",
]


# Not a dataclass: fifteen of those would cost as much import time as anyio does.
@dataclass_transform(frozen_default=True)
class _Frozen(Value):
    """A class with fields that are set once."""

    __match_args__: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """Take the fields from the annotations, those of the parents first."""
        cls.__match_args__ = (  # type: ignore[misc]  # mypy takes it for a constant
            *cls.__match_args__,
            *inspect.get_annotations(cls),
        )

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Set every field once, by position or by name."""
        names = self.__match_args__
        values = dict(zip(names, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(names) or values.keys() != set(names):
            message = f"{type(self).__name__} takes {', '.join(names)}"
            raise TypeError(message)
        self.__dict__.update({name: values[name] for name in names})

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: events are frozen."""
        message = f"cannot set {name!r}: events are frozen"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        """Refuse: events are frozen."""
        message = f"cannot delete {name!r}: events are frozen"
        raise AttributeError(message)


class HostEvent(_Frozen):
    """Base of every event.

    Attributes:
        at: When it happened, on the event loop's clock, in seconds.
    """

    at: float


class HostStarting(HostEvent):
    """The host begins to start its services.

    Attributes:
        application_name: The option of that name.
        services: How many services it has.
    """

    application_name: str
    services: int


class HostStarted(HostEvent):
    """Every service is ready.

    Attributes:
        services: How many services it has.
        duration: How long the start took.
    """

    services: int
    duration: float


class StopAnnounced(HostEvent):
    """A signal has asked for the stop, which begins after the option ``stop_delay``; the host goes on meanwhile.

    Attributes:
        reason: Why, in words.
        delay: After how long the stop begins.
    """

    reason: str
    delay: float


class StopRequested(HostEvent):
    """The stop has begun: a signal, a request, a failure, or nothing left to do.

    Attributes:
        reason: Why, in words.
    """

    reason: str


class HostStopped(HostEvent):
    """The host has ended; always the last event of a lifecycle.

    Attributes:
        reason: Why it stopped, in words.
        exit_code: The process's exit code, were this host to own the process.
        duration: How long the stop took.
    """

    reason: str
    exit_code: int
    duration: float


class ServiceEvent(HostEvent):
    """Base of what happens to one service.

    Attributes:
        service: Name of the service.
    """

    service: str


class ServiceStarting(ServiceEvent):
    """A run of the service begins; a restart is a new run."""


class ServiceStarted(ServiceEvent):
    """The service is ready.

    Attributes:
        duration: How long it took to be ready.
    """

    duration: float


class ServiceStopping(ServiceEvent):
    """The service was asked to stop: its stopping token is set."""


class ServiceStopped(ServiceEvent):
    """The run has ended, whatever the reason.

    Attributes:
        duration: How long that took since the service was asked, cancelled or failed; 0 if it ended by itself.
    """

    duration: float


class ServiceFailed(ServiceEvent):
    """The service raised an error; one event for each error of a run.

    Attributes:
        error: The error, as it was raised.
        retried: Whether a `Restart` is to follow.
    """

    error: BaseException
    retried: bool


class ServiceRestarting(ServiceEvent):
    """The service has ended and will be run again.

    Attributes:
        delay: After how long.
        restarts: How many restarts that makes in this lifecycle of the host.
        in_a_row: How often in a row it has ended; 0 for a restart that was asked for.
        limit: How often in a row its ``Restart`` allows; None for no limit.
    """

    delay: float
    restarts: int
    in_a_row: int
    limit: int | None


class ServiceStalled(ServiceEvent):
    """The service has neither waited in its token nor called ``beat()`` for its ``heartbeat_timeout``.

    Attributes:
        duration: How long it has been silent.
        waiting_at: The line where it is, if known.
    """

    duration: float
    waiting_at: str | None


class ServiceRecovered(ServiceEvent):
    """A stalled service has moved again.

    Attributes:
        duration: How long it was silent in all.
    """

    duration: float


class ServiceCancelled(ServiceEvent):
    """The host has cancelled the service: a pending start, a stop that took too long, a second signal, a stall.

    Attributes:
        reason: Why, in words.
        waiting_at: The line where it was, if known.
    """

    reason: str
    waiting_at: str | None


class ServiceAbandoned(ServiceEvent):
    """The service did not end after its cancellation; the host goes on without it.

    Attributes:
        waiting_at: The line where it is, if known.
    """

    waiting_at: str | None


class RunFinished(ServiceEvent):
    """A run of a scheduled job has ended; of a service that is a `hostkit.scheduling.Scheduler`.

    Attributes:
        job: Name of the job.
        outcome: ``"succeeded"``, ``"failed"`` or ``"cancelled"``.
        planned: When the run was due.
        started: When it began.
        duration: How long it took.
        error: What it raised, if it failed.
    """

    job: str
    outcome: str
    planned: datetime
    started: datetime
    duration: float
    error: BaseException | None


class RunSkipped(ServiceEvent):
    """A run of a scheduled job did not happen.

    Attributes:
        job: Name of the job.
        planned: When the run was due.
        reason: Why it did not happen, in a few words.
    """

    job: str
    planned: datetime
    reason: str


class JobFailed(ServiceEvent):
    """A job has failed for good: its last attempt has; of a service that is a `hostkit.jobs.JobQueue`.

    Attributes:
        job: Name of the job.
        id: Its number in the queue.
        attempts: How many attempts it had.
        error: What the last one raised.
    """

    job: str
    id: int
    attempts: int
    error: BaseException


class JobsLost(ServiceEvent):
    """The stop has come before all jobs of a queue had run.

    Attributes:
        count: How many are lost.
    """

    count: int
