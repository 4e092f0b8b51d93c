"""What a queue raises of its own, and the one error that is for jobs to raise."""

from hostkit._values.durations import Duration, to_seconds
from hostkit._values.errors import HostkitError


class QueueFullError(HostkitError):
    """Raised when as many jobs wait as the queue has room for.

    Attributes:
        capacity: How many that are.
    """

    def __init__(self, capacity: int) -> None:
        """Say how many jobs wait."""
        super().__init__(f"the queue is full: {capacity} jobs wait in it")
        self.capacity = capacity


class QueueClosedError(HostkitError):
    """Raised when a job is enqueued after the queue's turn to stop has come, and before its next start.

    Attributes:
        job: Name of the job that was refused.
    """

    def __init__(self, job: str) -> None:
        """Name the job."""
        super().__init__(f"the queue is closed, as its turn to stop has come; job {job!r} was refused")
        self.job = job


class RetryAfterError(HostkitError):
    """To be raised by a job that knows when to try again, from what a server has answered, say.

    The run counts as one of the `Retry`'s attempts, whatever its ``on`` and ``not_on`` say; the wait is this one,
    instead of the backoff's.

    Attributes:
        seconds: How long to wait, in seconds.
    """

    def __init__(self, seconds: Duration) -> None:
        """Ask for another run after *seconds*, a number or a `timedelta`.

        Raises:
            TypeError: *seconds* is no duration.
            ValueError: *seconds* is negative or NaN.
        """
        self.seconds = to_seconds(seconds, "seconds")
        super().__init__(f"to be retried after {self.seconds:g} s")


class JobStateError(HostkitError):
    """Raised when something is asked of a job that its state does not allow.

    Attributes:
        job: Name of the job.
        state: Its state.
    """

    def __init__(self, job: str, state: str, problem: str) -> None:
        """Say which job, in which state, and what cannot be."""
        super().__init__(f"job {job!r} is {state}: {problem}")
        self.job = job
        self.state = state


class JobCancelledError(HostkitError):
    """The error of a job that was ended by a cancellation that its queue did not cause.

    For example: it awaited a future or a task that was cancelled elsewhere.

    Attributes:
        job: Name of the job.
    """

    def __init__(self, job: str) -> None:
        """Name the job."""
        super().__init__(f"job {job!r} was ended by a cancellation that did not come from its queue")
        self.job = job
