"""Cancelling a job, in each of its states."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from job_hosts import ClumsyError, Diary, again, clumsy, hosted, nothing, states, tally

from hostkit.jobs import JobQueue, JobState, Retry


async def test_before_the_start() -> None:
    """A job that waits for the start can be cancelled; it takes no room any more."""
    queue, diary = JobQueue(capacity=2), Diary()
    first = queue.enqueue_nowait(diary.note, 1)
    second = await queue.enqueue_in(1, diary.note, 2)

    assert second.cancel()
    assert first.cancel()
    third = queue.enqueue_nowait(diary.note, 3)
    fourth = queue.enqueue_nowait(diary.note, 4)
    async with hosted(queue):
        await queue.join()

    assert states(first, second, third, fourth) == ["cancelled", "cancelled", "succeeded", "succeeded"]
    assert first.ended_at is None
    assert diary.names == [3, 4]


async def test_a_waiting_job() -> None:
    """A job that waits for its turn never runs; those behind it do, and its place is free at once."""
    queue, diary = JobQueue(concurrency=1, capacity=2), Diary()

    async with hosted(queue):
        await queue.enqueue(diary.work, "blocker", 1)
        await anyio.lowlevel.checkpoint()
        job = await queue.enqueue(diary.note, "cancelled")
        await queue.enqueue(diary.note, "kept")

        assert job.cancel() is True
        assert job.cancel() is False
        queue.enqueue_nowait(diary.note, "in its place")
        await job.wait()
        await queue.join()

    assert (job.state, job.attempts, job.ended_at) == (JobState.CANCELLED, 0, 0)
    assert diary.names == ["blocker", "kept", "in its place"]


async def test_a_delayed_job() -> None:
    """A delayed job never runs, but those that are due with it do."""
    queue, diary = JobQueue(), Diary()

    async with hosted(queue):
        job = await queue.enqueue_in(10, diary.note, "cancelled")
        await queue.enqueue_in(10, diary.note, "kept")
        await anyio.sleep(5)
        assert job.cancel()
        await anyio.sleep(10)

    assert (job.state, job.ended_at) == (JobState.CANCELLED, 5)
    assert diary.names == ["kept"]


async def test_a_job_that_waits_for_its_retry() -> None:
    """There is no further run; the error of the last one is kept."""
    queue, diary = JobQueue(retry=again(5, 10)), Diary()

    async with hosted(queue):
        job = await queue.enqueue(diary.fail)
        await queue.join()
        assert job.cancel()
        await anyio.sleep(50)

    assert (job.state, job.attempts) == (JobState.CANCELLED, 1)
    assert isinstance(job.error, OSError)
    assert len(diary.names) == 1


@pytest.mark.parametrize("timeout", [None, 100])
async def test_a_running_job(timeout: float | None) -> None:  # noqa: ASYNC109  # an option of the job
    """A running job is cancelled where it waits; it may clean up; its worker goes on with others, to their end."""
    queue, diary = JobQueue(concurrency=1), Diary()
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep(50)
        finally:
            cleaned.append("up")

    async with hosted(queue):
        for _ in range(3):
            job = await queue.with_options(timeout=timeout).enqueue(work)
            await anyio.sleep(1)
            assert job.cancel() is True
            await job.wait()
            assert job.state is JobState.CANCELLED
        other = await queue.enqueue(diary.note)
        await queue.join()
        assert other.cancel() is False

    assert cleaned == ["up"] * 3
    assert tally(queue) == {"succeeded": 1, "cancelled": 3}
    assert diary.times == [3]


async def test_with_all_its_tasks() -> None:
    """The tasks that the job has started are cancelled too."""
    queue, diary = JobQueue(), Diary()

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            for n in range(3):
                group.start_soon(diary.work, n, 100)
            await anyio.sleep(100)

    async with hosted(queue):
        job = await queue.enqueue(parent)
        await anyio.sleep(1)
        assert diary.running == 3
        job.cancel()
        await job.wait()

        assert diary.running == 0
    assert job.state is JobState.CANCELLED


async def clumsy_in_a_group() -> None:
    """Be a job that fails with a group when it is cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(clumsy)
        group.start_soon(anyio.sleep, 50)


@pytest.mark.parametrize(("function", "error"), [(clumsy, ClumsyError), (clumsy_in_a_group, ExceptionGroup)])
async def test_is_not_retried(function: Callable[[], Awaitable[None]], error: type[Exception]) -> None:
    """A cancellation is no failure: what comes of it is kept, no retry follows, and the worker goes on."""
    queue, diary = JobQueue(concurrency=1, retry=again(5, 1)), Diary()

    async with hosted(queue):
        job = await queue.enqueue(function)
        await anyio.sleep(1)
        job.cancel()
        await job.wait()
        await queue.enqueue(diary.note)
        await anyio.sleep(5)

    assert (job.state, job.attempts) == (JobState.CANCELLED, 1)
    assert isinstance(job.error, error)
    assert diary.times == [1]


async def test_by_its_own_backoff() -> None:
    """The backoff of a job may cancel it instead of a further run."""
    queue, diary = JobQueue(), Diary()
    cancelled: list[bool] = []

    def give_up(_: int) -> float:
        cancelled.append(job.cancel())
        return 1

    async with hosted(queue):
        job = await queue.with_options(retry=Retry(attempts=3, backoff=give_up)).enqueue(diary.fail)
        await queue.join()
        await anyio.sleep(5)

    assert cancelled == [True]
    assert (job.state, job.attempts) == (JobState.CANCELLED, 1)
    assert tally(queue) == {"cancelled": 1}


async def test_a_job_that_withstands_it_succeeds() -> None:
    """A run that goes on all the same and returns has succeeded; the next job is not cancelled in its place."""
    queue, diary = JobQueue(concurrency=1), Diary()

    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return "done"

    async with hosted(queue):
        job = await queue.enqueue(stubborn)
        following = await queue.enqueue(diary.work, "next", 1)
        await anyio.sleep(1)
        assert job.cancel() is True
        await queue.join()

    assert job.result() == "done"
    assert following.state is JobState.SUCCEEDED
    assert diary.times == [5]


async def test_a_job_may_cancel_itself() -> None:
    """A job that cancels itself is cancelled at its next wait; without one it succeeds."""
    queue, diary = JobQueue(concurrency=1), Diary()

    async def waits() -> None:
        assert queue.running[0].cancel()
        await anyio.sleep(1)

    async def does_not_wait() -> str:
        assert queue.running[0].cancel()
        return "done"

    async with hosted(queue):
        first = await queue.enqueue(waits)
        second = await queue.enqueue(does_not_wait)
        third = await queue.enqueue(diary.work, "x", 1)
        await queue.join()

    assert states(first, second, third) == ["cancelled", "succeeded", "succeeded"]


async def test_many_jobs_leave_nothing_behind() -> None:
    """Thousands of cancelled jobs do not lie about behind one that runs for long."""
    queue, diary = JobQueue(concurrency=1), Diary()

    async with hosted(queue):
        await queue.enqueue(diary.work, "blocker", 1)
        await anyio.lowlevel.checkpoint()
        kept = [await queue.enqueue(diary.note, n) for n in range(10)]
        for _ in range(2000):
            (await queue.enqueue(nothing)).cancel()
            assert len(queue._dispatcher.executor.ready) < 200
        await queue.join()

    assert states(*kept) == ["succeeded"] * 10
    assert diary.names == ["blocker", *range(10)]
