"""What has become of jobs: the last ones, the failed ones, the lost ones, and how many."""

from collections import Counter, deque

from hostkit.jobs._job import Job, JobState

AnyJob = Job[object]


class Ledger:
    """The ends of a queue's jobs.

    Attributes:
        ended: The last ones, whatever came of them.
        failed: The last ones that have failed.
        lost: Those that this life of the host has lost.
        reported: How many of these the log has told of.
        counts: How many have ended in which way; not those that succeeded, for these are what is left over of the
            accepted ones, and counting them would be the one thing that a good job costs here.
    """

    def __init__(self, size: int) -> None:
        """Keep the last *size*."""
        self.ended: deque[AnyJob] = deque(maxlen=size)
        self.failed: deque[AnyJob] = deque(maxlen=size)
        self.lost: list[AnyJob] = []
        self.reported = 0
        self.counts: Counter[JobState] = Counter()

    def open(self) -> None:
        """Begin a new life."""
        self.lost = []
        self.reported = 0

    def enter(self, job: AnyJob) -> None:
        """Write down a job that has ended, and not well."""
        self.counts[job._state] += 1
        self.ended.append(job)
        if job._state is JobState.FAILED:
            self.failed.append(job)
        elif job._state is JobState.LOST:
            self.lost.append(job)

    def strike(self, job: AnyJob) -> None:
        """Take a failed job off its list, if it is still on it."""
        if job in self.failed:
            self.failed.remove(job)
