"""Admission to the queue: capacity, keys, threads, and in which order callers get their places."""

import gc
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial, wraps

import anyio
import pytest
from anyio import current_time
from job_hosts import Diary, again, hosted, nothing, tally, until
from threads import on_a_thread

from hostkit._values.functions import kind_of
from hostkit.jobs import Job, JobQueue, JobState, QueueClosedError, QueueFullError


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class TestCapacity:
    async def test_enqueue_waits_for_room(self) -> None:
        """While as many jobs wait as there is room for, `enqueue` waits; running jobs do not count."""
        queue, diary = JobQueue(concurrency=1, capacity=2), Diary()
        accepted: list[float] = []

        async with hosted(queue):
            for n in range(6):
                await queue.enqueue(diary.work, n, 1)
                accepted.append(current_time())
                await anyio.lowlevel.checkpoint()
            await queue.join()

        assert accepted == [0, 0, 0, 1, 2, 3]
        assert diary.names == list(range(6))

    async def test_enqueue_nowait_refuses_instead(self) -> None:
        """`enqueue_nowait` raises where `enqueue` would wait."""
        queue = JobQueue(concurrency=1, capacity=2)

        async with hosted(queue):
            queue.enqueue_nowait(nothing)
            queue.enqueue_nowait(nothing)
            with pytest.raises(QueueFullError, match="the queue is full: 2 jobs wait in it") as caught:
                queue.enqueue_nowait(nothing)
            await queue.join()
            queue.enqueue_nowait(nothing)

        assert caught.value.capacity == 2
        assert tally(queue) == {"succeeded": 3}

    async def test_counts_delayed_jobs_and_retries(self) -> None:
        """Jobs that wait for their time take room as well; a retry is never refused."""
        queue, diary = JobQueue(capacity=2, retry=again(2, 50)), Diary()

        async with hosted(queue):
            await queue.enqueue(diary.fail)
            await queue.join()
            delayed = await queue.enqueue_in(10, diary.note)
            with pytest.raises(QueueFullError):
                queue.enqueue_nowait(nothing)
            await anyio.sleep(10)
            await delayed.wait()
            assert tally(queue) == {"retrying": 1, "succeeded": 1}
            await queue.enqueue(diary.fail)
            await queue.enqueue_in(100, diary.note)
            await anyio.sleep(1)
            assert tally(queue) == {"retrying": 2, "succeeded": 1, "delayed": 1}
            with pytest.raises(QueueFullError):
                queue.enqueue_nowait(nothing)

    async def test_serves_waiting_callers_in_order(self) -> None:
        """Places go to those who wait for them, first come, first served, and nobody slips in before them."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        refused: list[float] = []

        async def late(number: int) -> None:
            await anyio.sleep(number / 10)
            await queue.enqueue(diary.work, number, 1)

        async def impatient() -> None:
            await first.wait()
            try:
                queue.enqueue_nowait(diary.note, "impatient")
            except QueueFullError:
                refused.append(current_time())

        async with hosted(queue), anyio.create_task_group() as group:
            first = await queue.enqueue(diary.work, "first", 1)
            await anyio.lowlevel.checkpoint()
            await queue.enqueue(diary.work, "second", 1)
            for number in range(1, 4):
                group.start_soon(late, number)
            group.start_soon(impatient)
            await anyio.sleep(1)
            await queue.join()

        assert diary.names == ["first", "second", 1, 2, 3]
        assert refused == [1]

    async def test_a_place_that_was_promised_is_given_to_no_other(self) -> None:
        """A place is taken as soon as a waiting caller is to have it, before the caller hears of that."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()

        async with hosted(queue), anyio.create_task_group() as group:
            await queue.enqueue(diary.work, "blocker", 5)
            await anyio.lowlevel.checkpoint()
            waiting = await queue.enqueue(nothing)
            group.start_soon(queue.enqueue, diary.note, "promised")
            await anyio.sleep(1)
            waiting.cancel()
            with pytest.raises(QueueFullError):
                queue.enqueue_nowait(diary.note, "impatient")

        assert diary.names == ["blocker", "promised"]

    async def test_a_caller_who_gives_up_passes_the_place_on(self) -> None:
        """A wait for room can be cancelled, before and after a place was promised; nothing is enqueued then."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()

        async def enqueue(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                await queue.enqueue(diary.work, name, 1)

        async with hosted(queue), anyio.create_task_group() as group:
            blocker = await queue.enqueue(diary.work, "blocker", 5)
            await anyio.lowlevel.checkpoint()
            waiting = await queue.enqueue(diary.work, "waiting", 1)
            early, late, kept = anyio.CancelScope(), anyio.CancelScope(), anyio.CancelScope()
            group.start_soon(enqueue, "early", early)
            await anyio.sleep(1)
            group.start_soon(enqueue, "late", late)
            await anyio.sleep(1)
            group.start_soon(enqueue, "kept", kept)
            await anyio.sleep(1)
            early.cancel()
            await anyio.sleep(1)
            late.cancel()
            waiting.cancel()  # promises its place to "late", who is just leaving
            await blocker.wait()
            await queue.join()

        assert diary.names == ["blocker", "kept"]
        assert tally(queue) == {"succeeded": 2, "cancelled": 1}
        assert queue._dispatcher.admission.waiting == queue._dispatcher.admission._reserved == 0

    async def test_before_the_start_nothing_makes_room(self) -> None:
        """A full queue that was not started is not waited for, as that would be for ever."""
        queue = JobQueue(capacity=1)
        await queue.enqueue(nothing)

        with pytest.raises(QueueFullError):
            await queue.enqueue(nothing)
        with pytest.raises(QueueFullError):
            await queue.enqueue_in(1, nothing)

    async def test_a_thread_and_the_loop_that_meet_at_the_last_place(self) -> None:
        """If both find themselves refused, whoever waits gets the place that is free after all."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()

        async with hosted(queue):
            await queue.enqueue(diary.work, "blocker", 1)
            await anyio.lowlevel.checkpoint()
            job = await queue._put_waiting(queue._new_job(diary.note, ("x",), {}), None)

            assert job.state is JobState.WAITING
            assert current_time() == 0


