"""Whether and when a failed job is run again."""

from collections.abc import Callable
from dataclasses import dataclass

from hostkit._values.backoff import Backoff
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import require_sync
from hostkit._values.numbers import check_int
from hostkit.jobs._errors import RetryAfterError

Errors = type[Exception] | tuple[type[Exception], ...]
"""One kind of error, or several."""


@dataclass(frozen=True)
class Retry:
    """How often a job is run, how long between, and after which errors.

    A run that the stop of the host has cancelled is no attempt.

    Attributes:
        attempts: How many runs there are in all, the first included; 1 for no retry.
        backoff: How long to wait between two runs: a `Backoff`, or a function from the number of the run that has
            failed (1 for the first) to seconds or a `timedelta`. It must be short and synchronous.
        on: Which errors are retried.
        not_on: Which of these are not.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: *attempts* is less than 1.
    """

    attempts: int = 5
    backoff: Backoff | Callable[[int], Duration] = Backoff()  # noqa: RUF009  # frozen
    on: Errors = Exception
    not_on: Errors = ()

    def __post_init__(self) -> None:
        """Check the values."""
        check_int("attempts", self.attempts, 1)
        if not isinstance(self.backoff, Backoff):
            require_sync(self.backoff, "Retry(backoff=...)")
        for name in ("on", "not_on"):
            kinds = getattr(self, name)
            for kind in kinds if isinstance(kinds, tuple) else (kinds,):
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    message = f"{name} takes an exception class or a tuple of them, got {kind!r}"
                    raise TypeError(message)

    def delay(self, attempt: int, error: Exception) -> float | None:
        """Return the seconds until the run after *attempt*, which has failed with *error*; None if there is none."""
        if attempt >= self.attempts:
            return None
        if isinstance(error, RetryAfterError):
            return error.seconds
        if not isinstance(error, self.on) or isinstance(error, self.not_on):
            return None
        if isinstance(self.backoff, Backoff):
            return self.backoff.delay(attempt)
        return to_seconds(self.backoff(attempt), "what the backoff returns")
