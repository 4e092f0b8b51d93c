"""What a queue in memory would lose at its stop, handed over to the engine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import anyio
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job as EngineJob
from procrastinate.tasks import Task

from hostkit import HostkitError
from hostkit.ext.procrastinate import _database
from hostkit.jobs import Job

AT_ONCE = 500
"""How many jobs go in one statement: one by one, a long queue takes more time than a stop has."""


def hand_over(app: App) -> Callable[[Sequence[Job[object]]], Awaitable[None]]:
    """Return a function for ``JobQueue(on_lost=...)`` that makes jobs of *app* out of those that the stop would lose.

    They must be calls of tasks of the app, enqueued as ``queue.enqueue(send_welcome, 7)``: of the task itself or of its
    function. Their arguments are named after the function's parameters, so none may be positional-only or of ``*args``,
    and must be what JSON can hold. A key is the queueing lock, so that a job that waits with it already stands for
    both; a delay is kept, attempts are not. Where a connection ends before it has told that jobs are made, they are
    made once more.

    Add the queue after the `ProcrastinateWorker`, so that it stops first; an app that is not open is opened for it.

    Raises:
        HostkitError: At the stop: some could not be handed over, each of which is named in the log.
    """

    async def on_lost(jobs: Sequence[Job[object]]) -> None:
        tasks = {id(called): task for task in app.tasks.values() for called in (task, task.func)}
        failed = 0
        async with _database.opened(app):
            for first in range(0, len(jobs), AT_ONCE):
                failed += await _hand_over(app, tasks, jobs[first : first + AT_ONCE])
        logger.info("handed over to procrastinate: {} jobs", len(jobs) - failed)
        if failed:
            message = f"{failed} of {len(jobs)} jobs could not be handed over to procrastinate, and are lost"
            raise HostkitError(message)

    return on_lost


async def _hand_over(app: App, tasks: Mapping[int, Task[Any, Any, Any]], jobs: Sequence[Job[object]]) -> int:
    """Hand *jobs* over, each alone if one of them cannot be; return how many were not."""
    try:
        made = [_made(job, tasks.get(id(job.function))) for job in jobs]
        await app.job_manager.batch_defer_jobs_async(made)
    except Exception as error:  # noqa: BLE001  # of one job; the others are still to be handed over
        if len(jobs) > 1:
            return sum([await _hand_over(app, tasks, [job]) for job in jobs])
        (job,) = jobs
        if not isinstance(error, AlreadyEnqueued):
            logger.error("job {} {} was not handed over: {}", job.id, job.name, error)
            return 1
        logger.info("job {} {}: one waits with the key {!r} already", job.id, job.name, job.key)
    return 0


def _made(job: Job[object], task: Task[Any, Any, Any] | None) -> EngineJob:
    """Return *job* as one of the engine's."""
    if task is None:
        message = f"{job.function!r} is no task of the app"
        raise HostkitError(message)
    context = (None,) if task.pass_context else ()
    bound = signature(task.func).bind(*context, *job.args, **job.kwargs)
    arguments: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[len(context) :]:
        parameter = bound.signature.parameters[name]
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
            message = f"procrastinate gives arguments by name, and {parameter} takes none"
            raise HostkitError(message)
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= value
        else:
            arguments[name] = value
    left = 0.0 if job.due_at is None else job.due_at - anyio.current_time()
    delay = {"schedule_in": {"seconds": left}} if left > 0 else {}
    key = None if job.key is None else str(job.key)
    return task.configure(queueing_lock=key, task_kwargs=arguments, **delay).job  # type: ignore[arg-type]
