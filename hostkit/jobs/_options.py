"""What `with_options` says of a job."""

from collections.abc import Hashable

from hostkit._values.durations import Duration, to_seconds
from hostkit._values.text import repr_of
from hostkit.jobs._retry import Retry

LONGEST_TIMEOUT = 3e9
"""Seconds, about a century: what is longer is no limit, and more than event loops take."""


class Options:
    """How a job is to be run; shared by all jobs that were enqueued in the same way."""

    __slots__ = ("key", "name", "retry", "runs_again", "timeout")

    def __init__(
        self,
        *,
        retry: Retry,
        timeout: float | None,
        key: Hashable = None,
        name: str | None = None,
    ) -> None:
        """Keep what was checked."""
        self.retry = retry
        self.runs_again = retry.attempts > 1
        self.timeout = timeout
        self.key = key
        self.name = name

    def replaced(self, *, key: Hashable, retry: Retry | None, timeout: Duration | None, name: str | None) -> "Options":
        """Return other options; None keeps what there is.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: *timeout* is 0, negative or NaN.
        """
        if name is not None and (type(name) is not str or not name):
            message = f"name must be a str that is not empty, got {name!r}"
            raise TypeError(message)
        try:
            hash(key)
        except Exception as error:
            message = f"key must be hashable, got {repr_of(key)}"
            raise TypeError(message) from error
        return Options(
            retry=self.retry if retry is None else checked_retry(retry),
            timeout=self.timeout if timeout is None else checked_timeout(timeout),
            key=self.key if key is None else key,
            name=self.name if name is None else name,
        )


def checked_retry(retry: object) -> Retry:
    """Return *retry*.

    Raises:
        TypeError: It is no `Retry`.
    """
    if not isinstance(retry, Retry):
        message = f"retry must be a Retry(...), got {retry!r}"
        raise TypeError(message)
    return retry


def checked_timeout(timeout: Duration | None) -> float | None:
    """Return the seconds after which a run is cancelled, None for no limit.

    Raises:
        TypeError: *timeout* is no duration.
        ValueError: *timeout* is 0, negative or NaN.
    """
    if timeout is None:
        return None
    seconds = to_seconds(timeout, "timeout")
    if not seconds:
        message = "timeout must be more than 0 seconds; math.inf for no limit"
        raise ValueError(message)
    return None if seconds > LONGEST_TIMEOUT else seconds
