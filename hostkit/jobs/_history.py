"""The jobs that have ended: the last ones, those that have failed, those that were lost, and how many in all."""

import sys
from collections import OrderedDict, deque
from collections.abc import Collection
from contextlib import suppress
from threading import RLock
from typing import TypeVar

from hostkit.jobs._job import JobRecord, JobState

T = TypeVar("T")


class History:
    """What is kept of jobs that have ended; a queue adds to it in its event loop, any thread may read it."""

    def __init__(self, length: int, lock: RLock) -> None:
        """Keep so many jobs, and so many that have failed."""
        length = min(length, sys.maxsize)
        self._length = length
        self._lock = lock
        self.recent: deque[JobRecord] = deque(maxlen=length)
        self._failed: OrderedDict[JobRecord, None] = OrderedDict()
        self._lost: dict[JobRecord, None] = {}
        self._counts: dict[JobState, int] = dict.fromkeys((JobState.FAILED, JobState.CANCELLED, JobState.LOST), 0)

    @property
    def failed(self) -> tuple[JobRecord, ...]:
        """The last jobs that have failed, the latest last."""
        with self._lock:
            return tuple(self._failed)

    @property
    def lost(self) -> tuple[JobRecord, ...]:
        """The jobs that the last stop has lost, in the order in which they were accepted."""
        with self._lock:
            return tuple(sorted(self._lost, key=lambda job: job.id))

    def counts(self) -> dict[JobState, int]:
        """Return how many have failed, were cancelled and were lost, ever."""
        with self._lock:
            return dict(self._counts)

    def add(self, job: JobRecord) -> None:
        """Add a job that has failed, was cancelled or was lost; what has succeeded is added to `recent` alone."""
        with self._lock:
            self._counts[job.state] += 1
            self.recent.append(job)
            if job.state is JobState.FAILED:
                self._failed[job] = None
                if len(self._failed) > self._length:
                    self._failed.popitem(last=False)
            elif job.state is JobState.LOST:
                self._lost[job] = None

    def remove(self, job: JobRecord) -> None:
        """Take *job* off those that have failed, and off those that were lost."""
        with self._lock:
            self._failed.pop(job, None)
            self._lost.pop(job, None)

    def forget_losses(self) -> None:
        """Begin to collect losses anew."""
        with self._lock:
            self._lost.clear()


def snapshot(items: Collection[T]) -> tuple[T, ...]:
    """Return *items* as they are now; the event loop may change them while another thread reads."""
    while True:
        with suppress(RuntimeError):  # they have changed in the middle: as rare as a switch of threads in it
            return tuple(items)
