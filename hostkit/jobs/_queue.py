"""The job queue: a service that runs jobs in the background."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from inspect import isawaitable
from itertools import islice

from hostkit import BackgroundService, StoppingToken
from hostkit._values.clock import now as wall_clock
from hostkit._values.durations import Duration
from hostkit._values.functions import refuse_generator, require_sync
from hostkit._values.numbers import check_int
from hostkit.jobs._dispatcher import Dispatcher
from hostkit.jobs._enqueuer import Enqueuer
from hostkit.jobs._history import snapshot
from hostkit.jobs._inspection import Inspection
from hostkit.jobs._job import Job, JobState
from hostkit.jobs._options import Options, checked_retry, checked_timeout
from hostkit.jobs._retry import Retry

OnLost = Callable[[Sequence[Job[object]]], Awaitable[object] | None]
OnFailed = Callable[[Job[object]], object]


class JobQueue(Enqueuer, BackgroundService):
    """A service that runs jobs in the background, so many at a time: now, or later, or again after a failure.

    Jobs are in memory, and a crash loses them: what may never be lost belongs in a durable engine. Jobs that are
    enqueued before the start wait for it. What a job raises is its own failure, and none of the queue's or the host's.

    Stopping:
        Jobs are accepted until the queue's own turn comes: services that were registered after it may enqueue until
        they have stopped. From then on it is closed, runs what is ready, and lets running jobs finish, until the
        host's ``shutdown_timeout`` cancels them. What was not run to its end (waiting, delayed, waiting for a retry,
        cancelled by the stop) is lost: counted by name in a warning, listed in `lost`, and handed to *on_lost*.

    Failures:
        ``SystemExit`` out of a job is a request to stop, as it is out of a service; other jobs are cancelled for it.

    Threads:
        Everything here may be read and called from any thread. What another thread than the event loop's asks for is
        done at the loop's next turn.
    """

    extended_stop = True  # for `on_lost`

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        *,
        concurrency: int = 10,
        capacity: int = 10_000,
        retry: Retry = Retry(attempts=1),  # noqa: B008  # frozen
        timeout: Duration | None = None,
        drain: bool = True,
        history: int = 200,
        on_failed: OnFailed | None = None,
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
            on_failed: Called with a job that has failed for good, in the event loop: a plain function at once, before
                another job begins; an async one beside the jobs, for one after the other, until the queue is cancelled.
                What it raises is logged.
            on_lost: Called at the stop with the jobs that were lost, if there are any, and awaited if it is async: the
                place to hand them to something durable. It has the time until the host gives up, whenever it begins;
                an error in it is a failure of the host.
            now: The wall clock, for `enqueue_at`; tests give their own.

        Raises:
            TypeError: A value is of the wrong type, or a function has a ``yield``.
            ValueError: A number is too small.
        """
        check_int("concurrency", concurrency, 1)
        check_int("capacity", capacity, 1)
        check_int("history", history, 0)
        for name, function in (("on_failed", on_failed), ("on_lost", on_lost)):
            if function is not None and not callable(function):
                message = f"{name} takes a function, got {function!r}"
                raise TypeError(message)
            refuse_generator(function, name)
        if not isinstance(drain, bool):
            message = f"drain must be true or false, got {drain!r}"
            raise TypeError(message)
        require_sync(now, "JobQueue(now=...)")
        dispatcher = Dispatcher(
            concurrency=concurrency, capacity=capacity, drain=drain, history=history, on_failed=on_failed, now=now
        )
        super().__init__(dispatcher, Options(retry=checked_retry(retry), timeout=checked_timeout(timeout)))
        self._inspection = Inspection(dispatcher)
        self._on_lost = on_lost

    # The service.

    async def start(self) -> None:
        """Open the queue; it is for the host to call."""
        self._dispatcher.open()

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Run jobs; it is for the host to call."""
        await self._dispatcher.run(stopping_token)

    async def stop(self) -> None:
        """Report what was lost; it is for the host to call."""
        self._dispatcher.leave()
        lost = self.lost
        if lost and self._on_lost is not None:
            reported = self._on_lost(lost)
            if isawaitable(reported):
                await reported

    def details(self) -> Mapping[str, object]:
        """Return counts, and the jobs that run, each with the line where it is, for the status of the host."""
        return {
            "counts": {state.value: count for state, count in self.counts.items() if count},
            "concurrency": self.concurrency,
            "capacity": self.capacity,
            "paused": self.paused,
            "oldest_waiting_age": self.oldest_waiting_age,
            "running": self._inspection.running_in_detail(),
        }

    # What there is to do.

    async def join(self) -> None:
        """Wait until no job is ready and none runs; delayed ones, and those that wait for a retry, do not count.

        It may be awaited in any event loop. While the queue is paused, ready jobs stay ready.

        Raises:
            JobStateError: A job of this queue calls it, or a task that it has started by anyio: it would wait for ever.
        """
        await self._dispatcher.waits.wait_until(self._dispatcher.is_idle)

    def pause(self) -> None:
        """Begin no job until `resume`; what runs goes on, and jobs are still accepted. A second call does nothing.

        A stop does not end the pause: what is ready then is lost, and handed to ``on_lost``. A queue that was paused
        stays so in the next lifecycle of its host.
        """
        self._dispatcher.pause()

    def resume(self) -> None:
        """End a pause; without one, nothing happens."""
        self._dispatcher.resume()

    # What there is to see.

    @property
    def paused(self) -> bool:
        """Whether no job begins, because of `pause`."""
        return self._dispatcher.paused

    @property
    def concurrency(self) -> int:
        """How many jobs run at a time."""
        return self._dispatcher.concurrency

    @property
    def capacity(self) -> int:
        """How many jobs may wait."""
        return self._dispatcher.admission.capacity

    @property
    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state, or have ended in it since the queue was made; their sum was accepted."""
        return self._inspection.counts()

    @property
    def oldest_waiting_age(self) -> float:
        """For how many seconds the job that is to run next has been ready, 0 if there is none."""
        return self._inspection.oldest_waiting_age()

    @property
    def running(self) -> Sequence[Job[object]]:
        """The jobs that run."""
        return tuple(self._dispatcher.executor.running())

    @property
    def history(self) -> Sequence[Job[object]]:
        """The last jobs that have ended, the latest last."""
        return snapshot(self._dispatcher.history.recent)

    @property
    def failed(self) -> Sequence[Job[object]]:
        """The last jobs that have failed, the latest last; `Job.requeue` and `Job.discard` take one off."""
        return self._dispatcher.history.failed

    @property
    def lost(self) -> Sequence[Job[object]]:
        """The jobs that the last stop has lost, in the order in which they were accepted; until the next start.

        `Job.requeue` and `Job.discard` take one off.
        """
        return self._dispatcher.history.lost

    def waiting(self, limit: int = 100) -> Sequence[Job[object]]:
        """Return the jobs that have not begun, at most *limit*: ready ones in their order, then those with a time.

        Raises:
            TypeError: *limit* is no int.
            ValueError: *limit* is negative.
        """
        check_int("limit", limit, 0)
        return tuple(islice(self._inspection.waiting(), min(limit, sys.maxsize)))

    def job(self, id: int) -> Job[object] | None:  # noqa: A002  # as the attribute of a job
        """Return the job with this number, None if there is none any more.

        A job is found while it waits or runs, and as long as it is in `failed`, `lost` or `history`.

        Raises:
            TypeError: *id* is no int.
        """
        if type(id) is not int:
            message = f"id must be an int, got {id!r}"
            raise TypeError(message)
        return self._inspection.find(id)
