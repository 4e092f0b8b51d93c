"""Workers of the engine, one after another, from the start of a service to its stop."""

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job

from hostkit import HostStateError, StoppingToken
from hostkit.ext.procrastinate import _database, _statements
from hostkit.ext.procrastinate._engine import EngineRun, EngineWorker
from hostkit.ext.procrastinate._errors import JobsNotReturnedError
from hostkit.ext.procrastinate._log import OneLine, cause_of
from hostkit.ext.procrastinate._options import WorkerSettings
from hostkit.ext.procrastinate._running import Errors, RunningJobs, name_of
from hostkit.ext.procrastinate._sweep import Sweep

CANARY = "hostkit.canary"
CANARY_CRON = "0 0 29 2 *"
"""Rare, as it need not run; but the date must exist."""
WORKERS_KEPT = 3600.0
"""Seconds for which the row of a worker that has gone is kept beyond ``stalled_after``.

Each worker deletes old ones when it starts, and without its row a job is stalled at once. After an outage all are old.
"""
STEADY = 60.0
"""Seconds after which a worker that ends by itself counts as the first that does."""
LONGEST_MARGIN = 2.0
SHARE_OF_MARGIN = 1 / 3
"""How long before the service would be cancelled jobs are aborted: so many seconds, or this share of what is left."""
CANCELLATIONS = 6
END_TIMEOUT = 0.2
"""Seconds for each of the last steps, with the database away or jobs that go on."""
LATE_TIMEOUT = 1.0
"""The same once the service has been cancelled, with a database that answers."""
LAST_STEPS = 3
"""Looking after what was aborted, closing the pool, leaving what waits for it."""


