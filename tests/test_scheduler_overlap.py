"""A job of three minutes that is due every minute: what each overlap policy makes of it."""

import anyio
import pytest
from scheduled import MINUTE, Timed, at, log_lines, told

from hostkit.events import HostEvent, RunFinished
from hostkit.scheduling import Every, Outcome, Overlap

DURATION = 3 * MINUTE - 1


class Slow:
    """The job: when it began and how it ended, in minutes."""

    def __init__(self, timed: Timed, duration: float = DURATION) -> None:
        self._timed = timed
        self._duration = duration
        self.began: list[float] = []
        self.cancelled: list[float] = []
        self.running = self.most = 0

    async def __call__(self) -> None:
        self.began.append(self._timed.minutes())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(self._duration)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(self._timed.minutes())
            raise
        finally:
            self.running -= 1


async def test_skips_what_is_due_while_it_runs() -> None:
    """A run that is due while the job is still running is left out, told in the log and kept in the history."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(minutes=1), name="slow")

    with log_lines() as lines:
        async with timed.running():
            await anyio.sleep(6.5 * MINUTE)
            history = told(job.history)

    assert slow.began == [1, 4]
    assert history[:3] == [
        (1, "succeeded", None),
        (2, "skipped", "still running"),
        (3, "skipped", "still running"),
    ]
    assert lines[:2] == [
        "INFO scheduler: job slow skipped: still running",
        "INFO scheduler: job slow skipped again (once in 1 min): still running",
    ]


async def test_a_run_that_ends_at_the_very_instant_is_over() -> None:
    """A job of exactly three minutes runs every third minute: its end comes before what is due at that instant."""
    timed = Timed()
    slow = Slow(timed, 3 * MINUTE)
    timed.scheduler.add(slow, Every(minutes=1))

    await timed.run_for(10.5 * MINUTE)

    assert slow.began == [1, 4, 7, 10]


async def test_queues_one_run() -> None:
    """One run that is due meanwhile waits, and begins when the other has ended; a second one is left out."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.QUEUE)

    async with timed.running():
        await anyio.sleep(8 * MINUTE)
        history = told(job.history)
        waited = next(run for run in job.history if at(run) == 2)

    assert slow.began == pytest.approx([1, 4 - 1 / 60, 7 - 2 / 60])
    assert slow.most == 1
    assert history[:4] == [
        (1, "succeeded", None),
        (2, "succeeded", None),
        (3, "skipped", "still running, and one waits already"),
        (5, "skipped", "still running, and one waits already"),
    ]
    assert waited.started is not None
    assert (waited.started - waited.planned).total_seconds() == MINUTE * 2 - 1


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.CANCEL_RUNNING])
async def test_a_listener_that_asks_for_another_run_gets_none_beside_the_one_that_waited(overlap: Overlap) -> None:
    """When a listener hears of the end of a run, the one that has waited for it counts as running already."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(minutes=1), overlap=overlap)
    ended: list[RunFinished] = []

    def ask_once(event: HostEvent) -> None:
        if isinstance(event, RunFinished):
            ended.append(event)
            if len(ended) == 1:
                job.run_now()

    async with timed.running() as host:
        host.on_event(ask_once)
        await anyio.sleep(15 * MINUTE)

    assert slow.most == 1


async def test_allows_as_many_as_was_said() -> None:
    """Runs go on side by side up to `concurrency`; what is due beyond is left out."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.ALLOW, concurrency=2)

    async with timed.running():
        await anyio.sleep(5.5 * MINUTE)
        running = job.running
        history = told(job.history)

    assert slow.began == [1, 2, 4, 5]
    assert (slow.most, running) == (2, 2)
    assert history == [(1, "succeeded", None), (2, "succeeded", None), (3, "skipped", "still running")]


async def test_cancels_the_one_that_runs() -> None:
    """With `CANCEL_RUNNING` the run that goes on is cancelled, and the next begins when it has ended."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.CANCEL_RUNNING, name="slow")

    with log_lines() as lines:
        async with timed.running():
            await anyio.sleep(3.5 * MINUTE)
            history = told(job.history)

    assert slow.began == [1, 2, 3]
    assert slow.cancelled[:2] == [2, 3]
    assert slow.most == 1
    assert history == [(1, "cancelled", "the next run was due"), (2, "cancelled", "the next run was due")]
    assert lines[0] == "INFO scheduler: job slow cancelled after 1 min: the next run was due"


async def test_cancels_one_that_is_being_decided_on() -> None:
    """A run that is cancelled while its `when` is asked has the same reason as any other."""
    timed = Timed()

    async def is_leader() -> bool:
        await anyio.sleep(1.5 * MINUTE)
        return True

    job = timed.scheduler.add(Slow(timed), Every(minutes=1), overlap=Overlap.CANCEL_RUNNING, when=is_leader)

    await timed.run_for(2.5 * MINUTE)

    assert told(job.history)[0] == (1, "cancelled", "the next run was due")


async def test_waits_for_the_end_of_the_one_it_has_cancelled() -> None:
    """A cancelled run may take its time to clean up: the next one waits for it, and those after that are left out."""
    timed = Timed()
    began = []

    async def tidy() -> None:
        began.append(timed.minutes())
        try:
            await anyio.sleep(DURATION)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.5 * MINUTE)

    job = timed.scheduler.add(tidy, Every(minutes=1), overlap=Overlap.CANCEL_RUNNING)

    async with timed.running():
        await anyio.sleep(4.2 * MINUTE)
        history = told(job.history)

    assert began == [1, 3.5]
    assert history == [
        (1, "cancelled", "the next run was due"),
        (3, "skipped", "still running, and one waits already"),
    ]


async def test_a_job_that_raises_on_its_cancellation_has_failed() -> None:
    """What a job raises instead of its cancellation is kept, and the next run begins all the same."""
    timed = Timed()

    async def stubborn() -> None:
        try:
            await anyio.sleep(DURATION)
        except anyio.get_cancelled_exc_class():
            message = "no"
            raise ValueError(message) from None

    job = timed.scheduler.add(stubborn, Every(minutes=1), overlap=Overlap.CANCEL_RUNNING)

    async with timed.running():
        await anyio.sleep(2.5 * MINUTE)
        [failed] = job.history
        running = job.running

    assert (failed.outcome, repr(failed.error)) == (Outcome.FAILED, "ValueError('no')")
    assert running == 1


async def test_a_run_is_cancelled_before_it_has_begun() -> None:
    """Several runs that are asked for at one instant: the last one runs, and the first is over before it began."""
    timed = Timed()
    slow = Slow(timed)
    job = timed.scheduler.add(slow, Every(hours=1), overlap=Overlap.CANCEL_RUNNING)

    async with timed.running():
        await anyio.sleep(MINUTE)
        job.run_now()
        job.run_now()
        await anyio.sleep(MINUTE)
        history = told(job.history)

    assert slow.began == [1]
    assert history == [(1, "cancelled", "the next run was due")]
    assert job.history[0].started is None
