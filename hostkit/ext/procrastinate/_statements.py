"""What is asked of the database beyond the engine's own statements, by its own functions where it has one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from procrastinate import App
from procrastinate.jobs import Job
from procrastinate.manager import get_channel_for_queues

from hostkit.ext.procrastinate._retry import ABORTED_MARK, SWEPT_MARK

(ANY_QUEUE,) = get_channel_for_queues()
(ONE_QUEUE,) = get_channel_for_queues([""])
"""The channels on which workers listen; with the name of a queue appended, the one of that queue."""

# The engine notifies of rows that are inserted, and of none that is given back.
NOTIFY = """
SELECT pg_notify(channel, json_build_object('type', 'job_inserted', 'job_id', job.id)::text)
  FROM procrastinate_jobs AS job, unnest(ARRAY[%(one)s || job.queue_name, %(any)s]) AS channel
 WHERE job.id = ANY(%(ids)s) AND job.status = 'todo'
"""
KEPT = """
SELECT id, status FROM procrastinate_jobs
 WHERE id = ANY(%(ids)s)
   AND (status = 'failed' OR status = 'doing' AND (worker_id IS NULL OR worker_id = ANY(%(workers)s)))
"""
# Since it was last retried by hand. The event that a job has gone back comes right after the one for when it is due.
RUNS = """
WITH event AS (
    SELECT type, lag(at, 1, 'infinity') OVER (ORDER BY id) AS due
      FROM procrastinate_events
     WHERE job_id = %(id)s
       AND id > coalesce((SELECT max(id) FROM procrastinate_events WHERE job_id = %(id)s AND type = 'retried'), 0)
)
SELECT count(*) FILTER (WHERE due NOT IN (%(aborted)s, %(swept)s)) AS failures,
       count(*) FILTER (WHERE due = %(swept)s) AS sweeps
  FROM event WHERE type = 'deferred_for_retry'
"""
# Between the look and the deed another host may have swept the job up, and a worker have begun it: the engine counts an
# attempt then.
GIVE_BACK = """
WITH job AS MATERIALIZED (
    SELECT id, abort_requested FROM procrastinate_jobs
     WHERE id = %(id)s AND status = 'doing' AND attempts = %(attempts)s
       FOR UPDATE SKIP LOCKED
)
SELECT CASE WHEN job.abort_requested THEN 'failed' ELSE 'todo' END AS state,
       procrastinate_retry_job_v2(job.id, %(at)s, NULL, NULL, NULL) FROM job
"""
FAIL = """
WITH job AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs
     WHERE id = %(id)s AND status = 'doing' AND attempts = %(attempts)s
       FOR UPDATE SKIP LOCKED
)
SELECT job.id, procrastinate_finish_job_v1(job.id, 'failed', false) FROM job
"""
ELSEWHERE = "SELECT id FROM procrastinate_jobs WHERE id = %(id)s AND attempts <> %(attempts)s"
RETRY = """
WITH job AS (
    UPDATE procrastinate_jobs SET abort_requested = false WHERE id = %(id)s AND status = 'failed' RETURNING id
)
SELECT job.id, procrastinate_retry_job_v2(job.id, now(), NULL, NULL, NULL) FROM job
"""
DELETE = "DELETE FROM procrastinate_jobs WHERE id = %(id)s AND status = 'failed' RETURNING id"
COUNTS = """
SELECT status, count(*) AS number FROM procrastinate_jobs
 WHERE %(queues)s::varchar[] IS NULL OR queue_name = ANY(%(queues)s)
 GROUP BY status
"""
# A job waits since its instant, if it has one, or since it has gone back, where that is a mark of 1970; or else since
# it was deferred.
OLDEST = """
WITH ready AS (
    SELECT id, scheduled_at FROM procrastinate_jobs
     WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
       AND (%(queues)s::varchar[] IS NULL OR queue_name = ANY(%(queues)s))
)
SELECT extract(epoch FROM now() - least(
    (SELECT min(scheduled_at) FROM ready WHERE scheduled_at > '1970-01-02'),
    (SELECT min(at) FROM (
        SELECT max(at) AS at FROM procrastinate_events
         WHERE type = 'deferred_for_retry' AND job_id IN (SELECT id FROM ready WHERE scheduled_at <= '1970-01-02')
         GROUP BY job_id) AS back),
    (SELECT min(at) FROM procrastinate_events
      WHERE type = 'deferred' AND job_id = (SELECT min(id) FROM ready WHERE scheduled_at IS NULL))
))::float AS seconds
"""
WAITING = """
SELECT count(*) AS number FROM procrastinate_jobs
 WHERE status = 'todo' AND (%(queues)s::varchar[] IS NULL OR queue_name = ANY(%(queues)s))
