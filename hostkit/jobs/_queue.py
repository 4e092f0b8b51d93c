"""The job queue: a service that runs jobs in the background."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from inspect import isawaitable

import anyio

from hostkit import BackgroundService, StoppingToken
from hostkit._values.clock import now as wall_clock
from hostkit._values.durations import Duration
from hostkit._values.functions import require_sync
from hostkit.jobs._desk import Desk
from hostkit.jobs._enqueuer import Enqueuer
from hostkit.jobs._job import Job, JobState
from hostkit.jobs._options import Options, checked_retry, checked_timeout
from hostkit.jobs._retry import Retry

OnLost = Callable[[Sequence[Job[object]]], Awaitable[object] | None]


class JobQueue(Enqueuer, BackgroundService):
    """A service that runs jobs in the background, so many at a time: now, or later, or again after a failure.

    Jobs are in memory, and a crash loses them: what may never be lost belongs into a durable engine. Jobs that are
    enqueued before the start wait for it. What a job raises is its own failure, and none of the queue's or the host's.

    Stopping:
        Jobs are accepted until the queue's own turn comes: services that were registered after it may enqueue until
        they have stopped. From then on it is closed, runs what is ready, and lets running jobs finish, until the
        host's ``shutdown_timeout`` cuts them. What was not run to its end (waiting, delayed, waiting for a retry, cut)
        is lost: counted by name in a warning, listed in `lost`, and handed to *on_lost*.

    Failures:
        ``SystemExit`` out of a job is a request to stop, as it is out of a service; other jobs are cut for it.
    """

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        *,
        concurrency: int = 10,
        capacity: int = 10_000,
        retry: Retry = Retry(attempts=1),  # noqa: B008  # frozen
        timeout: Duration | None = None,
        drain: bool = True,
        history: int = 200,
        on_lost: OnLost | None = None,
        now: Callable[[], datetime] = wall_clock,
    ) -> None:
        """Make a queue.

        Args:
            concurrency: How many jobs run at a time.
            capacity: How many may wait, delayed ones and those that wait for a retry included.
            retry: How often a job is run; `with_options` may say otherwise.
            timeout: After how many seconds a run is cancelled and has failed; likewise. None for no limit.
            drain: Whether ready jobs are still run when the queue's turn to stop has come; running ones are let finish
                in any case.
            history: How many jobs that have ended are kept in `history`, and how many failed ones in `failed`, with
                their arguments and results.
            on_lost: Called at the stop with the jobs that were lost, if there are any, and awaited if it is async: the
                place to hand them to something durable. It has the time until the host's ``cancellation_timeout``; an
                error in it is a failure of the host.
            now: The wall clock, for `enqueue_at`; tests give their own.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: A number is too small.
        """
        _check_number("concurrency", concurrency, 1)
        _check_number("capacity", capacity, 1)
        _check_number("history", history, 0)
        if on_lost is not None and not callable(on_lost):
            message = f"on_lost takes a function, got {on_lost!r}"
            raise TypeError(message)
        if not isinstance(drain, bool):
            message = f"drain must be true or false, got {drain!r}"
            raise TypeError(message)
        require_sync(now, "JobQueue(now=...)")
        self._desk = Desk(concurrency, capacity, history, now)
        self._intake = self._desk.intake
        self._options = Options(retry=checked_retry(retry), timeout=checked_timeout(timeout))
        self._drain = drain
        self._on_lost = on_lost

    # The service.

    async def start(self) -> None:
        """Open the queue; it is for the host to call."""
        self._desk.open()

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Run jobs; it is for the host to call."""
        stopping_token.on_stop(self._close)
        await self._desk.crew.work(stopping_token)

    async def stop(self) -> None:
        """Report what was lost; it is for the host to call."""
        desk = self._desk
        self._close()
        desk.lose_rest()
        desk.look_for_calm()
        desk.crew.threads.close()
        desk.intake.leave()
        desk.report_losses()
        lost = desk.lost()
        if lost and self._on_lost is not None:
            reported = self._on_lost(lost)
            if isawaitable(reported):
                await reported

    async def join(self) -> None:
        """Wait until no job is ready and none runs; delayed ones, and those that wait for a retry, do not count.

        Raises:
            HostStateError: This is not the host's event loop.
        """
        self._intake.require_loop("JobQueue.join()")
        await anyio.lowlevel.checkpoint()
        await self._desk.wait_until_calm()

    # What there is to see. It belongs to the host's event loop.

    @property
    def concurrency(self) -> int:
        """How many jobs run at a time."""
        return self._desk.crew.size

    @property
    def capacity(self) -> int:
        """How many jobs may wait."""
        return self._intake.capacity

    @property
    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state, or have ended in it since the queue was made; their sum was accepted."""
        return self._desk.counts()

    @property
    def oldest_waiting_age(self) -> float:
        """For how many seconds the job that is to run next has been ready, 0 if there is none."""
        return self._desk.oldest_age()

    @property
    def running(self) -> Sequence[Job[object]]:
        """The jobs that run."""
        return tuple(self._desk.crew.running())

    @property
    def history(self) -> Sequence[Job[object]]:
        """The last jobs that have ended, the latest last."""
        return tuple(self._desk.ledger.ended)

    @property
    def failed(self) -> Sequence[Job[object]]:
        """The last jobs that have failed, the latest last; `Job.requeue` takes one off."""
        return tuple(self._desk.ledger.failed)

    @property
    def lost(self) -> Sequence[Job[object]]:
        """The jobs that the last stop has lost, in the order in which they were accepted; until the next start."""
        return self._desk.lost()

    def _close(self) -> None:
        self._desk.close(drain=self._drain)


def _check_number(name: str, number: object, least: int) -> None:
    if type(number) is not int:
        message = f"{name} must be a whole number, got {number!r}"
        raise TypeError(message)
    if number < least:
        message = f"{name} must be {least} or more, got {number!r}"
        raise ValueError(message)
