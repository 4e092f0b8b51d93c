"""Jobs for later: delays and instants, exact, and the wall clock that may be set."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest
from anyio import current_time
from job_hosts import Diary, hosted, states, tally

from hostkit._execution.event_loop import EventLoop
from hostkit.jobs import JobQueue, JobState
from hostkit.jobs._job import JobRecord
from hostkit.testing import FakeWallClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """Return an instant after noon."""
    return NOON + timedelta(seconds=seconds)


class TestDelays:
    async def test_runs_after_exactly_the_delay(self) -> None:
        """A delayed job runs when its delay is over, to the instant; others do not wait for it."""
        queue, diary = JobQueue(), Diary()

        async with hosted(queue):
            await anyio.sleep(1)
            late = await queue.enqueue_in(timedelta(minutes=15), diary.note, "late")
            await queue.enqueue_in(2.5, diary.note, "soon")
            await queue.enqueue_in(0.25, diary.note, "sooner")
            await queue.enqueue(diary.note, "now")
            assert late.state is JobState.DELAYED
            await late.wait()

        assert diary.entries == [("now", 1), ("sooner", 1.25), ("soon", 3.5), ("late", 901)]
        assert (late.enqueued_at, late.due_at, late.started_at) == (1, 901, 901)

    async def test_keeps_the_order_of_equal_instants(self) -> None:
        """Jobs that are due at one instant run in the order in which they were enqueued."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async with hosted(queue):
            for n in range(50):
                await queue.enqueue_in(10, diary.note, n)
            await anyio.sleep(5)
            for n in range(50, 100):
                await queue.enqueue_in(5, diary.note, n)
            await anyio.sleep(6)

        assert diary.names == list(range(100))
        assert set(diary.times) == {10}

    async def test_no_delay_is_now(self) -> None:
        """A delay of 0 is none."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue_in(0, Diary().note)

            assert job.state is JobState.WAITING

    async def test_counts_from_the_start_for_what_came_before(self) -> None:
        """Before the start a delay has no clock to run on: it counts from the start."""
        queue, diary = JobQueue(), Diary()
        job = await queue.enqueue_in(10, diary.note)
        assert job.state is JobState.DELAYED

        await anyio.sleep(5)
        async with hosted(queue):
            await job.wait()

        assert diary.times == [15]

    @pytest.mark.parametrize("delay", [-1, float("nan")])
    async def test_refuses_wrong_delays(self, delay: float) -> None:
        """A negative delay, or none at all, is refused where it is given."""
        with pytest.raises(ValueError, match="delay must not be negative or NaN"):
            await JobQueue().enqueue_in(delay, Diary().note)

    async def test_an_idle_queue_does_not_wake_up(self) -> None:
        """With nothing to wait for, the queue has no timer; a delayed job needs one, once."""
        queue, diary = JobQueue(), Diary()
        looks: list[float] = []
        later = queue._dispatcher.delayed
        take_due = later._take_due

        def look(now: float) -> Iterator[JobRecord]:
            looks.append(now)
            return take_due(now)

        later._take_due = look  # type: ignore[method-assign]
        async with hosted(queue):
            await anyio.sleep(1000)
            await queue.enqueue_in(100, diary.note)
            await queue.enqueue_in(200, diary.note)
            await anyio.sleep(1000)

        assert looks == [0, 1000, 1100, 1200]

    async def test_takes_a_timer_at_its_word(self) -> None:
        """A timer that comes a hair before its time, as some do, is not set again and again until then."""
        queue, diary = JobQueue(), Diary()
        inbox = queue._dispatcher.inbox
        open_inbox = inbox.open

        def open_slow() -> EventLoop:
            loop = open_inbox()
            loop.time = lambda: current_time() - 0.001
            return loop

        inbox.open = open_slow  # type: ignore[method-assign]
        async with hosted(queue):
            job = await queue.enqueue_in(10, diary.note)
            with anyio.fail_after(20):
                await job.wait()

        assert diary.times == [9.999]

    async def test_forgets_cancelled_jobs(self) -> None:
        """Thousands of reminders that were cancelled do not lie about until their time has come."""
        queue = JobQueue(capacity=10_000)

        async with hosted(queue):
            kept = [await queue.enqueue_in(n, Diary().note) for n in range(1, 11)]
            for n in range(2000):
                (await queue.enqueue_in(3600 + n, Diary().note)).cancel()
                (await queue.enqueue_at(datetime.now(UTC) + timedelta(hours=1), Diary().note)).cancel()
                assert (
                    len(queue._dispatcher.delayed._by_time._heap) + len(queue._dispatcher.delayed._by_instant._heap)
                    < 200
                )
            await anyio.sleep(11)

            assert states(*kept) == ["succeeded"] * 10
            assert tally(queue) == {"succeeded": 10, "cancelled": 4000}


class TestInstants:
    async def test_runs_when_the_wall_clock_shows_it(self) -> None:
        """A job can wait for an instant, given in any zone."""
        clock = FakeWallClock(NOON)
        clock.now()  # from now on it goes
        queue, diary = JobQueue(now=clock.now), Diary()

        async with hosted(queue):
            await anyio.sleep(1)
            far = timezone(timedelta(hours=-7))
            job = await queue.enqueue_at(after(100).astimezone(far), diary.note, "a")
            await queue.enqueue_at(after(50), diary.note, "b")
            await queue.enqueue_in(80, diary.note, "c")
            await queue.enqueue_in(98.5, diary.note, "just before")
            due = job.due_at
            await job.wait()

        assert diary.entries == [("b", 50), ("c", 81), ("just before", 99.5), ("a", 100)]
        assert due == 100

    async def test_an_instant_that_is_past_is_now(self) -> None:
        """A job for an instant that is past, or just now, is ready at once."""
        queue = JobQueue(now=FakeWallClock(NOON).now)

        async with hosted(queue):
            jobs = [await queue.enqueue_at(after(seconds), Diary().note) for seconds in (-1000, 0)]

            assert states(*jobs) == ["waiting", "waiting"]

    async def test_notices_that_the_clock_was_set_forward(self) -> None:
        """A clock that jumps over the instant is noticed within half a minute."""
        clock = FakeWallClock(NOON)
        queue, diary = JobQueue(now=clock.now), Diary()

        async with hosted(queue):
            job = await queue.enqueue_at(after(3600), diary.note)
            await anyio.sleep(100)
            clock.step(timedelta(hours=2))
            await job.wait()

        assert diary.times == [120]
        assert job.due_at == 120

    async def test_notices_that_the_clock_was_set_back(self) -> None:
        """A clock that is set back makes the job wait until it shows the instant."""
        clock = FakeWallClock(NOON)
        queue, diary = JobQueue(now=clock.now), Diary()

        async with hosted(queue):
            job = await queue.enqueue_at(after(100), diary.note)
            await anyio.sleep(50)
            clock.step(-1000)
            await job.wait()

        assert diary.times == [1100]

    async def test_reads_the_clock_only_while_a_job_needs_it(self) -> None:
        """Every half minute while a job waits for an instant, and never else."""
        clock = FakeWallClock(NOON)
        reads: list[float] = []

        def read() -> datetime:
            reads.append(current_time())
            return clock.now()

        queue = JobQueue(now=read)
        async with hosted(queue):
            await queue.enqueue_in(10, Diary().note)
            await anyio.sleep(100)
            assert reads == []
            await queue.enqueue_at(clock.now() + timedelta(seconds=90), Diary().note)
            await anyio.sleep(1000)

        assert sorted(set(reads)) == [100, 130, 160, 190]

    async def test_uses_the_real_clock_by_default(self) -> None:
        """Nobody has to give a clock."""
        queue = JobQueue()

        async with hosted(queue):
            past = await queue.enqueue_at(datetime.now(UTC), Diary().note)
            future = await queue.enqueue_at(datetime.now(UTC) + timedelta(hours=1), Diary().note)

            assert states(past, future) == ["waiting", "delayed"]

    async def test_before_the_start(self) -> None:
        """A job that is enqueued for an instant before the start runs then, or at the start if that is later."""
        clock = FakeWallClock(NOON)
        queue, diary = JobQueue(now=clock.now), Diary()
        clock.now()  # from now on it goes
        await queue.enqueue_at(after(5), diary.note, "past")
        await queue.enqueue_at(after(20), diary.note, "future")

        await anyio.sleep(10)
        async with hosted(queue):
            await anyio.sleep(20)

        assert diary.entries == [("past", 10), ("future", 20)]
