"""What happens when a service ends."""

from dataclasses import dataclass
from enum import StrEnum

from hostkit._values.backoff import Backoff
from hostkit._values.durations import to_seconds
from hostkit._values.frozen import Value


class EndAction(StrEnum):
    """What the end of a service means for the host."""

    STOP_HOST = "stop-host"
    """The host stops; with a failure if the service failed."""
    IGNORE = "ignore"
    """The host goes on; a failure is logged and shown in the status."""


@dataclass(frozen=True, eq=False, repr=False)
class Restart(Value):
    """Run a service again when it ends: its ``stop()``, the backoff, then ``start()`` and ``execute()`` once more.

    A policy begins when the service was first ready, and ends with the stop of the host.

    Attributes:
        limit: How often in a row it may end; one time more is a `RestartLimitError`. None for no limit. Failures and
            returns count apart.
        reset_after: A run that was ready for this many seconds starts the counts and the delays afresh.
        backoff: The delays.
        on_stall: Whether a run that is stalled (see ``heartbeat_timeout`` of `HostBuilder.add_service`) is cancelled
            and counted as a failure.
        then: What follows when the limit is passed.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: *limit* or *reset_after* is negative.
    """

    limit: int | None = 5
    reset_after: float = 60.0
    backoff: Backoff = Backoff()  # noqa: RUF009  # frozen
    on_stall: bool = False
    then: EndAction = EndAction.STOP_HOST

    def __post_init__(self) -> None:
        """Check the values."""
        if self.limit is not None and (type(self.limit) is not int or self.limit < 0):
            message = f"limit must be an int, 0 or more, or None, got {self.limit!r}"
            raise (ValueError if type(self.limit) is int else TypeError)(message)
        object.__setattr__(self, "reset_after", to_seconds(self.reset_after, "reset_after"))
        for name, kind in (("backoff", Backoff), ("on_stall", bool), ("then", EndAction)):
            if not isinstance(getattr(self, name), kind):
                message = f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}"
                raise TypeError(message)
