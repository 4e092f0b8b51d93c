"""What a queue in memory would lose at its stop, handed over to the engine."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import signature
from typing import Any

import anyio
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.tasks import Task

from hostkit import HostkitError
from hostkit.ext.procrastinate import _database
from hostkit.jobs import Job


def hand_over(app: App) -> Callable[[Sequence[Job[object]]], Awaitable[None]]:
    """Return a function for ``JobQueue(on_lost=...)`` that makes jobs of *app* out of those that the stop would lose.

    They must be calls of tasks of the app, enqueued as ``queue.enqueue(send_welcome, 7)``: of the task itself or of its
    function. Their arguments are named after the function's parameters, so none may be positional-only or of ``*args``,
    and must be what JSON can hold. A key is the queueing lock, so that a job that waits with it already stands for
    both; a delay is kept, attempts are not.

    Add the queue after the `ProcrastinateWorker`, so that it stops first; an app that is not open is opened for it.

    Raises:
        HostkitError: At the stop: some could not be handed over, each of which is named in the log.
    """

    async def on_lost(jobs: Sequence[Job[object]]) -> None:
        tasks = {id(called): task for task in app.tasks.values() for called in (task, task.func)}
        failed = 0
        async with _database.opened(app):
            for job in jobs:
                try:
                    await _hand_over(job, tasks.get(id(job.function)))
                except AlreadyEnqueued:
                    logger.info("job {} {}: one waits with the key {!r} already", job.id, job.name, job.key)
                except Exception as error:  # noqa: BLE001  # of one job; the others are still to be handed over
                    failed += 1
                    logger.error("job {} {} was not handed over: {}", job.id, job.name, error)
        logger.info("handed over to procrastinate: {} jobs", len(jobs) - failed)
        if failed:
            message = f"{failed} of {len(jobs)} jobs could not be handed over to procrastinate, and are lost"
            raise HostkitError(message)

    return on_lost


async def _hand_over(job: Job[object], task: Task[Any, Any, Any] | None) -> None:
    if task is None:
        message = f"{job.function!r} is no task of the app"
        raise HostkitError(message)
    context = (None,) if task.pass_context else ()
    bound = signature(task.func).bind(*context, *job.args, **job.kwargs)
    names = list(bound.signature.parameters)[len(context) :]
    arguments: dict[str, Any] = {}
    for name in names:
        if name in bound.arguments:
            parameter = bound.signature.parameters[name]
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
                message = f"procrastinate gives arguments by name, and {parameter} takes none"
                raise HostkitError(message)
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= bound.arguments[name]
            else:
                arguments[name] = bound.arguments[name]
    left = 0.0 if job.due_at is None else job.due_at - anyio.current_time()
    delay = {"schedule_in": {"seconds": left}} if left > 0 else {}
    key = None if job.key is None else str(job.key)
    await task.configure(queueing_lock=key, **delay).defer_async(**arguments)  # type: ignore[arg-type]  # as above
