"""A job that a schedule makes: one for each planned instant, over any number of hosts."""

from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

import anyio
import psycopg
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from hostkit import Backoff, StoppingToken
from hostkit.ext.procrastinate import _statements
from hostkit.ext.procrastinate._log import cause_of
from hostkit.scheduling import Run, Schedule

TICKS_KEPT = 7 * 86_400
"""Seconds for which it is known that an instant has had its job: a host may lag so far behind."""
DEFER_TIMEOUT = 30.0
"""Seconds in which the database must answer; a connection may fall silent."""
BACKOFF = Backoff(initial=1, maximum=30)
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError)
"""What a database is away with."""


def defer(  # noqa: PLR0913  # one for each option of a job
    app: App,
    task_name: str,
    *,
    queue: str | None = None,
    lock: str | None = None,
    queueing_lock: str | None = None,
    priority: int | None = None,
    **task_kwargs: object,
) -> Callable[[StoppingToken, Run], Awaitable[None]]:
    """Return a function for `hostkit.scheduling.Scheduler.add` that makes a job of *app* when it is called.

    Any number of hosts may have the same schedule, by the same name: each planned instant has one job, also when one
    of the hosts is late. The code of the task need not be there; a name that no worker knows is accepted, and the job
    fails on the worker. The task is called with *task_kwargs* and, as the engine's own periodic tasks are, with
    ``timestamp``, the planned instant in whole seconds since 1970.

    The app must be open: add the scheduler after the `ProcrastinateWorker`, or after what opens it. With the database
    away it tries again until the stop; a run that is due meanwhile is left out.

    Args:
        app: The app.
        task_name: Name of the task.
        queue: Name of the queue; the task's if it is known here, else ``"default"``.
        lock: No two jobs with the same lock run at a time. The task's if not given, as are the following.
        queueing_lock: No two jobs with the same one wait; where one does already, none is made.
        priority: Jobs with a higher one run first; 0 where nothing else is said.
        task_kwargs: Arguments of the task; what JSON can hold.

    Raises:
        TypeError: *task_name* is no str, or *task_kwargs* has a ``timestamp``.
        ValueError: At a run: the schedule is an interval (`hostkit.scheduling.Every`), whose ticks are each host's own.
    """
    if not isinstance(task_name, str):
        message = f"task_name must be a str, got {task_name!r}"
        raise TypeError(message)
    if "timestamp" in task_kwargs:
        message = "timestamp is the planned instant, and not to be given"
        raise TypeError(message)
    options: dict[str, Any] = {"lock": lock, "queueing_lock": queueing_lock, "priority": priority}
    if queue is not None:
        options["queue"] = queue

    async def defer_job(stopping_token: StoppingToken, run: Run) -> None:
        require_shared_instants(run.scheduled_job.schedule)
        tries = 0
        while True:
            try:
                with anyio.fail_after(DEFER_TIMEOUT):
                    return await _defer_once(app, task_name, run, options, task_kwargs)
            except (ConnectorException, TimeoutError) as error:
                if not isinstance(error.__cause__ or error, AWAY):
                    raise  # the database is there, and refuses the job
                tries += 1
                if tries == 1:
                    logger.warning("no job {} yet, tried again: {}", task_name, cause_of(error))
                with stopping_token.cancel_on_stop():
                    await anyio.sleep(BACKOFF.delay(tries))
                if stopping_token.stop_requested:
                    raise

    return defer_job


def require_shared_instants(schedule: Schedule) -> None:
    """Refuse a schedule whose instants are each host's own."""
    if schedule.period is not None:
        message = (
            f"{schedule!r} has no instants that hosts share, so that each would make a job of its own; "
            "defer() needs a Daily, Weekly, Monthly or Cron"
        )
        raise ValueError(message)


async def _defer_once(
    app: App, task_name: str, run: Run, options: dict[str, Any], task_kwargs: dict[str, object]
) -> None:
    timestamp = int(run.planned.timestamp())
    prefix = f"{run.scheduled_job.name}@"
    # The engine forgets earlier instants of one id: a host that is late would make its job a second time.
    # Hosts may name it by clocks of different zones.
    periodic_id = prefix + run.planned.astimezone(UTC).isoformat()
    deferrer = app.configure_task(task_name, task_kwargs={**task_kwargs, "timestamp": timestamp}, **options)
    try:
        number = await app.job_manager.defer_periodic_job(
            job=deferrer.job, periodic_id=periodic_id, defer_timestamp=timestamp
        )
    except AlreadyEnqueued:
        logger.info("no job {} for {}: one waits with its queueing lock", task_name, run.planned)
        return
    if number is None:
        return  # another host was first
    logger.info("job {}[{}] for {}", task_name, number, run.planned)
    await app.connector.execute_query_async(
        _statements.FORGET_TICKS, task=task_name, prefix=prefix, before=timestamp - TICKS_KEPT
    )
