"""The sweep: jobs whose worker has gone run again, but not for ever."""

from datetime import datetime

import anyio
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job

from hostkit import StoppingToken
from hostkit.ext.procrastinate import _statements
from hostkit.ext.procrastinate._options import WorkerSettings
from hostkit.ext.procrastinate._retry import ABORTED_MARK, SWEPT_MARK
from hostkit.ext.procrastinate._running import RunningJobs, name_of

HEARTBEATS_AFTER_ERROR = 2
"""For how many heartbeats nothing is swept after an error: after an outage every heartbeat is old."""


class Sweep:
    """Looks, again and again, for jobs whose worker has sent no heartbeat for too long.

    Attributes:
        swept: How many jobs it has had run again.
        failed: How many it has failed, as they had taken their worker down too often.
        waiting: How many jobs waited in the queues at the last look; None before the first.
    """

    def __init__(self, app: App, settings: WorkerSettings, running: RunningJobs) -> None:
        """Prepare, in the event loop."""
        self._app = app
        self._settings = settings
        self._running = running
        self._held_until = 0.0
        self.swept = self.failed = 0
        self.waiting: int | None = None

    def hold(self, further: float = 0.0) -> None:
        """Sweep nothing before every worker had time for a heartbeat, which begins after *further* seconds."""
        wait = further + HEARTBEATS_AFTER_ERROR * self._settings.heartbeat_every
        self._held_until = max(self._held_until, anyio.current_time() + wait)

    async def run(self, token: StoppingToken) -> None:
        """Sweep until the stop."""
        while not await token.sleep(self._settings.sweep_every):
            if anyio.current_time() < self._held_until:
                continue
            try:
                with anyio.fail_after(self._settings.stalled_after):
                    await self.once()
            except Exception as error:  # noqa: BLE001  # the database's: the worker itself finds that out
                logger.debug("nothing swept: {!r}", error)
                self.hold()

    async def once(self) -> None:
        """Look once."""
        settings = self._settings
        queues = settings.queues
        # First: if their worker has gone, it is not by their doing. If it has not, nothing else would ever find them.
        for job in tuple(self._running.unwritten):
            await self._give_back(job)
        stalled = await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=settings.stalled_after)
        ours = {running.job.id for running in self._running}
        for job in stalled:
            if job.id not in ours and (queues is None or job.queue in queues):
                await self._sweep(job)
        (row,) = await _statements.rows_of(self._app, _statements.WAITING, queues=queues)
        self.waiting = row["number"]

    async def _sweep(self, job: Job) -> None:
        assert job.id is not None
        name = name_of(job)
        try:
            sweeps = (await _statements.earlier_runs(self._app, job.id)).sweeps
            if sweeps + 1 >= self._settings.crash_limit:
                if await _statements.fail(self._app, job):
                    self.failed += 1
                    logger.error(
                        "job {} is failed, as its worker has gone {} times while it ran; what it does may end the "
                        "process. Once that is mended, retry({}) has it run again",
                        name,
                        sweeps + 1,
                        job.id,
                    )
            elif await self._run_again(job, SWEPT_MARK, "its worker has gone"):
                self.swept += 1
        except UniqueViolation:
            # Of its queueing lock, until the job that waits with that has begun.
            logger.debug("job {} cannot go back to its queue yet: another waits with its queueing lock", name)

    async def _give_back(self, job: Job) -> None:
        """Have a job of this service run again whose outcome could not be written down, unless it was after all."""
        try:
            await self._run_again(job, ABORTED_MARK, "its outcome could not be written down")
        except UniqueViolation:
            logger.debug("job {} cannot go back to its queue yet: another waits with its lock", name_of(job))
        else:
            self._running.unwritten.remove(job)

    async def _run_again(self, job: Job, mark: datetime, why: str) -> bool:
        """Have a job run again, unless it was to be cancelled or another has been quicker."""
        assert job.id is not None
        state = await _statements.give_back(self._app, job, mark)
        if state is not None:
            what = "runs again" if state == "todo" else "is failed, as it was to be cancelled"
            logger.warning("job {} {}: {}", name_of(job), what, why)
            await _statements.notify(self._app, [job.id])
        return state == "todo"
