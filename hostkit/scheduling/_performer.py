"""How a job is called: with or without the token, on the event loop or on a thread, within its timeout."""

from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

import anyio

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit._execution.daemon_thread import DaemonThreads, ThreadCall
from hostkit.scheduling._log import Notes, RunLog
from hostkit.scheduling._run_record import Outcome, Run
from hostkit.scheduling._runners import Step

if TYPE_CHECKING:
    from hostkit.scheduling._job import ScheduledJob


class Performer:
    """Calls jobs, in one life of a scheduler."""

    def __init__(self, token: StoppingToken, threads: DaemonThreads, log: RunLog) -> None:
        """Call jobs with tokens that follow *token*."""
        self._token = token
        self._threads = threads
        self._log = log
        self.left_behind: dict[ThreadCall[object], str] = {}
        """The calls that nobody waits for any longer, and the names of their jobs."""

    def begin(self, job: "ScheduledJob", run: Run) -> Step:
        """Take a job's first step, in its own context; ``StopIteration`` if it was the only one."""
        # A cast would cost as much as the call, ten thousand times a second.
        coroutine: Coroutine[Any, Any, object]
        coroutine = job.function() if job._is_plain else self._perform(job, run)  # type: ignore[assignment]
        return coroutine, coroutine.send(None)

    async def _perform(self, job: "ScheduledJob", run: Run) -> None:
        if job._when is not None and not await _agrees(job._when, run):
            run.outcome = Outcome.SKIPPED
            run.reason = "when() said no"
        elif not job._takes_token:
            await self._call(job, run)
        else:
            # A token of its own, and not the scheduler's: a job that waits in that would pass for a scheduler that
            # waits, and jobs that share a task for one that goes on after the stop.
            token: StoppingToken | ThreadStoppingToken
            notes = Notes(job.name)
            token = StoppingToken(notes) if job._is_async else ThreadStoppingToken(notes.note_ignored_stop)
            undo = self._token.on_stop(token._set)
            try:
                await self._call(job, run, token)
            finally:
                undo()

    async def _call(self, job: "ScheduledJob", run: Run, *arguments: object) -> None:
        if job._is_async:
            await _within_timeout(cast("Awaitable[object]", job.function(*arguments)), job, run)
        else:
            await self._call_on_thread(job, run, job.function, *arguments)

    async def _call_on_thread(
        self, job: "ScheduledJob", run: Run, function: Callable[..., object], *arguments: object
    ) -> None:
        call = await self._threads.start(function, *arguments)
        run._began = anyio.current_time()  # it may have waited for a thread
        late: TimeoutError | None = None
        try:
            if job.timeout is not None:
                with anyio.move_on_after(job.timeout):
                    await call.returned.wait()
                if not call.returned.is_set():
                    late = _timeout(job, run)
                    self._log.tell_late(job)
            result = await call.wait()
        except BaseException:
            if not call.returned.is_set():
                call.abandon()
                self.left_behind[call] = job.name
            raise
        if isawaitable(result):
            await _within_timeout(result, job, run)
        if late is not None:
            raise late


async def _agrees(when: Callable[[], object], run: Run) -> bool:
    try:
        answer = when()
        if isawaitable(answer):
            answer = await answer
    except BaseException:
        run.reason = "when() failed"
        raise
    return bool(answer)


async def _within_timeout(work: Awaitable[object], job: "ScheduledJob", run: Run) -> None:
    if job.timeout is None:
        await work
        return
    with anyio.move_on_after(job.timeout) as scope:
        await work
    if scope.cancelled_caught:
        raise _timeout(job, run)


def _timeout(job: "ScheduledJob", run: Run) -> TimeoutError:
    run.reason = f"timed out after {job.timeout:g} s"
    return TimeoutError(run.reason)
