"""The worker: a service that runs the jobs of procrastinate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskStatus
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued, UniqueViolation
from procrastinate.jobs import Status

from hostkit import BackgroundService, Backoff, StoppingToken
from hostkit._execution.event_loop import require_asyncio
from hostkit.ext.procrastinate import _database, _statements
from hostkit.ext.procrastinate._engine import bound_answers
from hostkit.ext.procrastinate._errors import WorkerNotRunningError
from hostkit.ext.procrastinate._log import one_line
from hostkit.ext.procrastinate._options import WorkerSettings, check_app, queue_names, warn_of_few_threads
from hostkit.ext.procrastinate._runner import Runner
from hostkit.ext.procrastinate._running import Errors

CHECK_TIMEOUT = 5.0
"""Seconds within which the database has to answer `ProcrastinateWorker.check`."""


@dataclass(frozen=True)
class JobSummary:
    """One job, as the database has it; ready for JSON with `dataclasses.asdict`.

    Attributes:
        id: Its number.
        task: Name of its task.
        queue: Name of its queue.
        state: As the engine calls it: ``"failed"``, ``"succeeded"`` …
        attempts: How often it ran or was retried by hand, as the engine counts: aborted runs are included.
        kwargs: The arguments.
        at: When it came into this state (ISO 8601, UTC), if known.
        error: Its last error in words, if it ran in this process: the engine keeps none.
    """

    id: int
    task: str
    queue: str
    state: str
    attempts: int
    kwargs: Mapping[str, object]
    at: str | None
    error: str | None


class ProcrastinateWorker(BackgroundService):
    """A service that runs the jobs of procrastinate, which keeps them in PostgreSQL.

    Jobs survive a crash, and run at least once: write them so that a second run does no harm. Add it after what its
    jobs need, with ``on_failure=Restart(limit=None)``. It is ready when the engine's tables are there and the database
    knows the worker; it waits for a database that is not there yet, within the host's ``startup_timeout``. It needs
    asyncio or uvloop.

    The app is opened and closed with the service, unless it is open already. Several workers may share one.

    Stopping:
        At its turn it fetches no more, and running jobs finish. Those that still run shortly before the service
        would be cancelled are aborted: they go back to the queue, other workers hear of them at once, and it
        counts neither as a failure nor as an attempt. A blocking job is asked by ``context.should_abort()``,
        and goes back when it raises ``procrastinate.exceptions.JobAborted`` or `JobCutError`.

    Failures:
        A worker of the engine that ends by itself, as with a database that is away, is replaced after a backoff; its
        jobs finish meanwhile. Jobs whose worker has gone are run again by whichever worker finds them. What jobs raise
        is their own failure, and none of the host's. Jobs that can neither be ended nor given back at the stop are a
        failure, `JobsNotReturnedError`.
    """

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        app: App,
        *,
        queues: Iterable[str] | None = None,
        concurrency: int = 10,
        heartbeat_every: float = 10,
        stalled_after: float = 60,
        sweep_every: float = 30,
        poll_every: float = 5,
        backoff: Backoff = Backoff(initial=1, maximum=30),  # noqa: B008  # frozen
        crash_limit: int = 10,
        keep_failures: int = 100,
        apply_schema: bool = False,
        **worker_options: object,
    ) -> None:
        """Make a worker for *app*; durations are seconds or `timedelta`.

        Args:
            app: The app, with a ``PsycopgConnector``. ``import_paths`` has it find its tasks.
            queues: Names of the queues whose jobs it runs, and sweeps up; all if not given.
            concurrency: How many jobs run at a time. Blocking ones share the threads of the event loop's default
                executor, of which there are a few more than processors.
            heartbeat_every: How often it says that it is alive.
            stalled_after: How old its last heartbeat is when others take it for dead, and run its jobs again; at least
                three times *heartbeat_every*.
            sweep_every: How often it looks for such jobs of others.
            poll_every: How often it looks for jobs that it has not heard of, such as those whose delay is over.
            backoff: How long to wait until a new worker begins after one that has ended by itself.
            crash_limit: A job whose worker has gone so many times while it ran is failed.
            keep_failures: How many last errors are kept in memory, for `failed` and `recent`.
            apply_schema: Whether to create the engine's tables if there are none; see `apply_schema`.
            worker_options: Further options of the engine's worker: ``name``, ``delete_jobs``, ``listen_notify``,
                ``abort_job_polling_interval``, ``additional_context``, ``task_middleware``, ``worker_middleware``.

        Raises:
            TypeError: An option is of the wrong type, or makes no sense inside a host, or there is no such option.
            ValueError: A number is too small.
        """
        check_app(app)
        bound_answers(app)
        self.app = app
        self._settings = WorkerSettings(
            queues=queue_names(queues),
            concurrency=concurrency,
            heartbeat_every=heartbeat_every,
            stalled_after=stalled_after,
            sweep_every=sweep_every,
            poll_every=poll_every,
            backoff=backoff,
            crash_limit=crash_limit,
            keep_failures=keep_failures,
            apply_schema=apply_schema,
            engine=worker_options,
        )
        self._errors = Errors(keep_failures)
        self._runner: Runner | None = None
        self._last_counts: Mapping[str, int] | None = None

    async def execute(
        self, stopping_token: StoppingToken, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run jobs; it is for the host to call."""
        require_asyncio("procrastinate")
        app, settings = self.app, self._settings
        app.perform_import_paths()  # type: ignore[no-untyped-call]
        warn_of_few_threads(app, settings.concurrency)
        name = settings.engine.get("name", app.worker_defaults.get("name", "worker"))
        runner: Runner | None = None
        try:
            async with _database.opened(app, apply_missing_schema=settings.apply_schema):
                with one_line(partial(_database.pool_name, app), str(name)) as log:
                    runner = self._runner = Runner(app, settings, stopping_token, self._errors, log)
                    try:
                        await runner.start()
                        task_status.started()
                        await runner.run()
                        await runner.finish()
                    finally:
                        self._runner = None
                        with anyio.CancelScope(shield=True):  # each step of it has a bound
                            await runner.end()
        finally:
            if runner is not None:
                with anyio.CancelScope(shield=True):  # likewise
                    await runner.leave()

    async def check(self) -> None:
        """Raise an error when no worker runs, or the database does not answer."""
        runner = self._require_runner()
        if runner.down_since is not None:
            message = f"no worker runs since {anyio.current_time() - runner.down_since:.0f} s; see the log"
            raise WorkerNotRunningError(message)
        with anyio.fail_after(CHECK_TIMEOUT):
            await self.app.check_connection_async()

    def details(self) -> Mapping[str, object]:
        """Return what it does, ready for JSON: nothing is asked of the database for it.

        ``waiting`` is as old as the last sweep, ``counts`` as the last `counts`.
        """
        settings, runner = self._settings, self._runner
        about: dict[str, object] = {
            "queues": settings.queues,
            "concurrency": settings.concurrency,
            "counts": self._last_counts,
            "last_error": self._errors.last(),
        }
        if runner is not None:
            now = anyio.current_time()
            about |= {
                "connected": runner.down_since is None,
                "restarts": runner.restarts,
                "swept": runner.sweep.swept,
                "crashed": runner.sweep.failed,
                "waiting": runner.sweep.waiting,
                "running": [
                    {
                        "id": running.job.id,
                        "task": running.job.task_name,
                        "attempt": running.job.attempts + 1,
                        "seconds": round(now - running.began, 3),
                        "waiting_at": running.line(),
                    }
                    for running in runner.running
                ],
            }
        return about

    async def counts(self) -> Mapping[str, int]:
        """Return how many jobs of its queues are in each state, as the engine calls them.

        It takes the longer the more jobs that have ended are kept.

        Raises:
            WorkerNotRunningError: The service has not started, or has ended; likewise the following.
        """
        rows = await self._rows(_statements.COUNTS)
        found = {row["status"]: row["number"] for row in rows}
        states = [status.value for status in Status if status is not Status.ABORTING]  # a word that it uses no more
        self._last_counts = {state: found.get(state, 0) for state in states}
        return self._last_counts

    async def oldest_waiting_age(self) -> float | None:
        """Return for how many seconds a job of its queues has been ready, the longest of them; None if none waits."""
        (row,) = await self._rows(_statements.OLDEST)
        seconds: float | None = row["seconds"]
        return None if seconds is None else max(0.0, seconds)

    async def failed(self, limit: int = 20) -> list[JobSummary]:
        """Return the last jobs of its queues that have failed for good, the newest first."""
        return await self._summaries(_statements.FAILED, limit)

    async def recent(self, limit: int = 20) -> list[JobSummary]:
        """Return the last jobs of its queues that have ended, on whichever worker, the latest first."""
        return await self._summaries(_statements.RECENT, limit)

    async def retry(self, job_id: int) -> bool:
        """Have a failed job run again, at once, with all its attempts.

        Returns:
            False if there is no such job, or it has not failed.

        Raises:
            procrastinate.exceptions.AlreadyEnqueued: Another job waits with its queueing lock.
        """
        self._require_runner()
        try:
            found = await _statements.rows_of(self.app, _statements.RETRY, id=job_id)
        except UniqueViolation as error:
            message = f"job {job_id} cannot be retried: another job waits with its queueing lock"
            raise AlreadyEnqueued(message) from error
        if found:
            await _statements.notify(self.app, [job_id])
        return bool(found)

    async def cancel(self, job_id: int) -> bool:
        """Cancel a job that waits, or ask one that runs to abort: an async one is cancelled, on whichever worker.

        Returns:
            False if there is no such job, or it has ended.
        """
        self._require_runner()
        return await self.app.job_manager.cancel_job_by_id_async(job_id, abort=True)

    async def delete(self, job_id: int) -> bool:
        """Delete a job that has failed.

        Returns:
            False if there is no such job, or it has not failed.
        """
        self._require_runner()
        return bool(await _statements.rows_of(self.app, _statements.DELETE, id=job_id))

    async def _summaries(self, statement: str, limit: int) -> list[JobSummary]:
        return [
            JobSummary(
                id=row["id"],
                task=row["task_name"],
                queue=row["queue_name"],
                state=row["status"],
                attempts=row["attempts"],
                kwargs=row["args"],
                at=None if row["at"] is None else row["at"].astimezone(UTC).isoformat(),
                error=self._errors.of(row["id"]),
            )
            for row in await self._rows(statement, limit=limit)
        ]

    async def _rows(self, statement: str, **arguments: object) -> list[dict[str, Any]]:
        self._require_runner()
        return await _statements.rows_of(self.app, statement, queues=self._settings.queues, **arguments)

    def _require_runner(self) -> Runner:
        if self._runner is None:
            message = "the worker does not run: its service has not started, or has ended"
            raise WorkerNotRunningError(message)
        return self._runner
