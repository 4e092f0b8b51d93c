"""Steering a queue and its jobs: from any thread, before, during and after a lifecycle."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from anyio import current_time
from job_hosts import Diary, again, hosted, nothing, states, tally
from threads import on_a_thread

from hostkit._execution.event_loop import EventLoop, ThreadSafeEvent
from hostkit._execution.inbox import Inbox
from hostkit.jobs import Job, JobQueue, JobState, JobStateError, QueueClosedError, QueueFullError
from hostkit.jobs._job import JobRecord


async def elsewhere(function: Callable[[], object]) -> object:
    """Call *function* on another thread, while the loop goes on."""
    return await anyio.to_thread.run_sync(function)


class TestFromThreads:
    async def test_cancel(self) -> None:
        """A job is cancelled from any thread, wherever it is; who asks too late is told."""
        queue, diary = JobQueue(concurrency=1), Diary()
        early = queue.enqueue_nowait(nothing)
        late = await queue.enqueue_in(5, nothing)
        assert await elsewhere(early.cancel)
        assert await elsewhere(late.cancel)

        async with hosted(queue):
            running = await queue.enqueue(diary.work, "running", 100)
            waiting = await queue.enqueue(diary.note, "waiting")
            delayed = await queue.enqueue_in(50, diary.note, "delayed")
            await anyio.sleep(1)
            for job in (running, waiting, delayed):
                on_a_thread(job.cancel)
            await queue.join()
            assert not await elsewhere(running.cancel)
        assert not await elsewhere(waiting.cancel)

        assert states(early, late, running, waiting, delayed) == ["cancelled"] * 5
        assert tally(queue) == {"cancelled": 5}
        assert diary.names == ["running"]

    async def test_two_threads_may_cancel_the_same_job(self) -> None:
        """A cancellation that comes when the job has ended changes nothing."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue_in(100, nothing)
            on_a_thread(job.cancel)
            on_a_thread(job.cancel)
            await anyio.sleep(1)
            await queue._dispatcher.wait_for(cast("JobRecord", job))  # it has ended just before the wait

        assert tally(queue) == {"cancelled": 1}

    async def test_a_thread_may_cancel_what_it_has_just_enqueued(self) -> None:
        """What one thread asks for is done in its order."""
        queue, diary = JobQueue(), Diary()

        def enqueue_and_cancel() -> None:
            job = queue.enqueue_nowait(diary.note, "cancelled")
            assert job.cancel()
            queue.enqueue_nowait(diary.note, "kept")

        async with hosted(queue):
            on_a_thread(enqueue_and_cancel)
            await queue.join()

        assert diary.names == ["kept"]
        assert tally(queue) == {"succeeded": 1, "cancelled": 1}

    async def test_requeue_and_discard(self) -> None:
        """A failed job is enqueued once more, or forgotten, from any thread."""
        queue, diary = JobQueue(), Diary()

        async with hosted(queue):
            first = await queue.enqueue(diary.fail, "first")
            second = await queue.enqueue(diary.fail, "second")
            await queue.join()
            on_a_thread(first.requeue)
            on_a_thread(second.discard)
            second.discard()
            assert not queue.failed
            await queue.join()
            assert [job.args for job in queue.failed] == [("first",)]
        await elsewhere(queue.failed[0].discard)

        assert diary.names == ["first", "second", "first"]
        assert queue.failed == ()
        assert tally(queue) == {"failed": 3}

    async def test_a_job_on_a_thread_may_steer_its_own_queue(self) -> None:
        """A blocking job may cancel, enqueue once more, pause, and read what there is to see."""
        queue, diary = JobQueue(concurrency=2), Diary()

        def steer(failed: Job[object], other: Job[object]) -> dict[JobState, int]:
            failed.requeue()
            other.cancel()
            queue.pause()
            queue.resume()
            assert queue.details()["paused"] is False
            assert queue.job(failed.id) is failed
            return dict(queue.counts)

        async with hosted(queue):
            failed = await queue.enqueue(diary.fail)
            other = await queue.enqueue_in(100, nothing)
            await failed.wait()
            steering = await queue.enqueue(steer, failed, other)
            await steering.wait()
            await queue.join()

        assert sum(steering.result().values()) == 4
        assert tally(queue) == {"succeeded": 1, "failed": 2, "cancelled": 1}

    async def test_pause_and_resume(self) -> None:
        """A pause holds from the moment at which the call has returned, whichever thread it comes from."""
        queue, diary = JobQueue(), Diary()

        async with hosted(queue):
            on_a_thread(queue.pause)
            assert queue.paused
            await queue.enqueue(diary.note)
            await anyio.sleep(10)
            assert diary.names == []
            on_a_thread(queue.resume)
            await queue.join()

        assert diary.times == [10]

    @pytest.mark.real_time
    async def test_waits_in_another_loop(self) -> None:
        """Another event loop may wait for a job, for the queue, and for room in it."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        seen: list[object] = []

        async def visit() -> None:
            await running.wait()
            seen.append(running.state)
            seen.append((await queue.enqueue(diary.note, "visitor")).name)
            await queue.join()
            seen.append(queue.counts[JobState.WAITING])

        async with hosted(queue):
            running = await queue.enqueue(diary.work, "running", 0.05)
            await anyio.lowlevel.checkpoint()
            await queue.enqueue(diary.note, "next")
            await elsewhere(partial(anyio.run, visit))

        assert seen == ["succeeded", "note", 0]

    @pytest.mark.real_time
    @pytest.mark.needs("trio")
    @pytest.mark.parametrize("library", ["asyncio", "trio"])
    async def test_a_job_from_another_library(self, library: str) -> None:
        """A job that was enqueued in a loop of trio runs in a host on asyncio, and the other way round."""
        queue = JobQueue()

        async def enqueue() -> None:
            job = await queue.enqueue(anyio.sleep, 0)
            await job.wait()
            job.result()

        async with hosted(queue):
            await elsewhere(partial(anyio.run, enqueue, backend=library))

        assert tally(queue) == {"succeeded": 1}

    @pytest.mark.real_time
    async def test_waits_from_before_the_start_in_another_loop(self) -> None:
        """Who waits for a job before the start is woken, whichever loop the queue runs in then."""
        queue = JobQueue()
        job = queue.enqueue_nowait(nothing)

        async def run() -> None:
            async with hosted(queue):
                await queue.join()

        async with anyio.create_task_group() as group:
            group.start_soon(job.wait)
            await anyio.lowlevel.checkpoint()
            await elsewhere(partial(anyio.run, run))

        assert job.state is JobState.SUCCEEDED

    @pytest.mark.real_time
    def test_a_loop_that_ended_without_a_stop(self) -> None:
        """When the loop has gone under the queue, threads are not held up, and nothing is left half done."""
        queue = JobQueue()
        jobs: list[Job[object]] = []

        async def leave() -> None:
            await queue.start()
            jobs.append(await queue.enqueue_in(100, nothing))

        anyio.run(leave)
        on_a_thread(jobs[0].cancel)

        assert states(*jobs) == ["cancelled"]


class TestPause:
    async def test_lets_what_runs_go_on(self) -> None:
        """A paused queue accepts jobs, finishes what runs, and begins nothing."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async with hosted(queue):
            running = await queue.enqueue(diary.work, "running", 5)
            await anyio.sleep(1)
            queue.pause()
            queue.pause()
            waiting = await queue.enqueue(diary.note, "waiting")
            delayed = await queue.enqueue_in(3, diary.note, "delayed")
            await anyio.sleep(20)
            assert states(running, waiting, delayed) == ["succeeded", "waiting", "waiting"]
            queue.resume()
            queue.resume()
            await queue.join()

        assert diary.entries == [("running", 0), ("waiting", 21), ("delayed", 21)]

    async def test_before_the_start_and_through_lifecycles(self) -> None:
        """A pause from before the start holds, a stop does not end it, and the next lifecycle keeps it."""
        queue, diary = JobQueue(), Diary()
        host = hosted(queue)
        queue.pause()
        first = queue.enqueue_nowait(diary.note, "first")

        async with host:
            await anyio.sleep(1)
            second = await queue.enqueue(diary.note, "second")
        assert states(first, second) == ["lost", "lost"]
        assert queue.lost == (first, second)
        async with host:
            third = await queue.enqueue(diary.note, "third")
            await anyio.sleep(1)
            assert third.state is JobState.WAITING
            queue.resume()
            await queue.join()

        assert diary.names == ["third"]