class TestKeys:
    async def test_returns_the_job_that_has_the_key(self) -> None:
        """While a job with a key waits, is delayed or runs, another enqueue with it returns the same job."""
        queue, diary = JobQueue(concurrency=1), Diary()
        keyed = queue.with_options(key="k")

        async with hosted(queue):
            delayed = await keyed.enqueue_in(5, diary.work, "a", 2)
            same = [
                await keyed.enqueue(diary.note),
                await keyed.enqueue_in(1, diary.note),
                keyed.enqueue_nowait(nothing),
            ]
            await queue.enqueue(diary.work, "blocker", 6)
            await anyio.sleep(5.5)
            waiting = delayed.state, await keyed.enqueue(diary.note)
            await anyio.sleep(1)
            running = delayed.state, await keyed.enqueue(diary.note)
            await delayed.wait()
            other = await keyed.enqueue(diary.work, "b", 1)
            await queue.join()

        assert all(job is delayed for job in same)
        assert waiting == (JobState.WAITING, delayed)
        assert running == (JobState.RUNNING, delayed)
        assert other is not delayed
        assert diary.names == ["blocker", "a", "b"]

    async def test_holds_through_retries(self) -> None:
        """A job that waits for its retry keeps its key."""
        queue, diary = JobQueue(), Diary()
        keyed = queue.with_options(key="k", retry=again(2, 5))

        async with hosted(queue):
            job = await keyed.enqueue(diary.fail)
            await queue.join()
            while_retrying = await keyed.enqueue(nothing)
            await job.wait()
            after = await keyed.enqueue(nothing)

        assert while_retrying is job
        assert after is not job

    async def test_is_free_again_after_a_cancellation(self) -> None:
        """A job that was cancelled gives its key back."""
        queue = JobQueue()
        keyed = queue.with_options(key="k")

        first = keyed.enqueue_nowait(nothing)
        first.cancel()
        second = keyed.enqueue_nowait(nothing)

        assert first is not second

    @pytest.mark.parametrize("function", [nothing, Diary().fail])
    async def test_is_not_kept_after_the_end(self, function: Callable[[], Awaitable[None]]) -> None:
        """A key that is used once does not stay in the queue for ever."""

        class Key: ...

        key = Key()
        reference = weakref.ref(key)
        queue = JobQueue(history=0)

        async with hosted(queue):
            await queue.with_options(key=key).enqueue(function)
            await queue.join()
            del key
            gc.collect()
            kept = reference()

        assert kept is None

    async def test_needs_no_room(self) -> None:
        """An enqueue that returns a job that is there already needs no room, also when it has waited for some."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        results: list[Job[object]] = []

        async def enqueue(key: str) -> None:
            results.append(await queue.with_options(key=key).enqueue(diary.work, key, 1))

        async with hosted(queue), anyio.create_task_group() as group:
            await queue.enqueue(diary.work, "blocker", 1)
            await anyio.lowlevel.checkpoint()
            full = await queue.with_options(key="a").enqueue(diary.work, "a", 1)
            same = await queue.with_options(key="a").enqueue(diary.work, "a", 1)
            group.start_soon(enqueue, "b")
            await anyio.sleep(0.1)
            group.start_soon(enqueue, "b")
            await anyio.sleep(0.1)
            group.start_soon(enqueue, "c")
            await anyio.sleep(5)

        assert full is same
        assert results[0] is results[1]
        assert diary.names == ["blocker", "a", "b", "c"]

    async def test_may_be_anything_hashable(self) -> None:
        """Keys of several parts are tuples."""
        queue = JobQueue()

        first = queue.with_options(key=("charge", 1)).enqueue_nowait(nothing)
        second = queue.with_options(key=("charge", 2)).enqueue_nowait(nothing)
        third = queue.with_options(key=("charge", 1)).enqueue_nowait(nothing)

        assert first is third
        assert first is not second


class TestThreads:
    async def test_enqueues_from_another_thread(self) -> None:
        """`enqueue_nowait` works from any thread; the job runs in the event loop."""
        queue, diary = JobQueue(), Diary()
        jobs: list[Job[object]] = []
        both_are_there = anyio.Event()

        async def keyed() -> None:
            await diary.note("keyed")
            await both_are_there.wait()  # the first is run while the second is being enqueued

        def elsewhere() -> None:
            jobs.extend(queue.enqueue_nowait(diary.note, n) for n in range(3))
            jobs.append(queue.with_options(key="k").enqueue_nowait(keyed))
            jobs.append(queue.with_options(key="k").enqueue_nowait(keyed))

        async with hosted(queue):
            await anyio.to_thread.run_sync(elsewhere)
            both_are_there.set()
            for job in jobs:
                await job.wait()

        assert diary.names == [0, 1, 2, "keyed"]
        assert jobs[3] is jobs[4]

    async def test_refuses_threads_too(self) -> None:
        """A full queue refuses a thread, and so does a closed one."""
        queue = JobQueue(capacity=1)
        errors: list[BaseException] = []

        def elsewhere() -> None:
            try:
                queue.enqueue_nowait(nothing)
                queue.enqueue_nowait(nothing)
            except (QueueFullError, QueueClosedError) as error:
                errors.append(error)

        async with hosted(queue):
            on_a_thread(elsewhere)
        on_a_thread(elsewhere)

        assert [type(error) for error in errors] == [QueueFullError, QueueClosedError]
        assert tally(queue) == {"succeeded": 1}

    async def test_keeps_the_order_between_threads_and_the_loop(self) -> None:
        """What a thread has enqueued comes before what the loop enqueues afterwards."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async with hosted(queue):
            on_a_thread(partial(queue.enqueue_nowait, diary.note, "thread"))
            await queue.enqueue(diary.note, "loop")
            await queue.join()

        assert diary.names == ["thread", "loop"]

    async def test_counts_what_threads_have_just_brought(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A job that a thread brings while the loop is at the door takes room at once."""
        queue = JobQueue(capacity=1)

        async with hosted(queue):
            # As if it came between the loop's look into the tray and its look at the room.
            monkeypatch.setattr(queue._dispatcher.inbox, "take_in", lambda: None)
            on_a_thread(partial(queue.enqueue_nowait, nothing))
            with pytest.raises(QueueFullError):
                queue.enqueue_nowait(nothing)
            monkeypatch.undo()

        assert tally(queue) == {"succeeded": 1}

    async def test_takes_in_what_threads_have_brought_when_it_closes(self) -> None:
        """A job that a thread enqueued just before the queue's turn to stop came is drained with the others."""
        queue, diary = JobQueue(), Diary()

        async with hosted(queue):
            on_a_thread(partial(queue.enqueue_nowait, diary.note, "thread"))
            # No checkpoint: the loop has not seen it yet.
        assert diary.names == ["thread"]

    @pytest.mark.long
    @pytest.mark.real_time
    @pytest.mark.parametrize("capacity", [100_000, 100])
    async def test_loses_and_doubles_nothing(self, capacity: int, frequent_switches: None) -> None:
        """Enqueued from eight threads and the loop at once, every job runs once, and capacity is never passed."""
        threads, per_thread = 8, 100_000 // 9
        queue = JobQueue(capacity=capacity)
        runs: Counter[tuple[int, int]] = Counter()
        accepted: list[int] = []
        too_many: list[int] = []

        async def job(thread: int, number: int) -> None:
            runs[thread, number] += 1
            waiting = queue._dispatcher.admission.waiting
            if waiting > capacity + 1:  # a thread that counts itself in, to look then
                too_many.append(waiting)

        def hammer(thread: int) -> None:
            for number in range(per_thread):
                with suppress(QueueFullError):
                    accepted.append(queue.enqueue_nowait(job, thread, number).id)

        async with hosted(queue):
            started = [threading.Thread(target=hammer, args=(thread,)) for thread in range(threads)]
            for thread in started:
                thread.start()
            for number in range(per_thread):
                accepted.append((await queue.enqueue(job, threads, number)).id)  # noqa: PERF401  # one by one
            await until(lambda: not any(thread.is_alive() for thread in started), within=60)
            await queue.join()

        assert too_many == []
        assert set(runs.values()) == {1}
        assert len(accepted) == len(set(accepted)) == len(runs) == queue.counts[JobState.SUCCEEDED]
        assert sum(queue.counts.values()) == len(runs)
        assert sum(thread == threads for thread, _ in runs) == per_thread
        assert capacity < len(runs) or len(runs) == 9 * per_thread


async def enqueue_or_note(queue: JobQueue, refused: list[float]) -> None:
    """Enqueue a job, or note when it is refused."""
    try:
        await queue.enqueue(nothing)
    except QueueClosedError:
        refused.append(current_time())


class TestClosing:
    async def test_refuses_after_its_turn_to_stop(self) -> None:
        """When the queue's turn to stop has come, it is closed, also for its own jobs."""
        queue = JobQueue()

        async def parent() -> None:
            await anyio.sleep(5)
            await queue.enqueue(nothing)

        async with hosted(queue):
            job = await queue.enqueue(parent)
            await anyio.sleep(1)

        with pytest.raises(QueueClosedError, match="job 'nothing' was refused") as caught:
            job.result()
        with pytest.raises(QueueClosedError):
            await queue.enqueue(nothing)
        with pytest.raises(QueueClosedError):
            await queue.enqueue_in(1, nothing)
        assert caught.value.job == "nothing"

    async def test_refuses_those_who_wait_for_room(self) -> None:
        """Whoever waits for room when the queue closes is refused."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        refused: list[float] = []

        async with anyio.create_task_group() as group, hosted(queue):
            await queue.enqueue(diary.work, "blocker", 5)
            await anyio.lowlevel.checkpoint()
            await queue.enqueue(diary.work, "waiting", 1)
            group.start_soon(enqueue_or_note, queue, refused)
            group.start_soon(enqueue_or_note, queue, refused)
            await anyio.sleep(1)

        assert refused == [1, 1]
        assert tally(queue) == {"succeeded": 2}
        assert queue._dispatcher.admission.waiting == queue._dispatcher.admission._reserved == 0

    async def test_refuses_those_who_hear_of_it_after_the_next_start(self) -> None:
        """A caller whose own event loop was busy until the queue was open again is refused, and has taken no place."""
        queue = JobQueue(capacity=1)
        queue.pause()
        refused: list[float] = []

        async with hosted(queue), anyio.create_task_group() as group:
            await queue.enqueue(nothing)
            group.start_soon(enqueue_or_note, queue, refused)
            await anyio.sleep(1)
            queue._dispatcher.admission.close()
            queue._dispatcher.admission.open()

        assert refused == [1]
        assert queue._dispatcher.admission._reserved == 0

    async def test_refuses_a_promise_that_comes_too_late(self) -> None:
        """A caller to whom a place was promised at the instant of the stop is refused as well."""
        queue, diary = JobQueue(concurrency=1, capacity=1), Diary()
        refused: list[float] = []

        async with anyio.create_task_group() as group, hosted(queue):
            await queue.enqueue(diary.work, "blocker", 5)
            await anyio.lowlevel.checkpoint()
            waiting = await queue.enqueue(diary.work, "waiting", 1)
            group.start_soon(enqueue_or_note, queue, refused)
            await anyio.sleep(1)
            waiting.cancel()
            queue._dispatcher.close()

        assert refused == [1]
        assert queue._dispatcher.admission.waiting == queue._dispatcher.admission._reserved == 0


class TestKinds:
    """What has been read off a function is kept, but does not keep the function."""

    def test_functions_of_modules_are_looked_up_quickly(self) -> None:
        """What says all by its code is looked up there."""
        kind = kind_of(nothing)

        assert kind_of(nothing) is kind

    @pytest.mark.parametrize("decorated", [False, True])
    def test_functions_that_come_and_go_are_not_kept(self, *, decorated: bool) -> None:
        """A function that was made in another one goes when it is no longer needed."""

        def make() -> Callable[[], object]:
            async def inner() -> None: ...

            async def outer() -> None: ...

            return wraps(inner)(outer) if decorated else inner

        function = make()
        assert kind_of(function) is kind_of(function)
        reference = weakref.ref(function)
        del function
        gc.collect()
        assert reference() is None

    def test_builtins_that_do_not_tell_their_parameters_are_taken(self) -> None:
        """A builtin without a signature takes no token."""
        assert kind_of(min) == (False, False, False)
        assert kind_of([].append) == (False, False, False)
