"""Background jobs in memory: now or later, retried, and honest about what was lost."""

from hostkit.jobs._errors import JobCancelledError, JobStateError, QueueClosedError, QueueFullError, RetryAfterError
from hostkit.jobs._job import Job, JobState
from hostkit.jobs._queue import JobQueue
from hostkit.jobs._retry import Retry

__all__ = [
    "Job",
    "JobCancelledError",
    "JobQueue",
    "JobState",
    "JobStateError",
    "QueueClosedError",
    "QueueFullError",
    "Retry",
    "RetryAfterError",
]
