"""What a job has raised, without what belongs to its queue; and the function that is to hear of failed jobs."""

from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutine

import anyio
from anyio.abc import TaskGroup

from hostkit._execution.executor import scope_is_cancelled
from hostkit._values.exceptions import has_cancellation, part_of
from hostkit.jobs._job import JobRecord


def without_cancellations(error: BaseException) -> BaseException | None:
    """Return what of *error* is no cancellation, None if nothing is."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, cancelled):
        return None
    if isinstance(error, Exception) or not isinstance(error, BaseExceptionGroup):
        return error
    return part_of(error, lambda inner: not isinstance(inner, (cancelled, BaseExceptionGroup)))


class FailureHook:
    """Calls ``on_failed`` at once; what it returns to be awaited is, for one job after the other, beside the jobs."""

    def __init__(
        self, function: Callable[[JobRecord], object] | None, on_error: Callable[[BaseException, JobRecord], None]
    ) -> None:
        """Call *function*, or nothing; what it raises is for *on_error*."""
        self._function = function
        self._on_error = on_error
        self._answers: deque[tuple[JobRecord, Awaitable[object]]] = deque()
        self._busy = False
        self._group: TaskGroup | None = None

    def open(self, group: TaskGroup) -> None:
        """Await what it returns in a task of *group*."""
        self._group = group
        self._answers.clear()
        self._busy = False

    def submit(self, job: JobRecord) -> None:
        """Call it for *job*."""
        if self._function is None:
            return
        try:
            answer = self._function(job)
        except BaseException as error:  # noqa: BLE001  # the user's function
            self._on_error(error, job)
            return
        if not isawaitable(answer):
            return
        self._answers.append((job, answer))
        if not self._busy:
            assert self._group is not None
            self._busy = True
            self._group.start_soon(self._run, name="hostkit jobs: on_failed")

    def take_untold(self) -> list[JobRecord]:
        """Take out the jobs for which what it has returned was not awaited."""
        untold, self._answers = self._answers, deque()
        for _, answer in untold:
            if iscoroutine(answer):
                answer.close()
        return [job for job, _ in untold]

    async def _run(self) -> None:
        try:
            while self._answers:
                job, answer = self._answers.popleft()
                try:
                    await answer
                except BaseException as error:
                    if has_cancellation(error) and await scope_is_cancelled():
                        raise
                    self._on_error(error, job)
        finally:
            self._busy = False