class TestRequeue:
    async def test_never_loses_a_job(self) -> None:
        """When another job has its key, or there is no room, the job stays in `failed`."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        mail = queue.with_options(key="mail")

        async with hosted(queue):
            first = await mail.enqueue(diary.fail, 1)
            await first.wait()
            await queue.enqueue(diary.work, "blocker", 5)
            await anyio.lowlevel.checkpoint()
            second = await mail.enqueue(diary.note, 2)
            with pytest.raises(JobStateError, match=rf"not enqueued once more, as job {second.id} has its key"):
                first.requeue()
            second.cancel()
            queue.enqueue_nowait(nothing)
            with pytest.raises(QueueFullError):
                first.requeue()
            assert list(queue.failed) == [first]
            await queue.join()
            again_ = first.requeue()
            assert not queue.failed
            await again_.wait()
        with pytest.raises(QueueClosedError):
            again_.requeue()

        assert list(queue.failed) == [again_]

    async def test_of_lost_jobs(self) -> None:
        """A lost job leaves `lost` when it is enqueued once more, or discarded."""
        queue, diary = JobQueue(), Diary()
        host = hosted(queue)

        async with host:
            lost = [await queue.enqueue_in(100, diary.note, number) for number in range(2)]
        lost[0].discard()
        assert list(queue.lost) == [lost[1]]
        async with host:
            lost[1].requeue()
            await queue.join()

        assert diary.names == [1]
        assert not queue.lost

    async def test_is_refused_for_others(self) -> None:
        """What has neither failed nor was lost can be neither enqueued once more nor discarded."""
        queue = JobQueue()
        job = queue.enqueue_nowait(nothing)

        def refuse() -> None:
            complaint = f"job 'nothing' is {job.state}: only a failed or lost job can be"
            for refused in (job.requeue, job.discard):
                with pytest.raises(JobStateError, match=complaint):
                    refused()

        refuse()
        async with hosted(queue):
            await job.wait()
            refuse()

        assert tally(queue) == {"succeeded": 1}


class TestFinding:
    async def test_waiting_jobs(self) -> None:
        """`waiting` shows what has not begun: ready jobs in their order, then the others by their time."""
        queue, diary = JobQueue(concurrency=1, retry=again(2, 50)), Diary()
        late = await queue.enqueue_in(100, nothing)
        early = await queue.enqueue(nothing)
        assert queue.waiting() == (early, late)

        async with hosted(queue):
            retried = await queue.enqueue(diary.fail)
            await queue.join()
            await queue.enqueue(diary.work, "running", 15)
            first, second = await queue.enqueue(nothing), await queue.enqueue(nothing)
            soon = await queue.enqueue_in(10, nothing)
            second.cancel()
            await anyio.sleep(1)

            assert queue.waiting() == (first, soon, retried, late)
            assert queue.waiting(2) == (first, soon)
            assert queue.waiting(0) == ()
            assert queue.waiting(10**30) == queue.waiting()

    @pytest.mark.parametrize(("limit", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
    def test_a_limit_is_checked(self, limit: int, error: type[Exception]) -> None:
        """A limit is a number of jobs."""
        with pytest.raises(error, match="limit must be"):
            JobQueue().waiting(limit)

    async def test_a_job_by_its_number(self) -> None:
        """`job` finds what waits, runs, or is kept, and nothing else."""
        queue, diary = JobQueue(concurrency=1, history=1), Diary()

        async with hosted(queue):
            failed = await queue.enqueue(diary.fail)
            await queue.enqueue(nothing)
            kept = await queue.enqueue(nothing)
            await queue.join()
            running = await queue.enqueue(diary.work, "running", 10)
            await anyio.sleep(1)
            waiting = await queue.enqueue(nothing)
            delayed = await queue.enqueue_in(100, nothing)
            known = [failed, kept, running, waiting, delayed]

            assert [queue.job(job.id) for job in known] == known
            assert queue.job(2) is None
            assert queue.job(0) is None
            with pytest.raises(TypeError, match="id must be an int, got '1'"):
                queue.job("1")  # type: ignore[arg-type]
        assert queue.job(delayed.id) is delayed

    async def test_details(self) -> None:
        """The status of the host shows counts, and what runs, each with the line where it is."""
        queue, diary = JobQueue(concurrency=2, capacity=5, retry=again(3, 1)), Diary()

        async with hosted(queue) as host:
            await queue.enqueue(diary.work, "x", 10)
            await anyio.sleep(7)
            await queue.enqueue_in(100, nothing)
            (status,) = host.status().services

        details = status.details
        assert details["counts"] == {"delayed": 1, "running": 1}
        assert (details["concurrency"], details["capacity"], details["paused"]) == (2, 5, False)
        assert details["oldest_waiting_age"] == 0
        (running,) = cast("list[dict[str, Any]]", details["running"])
        assert running["name"] == "work"
        assert (running["id"], running["attempt"], running["seconds"]) == (1, 1, 7)
        assert running["line"].endswith("in Diary.work")

    @pytest.mark.real_time
    async def test_details_of_a_thread(self) -> None:
        """A blocking job is shown with the line of its thread."""
        queue = JobQueue()
        gate, entered = threading.Event(), threading.Event()

        def block() -> None:
            entered.set()
            gate.wait(20)

        async with hosted(queue):
            await queue.enqueue(block)
            await elsewhere(partial(entered.wait, 20))
            (running,) = cast("list[dict[str, str]]", queue.details()["running"])
            gate.set()

        assert "test_jobs_steering.py" in running["line"]

    async def test_attempts(self) -> None:
        """A job tells how many runs it has at most."""
        assert JobQueue(retry=again(7, 1)).enqueue_nowait(nothing).max_attempts == 7


class TestInbox:
    async def test_does_nothing_for_a_loop_that_was_left(self) -> None:
        """What was posted into the loop of a former lifecycle is done once, and not there."""
        inbox, done = Inbox(), list[str]()
        with inbox.lock:
            inbox.open()
        on_a_thread(partial(inbox.do, lambda: done.append("posted")))
        assert done == []
        inbox.close()
        assert done == ["posted"]
        inbox.take_in()
        inbox.do(lambda: done.append("direct"))

        assert done == ["posted", "direct"]

    async def test_first_come_first_served(self) -> None:
        """What the loop itself asks for comes after what threads have asked for before."""
        inbox, done = Inbox(), list[str]()
        with inbox.lock:
            inbox.open()
        on_a_thread(partial(inbox.do, lambda: done.append("thread")))
        inbox.do(lambda: done.append("loop"))
        inbox.close()

        assert done == ["thread", "loop"]


class TestThreadSafeEvent:
    async def test_wakes_all_once_it_is_set(self) -> None:
        """All who wait are woken, and nobody waits after that."""
        event, woken = ThreadSafeEvent(), list[float]()

        async def wait() -> None:
            await event.wait()
            woken.append(current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.sleep(1)
            event.set()
            event.set()
        await wait()

        assert woken == [1, 1, 1]

    async def test_a_wait_may_be_cancelled(self) -> None:
        """Who has given up, again and again, leaves nothing behind, and does not keep others from being woken."""
        event = ThreadSafeEvent()

        for _ in range(3):
            with anyio.move_on_after(1):
                await event.wait()
        assert not event._waiters
        event.set()
        await event.wait()

        assert EventLoop().time() == 3