class Runner:
    """Runs workers of the engine for one run of the service.

    Attributes:
        running: The jobs that run.
        sweep: The sweep.
        restarts: How many workers have ended by themselves.
        down_since: Since when no worker runs, on the event loop's clock; None while one does.
    """

    def __init__(self, app: App, settings: WorkerSettings, token: StoppingToken, errors: Errors, log: OneLine) -> None:
        """Prepare, in the event loop, with the app open."""
        self._app = app
        self._settings = settings
        self._token = token
        self._log = log
        self.running = RunningJobs(app, token, settings.concurrency, errors)
        self.sweep = Sweep(app, settings, self.running)
        self.restarts = 0
        self.down_since: float | None = None
        self._runs: list[EngineRun] = []

    async def start(self) -> None:
        """Start the first worker; return when the database knows it. Without an answer, another one is started.

        Raises:
            HostStateError: The database refuses it.
        """
        keep_a_periodic_task(self._app, self._settings.queues)
        while True:
            try:
                return await self._begin().started()
            except TimeoutError:
                logger.warning("waiting for the database: it does not answer")
                await anyio.sleep(self._settings.backoff.delay(1))
            except ConnectorException as error:
                message = f"the database refuses the worker: {cause_of(error)}"
                raise HostStateError(message) from error

    async def run(self) -> None:
        """Keep a worker running until the stop."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.sweep.run, self._token)
            group.start_soon(self._look_after_old_workers)
            await self._replace_workers(group.cancel_scope)

    async def finish(self) -> None:
        """Let jobs finish while there is time, then abort what still runs; return before the service is cancelled."""
        left = self._token.time_left
        margin = min(LONGEST_MARGIN, SHARE_OF_MARGIN * left)
        runs = self._stop_runs()
        if not runs or (self.down_since is not None and not self.running):
            return  # without a database a worker cannot even take itself off
        if self.running:
            logger.info("jobs that run, and have {:.1f} s: {}", left - margin, len(self.running))
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_after_old_workers)
            await _ended(runs, left - margin)
            if self.running:
                self.running.end_soon()
                await _ended(runs, max(margin - LAST_STEPS * END_TIMEOUT, END_TIMEOUT))
            group.cancel_scope.cancel()

    async def end(self) -> None:
        """End what is left, within a bounded time, and see what has become of the jobs that were aborted.

        Raises:
            JobsNotReturnedError: Some could not be given back.
        """
        runs = self._stop_runs()
        late = self.running.end_soon() or not self._token.time_left
        limit = await self._limit()
        if late and runs:
            await _ended(runs, limit)
        for running in self.running:
            if not running.ended:
                line = running.line()
                logger.warning("job {} goes on in spite of the stop{}", running.name, f", at {line}" if line else "")
        jobs = [*self.running.returned, *self.running.unwritten, *(running.job for running in self.running)]
        await self._look_after({job.id: job for job in jobs if job.id is not None}, limit)

    async def leave(self) -> None:
        """End the workers that still wait for a pool that has been closed; those with jobs that go on are left alone.

        A worker takes one cancellation for a request, the next for its loop, and each further one for a step of what
        that does at its end. With a job in it, that job would be given back while it runs.
        """
        left = CANCELLATIONS
        while left and not self.running and (runs := [run for run in self._runs if not run.is_done]):
            left -= 1
            for run in runs:
                run.task.cancel()
            await _ended(runs, END_TIMEOUT / CANCELLATIONS)

    def _stop_runs(self) -> list[EngineRun]:
        """Have all workers fetch no more, and return those that have not ended."""
        runs = [run for run in self._runs if not run.is_done]
        for run in runs:
            run.worker.stop()
        return runs

    async def _limit(self) -> float:
        """Return how long each of the last steps may take: what the host leaves for them, as a database may be far."""
        left = min(self._token.time_left, LONGEST_MARGIN) - LAST_STEPS * END_TIMEOUT
        if not self._token.time_left and (self.running or self.running.returned):
            with anyio.move_on_after(LATE_TIMEOUT), suppress(Exception):
                await _database.probe(self._app)
                left = LATE_TIMEOUT
        return max(left, END_TIMEOUT)

    async def _look_after(self, jobs: dict[int, Job], limit: float) -> None:
        if not jobs:
            return
        kept = dict.fromkeys(jobs, "doing")
        with anyio.move_on_after(limit):
            try:
                kept = await _statements.kept(self._app, list(jobs.values()))
                await _statements.notify(self._app, jobs.keys() - kept.keys())
            except Exception as error:  # noqa: BLE001  # the database is away; the sweep does not need this
                logger.debug("cannot see what has become of jobs that were aborted: {!r}", error)
        # By number, as a worker may fetch one that has given up once more, before it hears of the stop.
        returned = {job.id: name_of(job) for job in self.running.returned if job.id is not None}
        back = [name for number, name in returned.items() if number not in kept]
        failed = [name for number, name in returned.items() if kept.get(number) == "failed"]
        held = sorted(number for number, state in kept.items() if state == "doing")
        if back:
            logger.info("back in the queue: {}", ", ".join(back))
        if failed:
            logger.info("failed, as they were to be cancelled: {}", ", ".join(failed))
        if held:
            raise JobsNotReturnedError([name_of(jobs[number]) for number in held], self._settings.stalled_after)

    def _begin(self) -> EngineRun:
        settings = self._settings
        options: dict[str, Any] = {"name": "worker", **self._app.worker_defaults, **settings.engine}
        own = {
            "queues": settings.queues,
            "concurrency": settings.concurrency,
            "wait": True,
            "install_signal_handlers": False,
            "shutdown_graceful_timeout": None,
            "fetch_job_polling_interval": settings.poll_every,
            "update_heartbeat_interval": settings.heartbeat_every,
            "stalled_worker_timeout": settings.stalled_after + WORKERS_KEPT,
            "worker_middleware": [self.running.call, *(options.get("worker_middleware") or ())],
            "task_middleware": [self.running.call_in_thread, *(options.get("task_middleware") or ())],
        }
        run = EngineRun(EngineWorker(self._app, **(options | own)))
        self._runs = [earlier for earlier in self._runs if not earlier.is_done]
        self._runs.append(run)
        return run

    async def _replace_workers(self, scope: anyio.CancelScope) -> None:
        """Replace a worker that ends by itself: it has stopped fetching, and finishes its jobs. Cancel *scope* then."""
        failures, began = 0, anyio.current_time()
        while not self._token.stop_requested:
            current = self._runs[-1]
            with self._token.cancel_on_stop():
                await current.worker.ending.wait()
            if self._token.stop_requested:
                break
            now = anyio.current_time()
            failures = 1 if now - began > STEADY and self.down_since is None else failures + 1
            delay = self._settings.backoff.delay(failures)
            if self.down_since is None:
                self.restarts += 1
                self.down_since = now
                cause = cause_of(current.worker.error or self._log.last_error)
                logger.warning("the worker fetches no more jobs, a new one begins in {:.1f} s: {}", delay, cause)
            self.sweep.hold(delay)
            with self._token.cancel_on_stop():
                await anyio.sleep(delay)
                began = anyio.current_time()
                await self._try_again(failures)
        scope.cancel()

    async def _try_again(self, failures: int) -> None:
        try:
            await _database.probe(self._app)
            await _database.renew(self._app)
            await self._begin().started()
        except Exception as error:  # noqa: BLE001  # the database's: reported when it began
            logger.debug("no new worker: {!r}", error)
            self.sweep.hold()
            return
        assert self.down_since is not None
        lost = len(self.running.unwritten)
        logger.info(
            "a new worker runs after {:.1f} s, at the {}. try{}",
            anyio.current_time() - self.down_since,
            failures,
            f"; jobs whose end could not be written down, and that run again: {lost}" if lost else "",
        )
        self.down_since = None
        self.sweep.hold()

    async def _look_after_old_workers(self) -> None:
        """Look after workers that fetch no more but run jobs: the engine itself does so only while they fetch.

        One without jobs whose connections have fallen silent is cancelled, time and again, as it waits for them.
        """
        while True:
            await anyio.sleep(self._settings.heartbeat_every / 2)
            for run in self._runs:
                if not run.worker.ending.is_set() or run.is_done or run.worker.worker_id is None:
                    continue
                if run.worker.silent and not run.worker.has_jobs:
                    run.task.cancel()
                    continue
                try:
                    with anyio.fail_after(self._settings.heartbeat_every):
                        await run.worker.look_after_jobs()
                except Exception as error:  # noqa: BLE001  # the next time it may get through
                    logger.debug("no heartbeat: {!r}", error)


def keep_a_periodic_task(app: App, queues: Iterable[str] | None) -> None:
    """See to it that the app has a periodic task.

    Without one, a worker does not find out that its listener has died.
    """
    if not app.periodic_registry.periodic_tasks:

        async def canary(timestamp: int) -> None:
            """Do nothing, on the 29th of February."""

        queue = next(iter(queues or ("default",)))
        app.periodic(cron=CANARY_CRON)(app.task(name=CANARY, queue=queue)(canary))


async def _ended(runs: list[EngineRun], within: float) -> None:
    """Wait until all of *runs* have ended, at most so long."""
    await asyncio.wait([run.task for run in runs], timeout=within if within < math.inf else None)
