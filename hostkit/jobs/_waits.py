"""The waits for jobs and for a queue: refused where they cannot end, and reported where all that runs waits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from hostkit._execution.event_loop import ThreadSafeEvent
from hostkit._execution.executor import Executor
from hostkit._execution.inbox import Inbox
from hostkit.jobs._errors import JobStateError
from hostkit.jobs._job import JobRecord


class Waits:
    """Who waits for a job of a queue, for room in it, or until it is idle."""

    def __init__(
        self,
        executor: Executor[JobRecord],
        inbox: Inbox,
        on_blocked: Callable[[list[JobRecord]], None],
    ) -> None:
        """Call *on_blocked* with the jobs that run when each of them waits, and none can begin."""
        self._executor = executor
        self._inbox = inbox
        self._on_blocked = on_blocked
        self._waiting: dict[JobRecord, int] = {}
        self._reported: set[int] = set()
        self._idle: ThreadSafeEvent | None = None

    async def wait_for(self, job: JobRecord) -> None:
        """Wait until *job* has ended.

        Raises:
            JobStateError: The job itself waits, or a task that it has started.
        """
        if self._calling_job() is job:
            raise JobStateError(job.name, job.state, "it would wait for its own end, for ever")
        with self._inbox.lock:
            ended = job.ended_event()
        with self.counted():
            await ended.wait()

    async def wait_until(self, is_idle: Callable[[], bool]) -> None:
        """Wait until *is_idle*, which is looked at whenever `notify_idle` is called.

        Raises:
            JobStateError: A job of the queue waits.
        """
        job = self._calling_job()
        if job is not None:
            raise JobStateError(job.name, job.state, "a job that waits until its queue is idle would wait for ever")
        await anyio.lowlevel.checkpoint()
        while True:
            with self._inbox.lock:
                if is_idle():
                    return
                idle = self._idle = self._idle or ThreadSafeEvent()
            await idle.wait()

    def notify_idle(self) -> None:
        """Have those who wait until the queue is idle look again."""
        with self._inbox.lock:
            idle, self._idle = self._idle, None
        if idle is not None:
            idle.set()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the job that calls this, if one does, as one that waits for its own queue."""
        job = self._calling_job()
        if job is None:
            yield
            return
        waiting = self._waiting
        waiting[job] = waiting.get(job, 0) + 1
        if len(waiting) >= self._executor.limit:
            numbers = {other.id for other in waiting}
            if numbers != self._reported:  # a wait with a timeout comes again and again
                self._reported = numbers
                self._on_blocked(list(waiting))
        try:
            yield
        finally:
            waiting[job] -= 1
            if not waiting[job]:
                del waiting[job]

    def _calling_job(self) -> JobRecord | None:
        """Return the job whose task calls this, or has started the task that does."""
        return self._executor.current() if self._inbox.in_loop else None