"""
# By the index of the events, from the newest: nothing has one for jobs that have ended. A job may have ended before.
RECENT = """
SELECT job.id, job.task_name, job.queue_name, job.args, job.status, job.attempts, ended.at
  FROM procrastinate_events AS ended JOIN procrastinate_jobs AS job ON job.id = ended.job_id
 WHERE ended.type IN ('succeeded', 'failed', 'cancelled', 'aborted')
   AND job.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
   AND (%(queues)s::varchar[] IS NULL OR job.queue_name = ANY(%(queues)s))
   AND NOT EXISTS (
       SELECT FROM procrastinate_events AS later
        WHERE later.job_id = job.id AND later.id > ended.id
          AND later.type IN ('succeeded', 'failed', 'cancelled', 'aborted')
       )
 ORDER BY ended.id DESC LIMIT %(limit)s
"""
FAILED = """
SELECT job.id, job.task_name, job.queue_name, job.args, job.status, job.attempts, ended.at
  FROM procrastinate_jobs AS job
  LEFT JOIN LATERAL (
       SELECT at FROM procrastinate_events WHERE job_id = job.id AND type = 'failed' ORDER BY id DESC LIMIT 1
       ) AS ended ON true
 WHERE job.status = 'failed' AND (%(queues)s::varchar[] IS NULL OR job.queue_name = ANY(%(queues)s))
 ORDER BY job.id DESC LIMIT %(limit)s
"""
FORGET_TICKS = """
DELETE FROM procrastinate_periodic_defers
 WHERE task_name = %(task)s AND starts_with(periodic_id, %(prefix)s) AND defer_timestamp < %(before)s
"""


@dataclass(frozen=True)
class Runs:
    """How the earlier runs of a job have ended that did not succeed, since it was last retried by hand.

    Attributes:
        failures: How many have failed.
        sweeps: How many have ended with their worker.
    """

    failures: int
    sweeps: int


async def earlier_runs(app: App, job_id: int) -> Runs:
    """Return how the earlier runs of a job have ended."""
    row = await app.connector.execute_query_one_async(RUNS, id=job_id, aborted=ABORTED_MARK, swept=SWEPT_MARK)
    return Runs(row["failures"], row["sweeps"])


async def notify(app: App, ids: Iterable[int]) -> None:
    """Notify all workers of jobs that wait again."""
    await app.connector.execute_query_async(NOTIFY, ids=list(ids), one=ONE_QUEUE, any=ANY_QUEUE)


async def kept(app: App, jobs: Sequence[Job]) -> dict[int, str]:
    """Return which of *jobs* have not gone back, by number: "doing" as their run has them still, or "failed"."""
    workers = [job.worker_id for job in jobs if job.worker_id is not None]
    rows = await rows_of(app, KEPT, ids=[job.id for job in jobs], workers=workers)
    return {row["id"]: row["status"] for row in rows}


async def give_back(app: App, job: Job, mark: datetime) -> str | None:
    """Have a job run again that a worker has left, for the reason that *mark* stands for.

    Returns:
        Its new state: "todo", or "failed" if it was to be cancelled. None if another has been quicker.
    """
    rows = await rows_of(app, GIVE_BACK, id=job.id, attempts=job.attempts, at=mark)
    return rows[0]["state"] if rows else None


async def is_elsewhere(app: App, job: Job) -> bool:
    """Return whether a job was taken from its run, as its worker was silent for too long, and runs again."""
    return bool(await rows_of(app, ELSEWHERE, id=job.id, attempts=job.attempts))


async def fail(app: App, job: Job) -> bool:
    """Have a stalled job be failed; return False if another has been quicker."""
    return bool(await rows_of(app, FAIL, id=job.id, attempts=job.attempts))


async def rows_of(app: App, statement: str, **arguments: object) -> list[dict[str, Any]]:
    """Return the rows that *statement* gives."""
    # The statements are constants of this module.
    return await app.connector.execute_query_all_async(statement, **arguments)  # pyright: ignore[reportArgumentType]
