"""What there is to see of a queue, from any thread: counts, the jobs that it knows, and where they are."""

import math
from collections.abc import Iterator

from hostkit._execution.stack import coroutine_line
from hostkit.jobs._dispatcher import Dispatcher
from hostkit.jobs._history import snapshot
from hostkit.jobs._job import RUNNING, SUCCEEDED, WAITING, JobRecord, JobState

MAX_SHOWN = 20
"""How many of the jobs that run the status shows."""


class Inspection:
    """Reads a queue, without a change to it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        """Read *dispatcher*."""
        self._dispatcher = dispatcher

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state, since the queue was made; their sum was accepted."""
        dispatcher = self._dispatcher
        with dispatcher.inbox.lock:
            counts = dispatcher.history.counts() | dispatcher.delayed.counts
            begun = dispatcher.admission.begun
            ended = counts[JobState.FAILED] + counts[JobState.CANCELLED] + counts[JobState.LOST]
            # Another thread may read this while a job begins or ends.
            counts[RUNNING] = min(dispatcher.executor.running_count, begun - ended)
            counts[SUCCEEDED] = begun - ended - counts[RUNNING]
            counts[WAITING] = dispatcher.admission.accepted - begun
            counts[WAITING] -= counts[JobState.DELAYED] + counts[JobState.RETRYING]
        return {state: counts[state] for state in JobState}

    def oldest_waiting_age(self) -> float:
        """Return for how many seconds the next job has been ready, 0 if there is none."""
        job = next(self._ready(), None)
        since = None if job is None else job.enqueued_at if job.due_at is None else job.due_at
        return 0.0 if since is None else self._dispatcher.time() - since

    def waiting(self) -> Iterator[JobRecord]:
        """Return the jobs that have not begun: ready ones in their order, then those with a time by that."""
        yield from self._ready()
        dispatcher = self._dispatcher
        with dispatcher.inbox.lock:
            later = list(dispatcher.delayed)
        yield from sorted(later, key=lambda job: (math.inf if job.due_at is None else job.due_at, job.id))

    def find(self, number: int) -> JobRecord | None:
        """Return the job with this number, if it waits, runs or is kept."""
        dispatcher = self._dispatcher
        history = dispatcher.history
        places = (dispatcher.executor.running, lambda: history.failed, lambda: history.lost, self.waiting)
        for place in (*places, lambda: snapshot(history.recent)):
            for job in place():
                if job.id == number:
                    return job
        return None

    def running_in_detail(self) -> list[dict[str, object]]:
        """Return the jobs that run, some at most, each with the line of the user's own where it is."""
        dispatcher = self._dispatcher
        now = dispatcher.time()
        return [
            {
                "id": job.id,
                "name": job.name,
                "attempt": job.attempts,
                "seconds": None if job.started_at is None else now - job.started_at,
                "line": (job.call and job.call.line()) or coroutine_line(dispatcher.executor.coroutine_of(job)),
            }
            for job in dispatcher.executor.running()[:MAX_SHOWN]
        ]

    def _ready(self) -> Iterator[JobRecord]:
        return (job for job in snapshot(self._dispatcher.executor.ready) if job.state is WAITING)
