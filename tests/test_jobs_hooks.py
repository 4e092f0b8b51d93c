"""Who hears of jobs that fail, are lost, or cannot go on: hooks, listeners, the log; and what misbehaves there."""

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio import current_time
from job_hosts import Diary, again, hosted, nothing, of_a_queue, run_one, states
from loguru import logger
from puppet import QUIET, live

from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit.events import HostEvent, JobFailed, JobsLost
from hostkit.jobs import Job, JobCancelledError, JobQueue, JobState, JobStateError


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    """The log records of a queue."""
    found: list[dict[str, Any]] = []
    sink = logger.add(lambda message: found.append(dict(message.record)), filter=of_a_queue, format="{message}")
    yield found
    logger.remove(sink)


class TestOnFailed:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_gets_what_has_failed_for_good(self, *, is_async: bool) -> None:
        """The hook is called once for a job, after its last attempt, sync or async."""
        seen: list[tuple[int, str, int, float]] = []

        def hear(job: Job[object]) -> None:
            seen.append((job.id, job.state, job.attempts, current_time()))

        async def hear_later(job: Job[object]) -> None:
            await anyio.sleep(3)
            hear(job)

        queue, diary = JobQueue(retry=again(3, 10), on_failed=hear_later if is_async else hear), Diary()
        async with hosted(queue):
            await queue.enqueue(diary.fail)
            await queue.enqueue(diary.note)
            await anyio.sleep(50)

        assert seen == [(1, "failed", 3, 23 if is_async else 20)]

    async def test_is_called_for_one_after_the_other_and_holds_up_no_job(self) -> None:
        """A slow hook gets one job after the other, while the queue goes on; a stop waits for it."""
        heard: list[tuple[object, float]] = []

        async def hear(job: Job[object]) -> None:
            await anyio.sleep(5)
            heard.append((job.args[0], current_time()))

        queue, diary = JobQueue(concurrency=1, on_failed=hear), Diary()
        async with hosted(queue):
            for number in range(3):
                await queue.enqueue(diary.fail, number)
            last = await queue.enqueue(diary.note)
            await last.wait()
            assert current_time() == 0

        assert heard == [(0, 5), (1, 10), (2, 15)]

    async def test_may_pause_the_queue(self) -> None:
        """A plain function is called before another job begins."""
        queue, diary = JobQueue(concurrency=1, on_failed=lambda _: queue.pause()), Diary()

        async with hosted(queue):
            for _ in range(3):
                await queue.enqueue(diary.fail)
            await anyio.sleep(1)
            assert len(queue.waiting()) == 2

        assert len(diary.names) == 1

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_its_own_errors_are_logged(self, *, is_async: bool, records: list[dict[str, Any]]) -> None:
        """What the hook raises is a line in the log, and no failure of anything."""

        def broken(_: Job[object]) -> None:
            raise KeyError

        async def broken_later(_: Job[object]) -> None:
            raise KeyError

        queue, diary = JobQueue(on_failed=broken_later if is_async else broken), Diary()
        async with hosted(queue, log_level="ERROR"):
            await queue.enqueue(diary.fail)
            await queue.enqueue(diary.fail)
            await queue.join()
            await anyio.sleep(1)

        assert [record["message"] for record in records if "on_failed" in record["message"]] == [
            "on_failed of the queue failed: KeyError()"
        ] * 2

    async def test_awaits_what_a_plain_one_returns(self) -> None:
        """A plain function may return what is to be awaited: it is called at once, and the rest is beside the jobs."""
        heard: list[tuple[object, float]] = []

        async def hear(job: Job[object], channel: str) -> None:
            await anyio.sleep(5)
            heard.append((channel, current_time()))

        def choose(job: Job[object]) -> Awaitable[None] | None:
            return hear(job, "mail") if job.args[0] else None

        queue, diary = JobQueue(concurrency=1, on_failed=choose), Diary()
        async with hosted(queue):
            for number in range(3):
                await queue.enqueue(diary.fail, number)

        assert heard == [("mail", 5), ("mail", 10)]

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("is_cancellation", [False, True])
    async def test_a_cancellation_out_of_it_is_an_error_like_any_other(
        self, *, is_async: bool, is_cancellation: bool, records: list[dict[str, Any]]
    ) -> None:
        """What was cancelled elsewhere, and `GeneratorExit`, is a line in the log; the next jobs are told as ever."""
        kind = anyio.get_cancelled_exc_class() if is_cancellation else GeneratorExit
        heard: list[object] = []

        def hear(job: Job[object]) -> None:
            heard.append(job.args[0])
            if len(heard) == 1:
                raise kind.__new__(kind)

        async def hear_later(job: Job[object]) -> None:
            await anyio.sleep(1)
            hear(job)

        queue, diary = JobQueue(on_failed=hear_later if is_async else hear), Diary()
        async with hosted(queue, log_level="ERROR") as host:
            for number in range(3):
                await queue.enqueue(diary.fail, number)
            await anyio.sleep(10)
            healthy = host.status().healthy

        assert heard == [0, 1, 2]
        assert healthy
        assert len([record for record in records if "on_failed of the queue failed" in record["message"]]) == 1

    async def test_an_exit_out_of_it_is_a_request_to_stop(self) -> None:
        """`SystemExit` out of the hook is what it is out of a job."""

        def leave(_: Job[object]) -> None:
            raise SystemExit(5)

        queue = JobQueue(on_failed=leave)
        await queue.enqueue(Diary().fail)
        with pytest.raises(SystemExit) as caught:
            await live(hosted(queue))

        assert caught.value.code == 5

    async def test_a_hook_that_is_cancelled_by_the_stop(self) -> None:
        """At the deadline a hook is cancelled with everything else."""
        ended: list[float] = []

        async def hear(_: Job[object]) -> None:
            try:
                await anyio.sleep(1000)
            finally:
                ended.append(current_time())

        queue = JobQueue(on_failed=hear)
        with pytest.raises(ExceptionGroup):
            async with hosted(queue):
                await queue.enqueue(Diary().fail)
                await queue.join()

        assert ended == [20]

    @pytest.mark.parametrize("form", ["async", "plain", "no coroutine"])
    async def test_a_hook_that_takes_too_long(self, records: list[dict[str, Any]], form: str) -> None:
        """A line counts the jobs of which the hook could not be told before the deadline; what waits is closed."""

        async def hear(_: Job[object]) -> None:
            await anyio.sleep(15)

        def hear_later(job: Job[object]) -> object:
            return hear(job)

        class Hearing:
            def __init__(self, job: Job[object]) -> None:
                self.job = job

            def __await__(self) -> Generator[Any, Any, None]:
                return hear(self.job).__await__()

        hooks: dict[str, Callable[[Job[object]], object]] = {
            "async": hear,
            "plain": hear_later,
            "no coroutine": Hearing,
        }
        queue, diary = JobQueue(on_failed=hooks[form]), Diary()
        with pytest.raises(ExceptionGroup):
            async with hosted(queue, log_level="WARNING", shutdown_timeout=20):
                for _ in range(4):
                    await queue.enqueue(diary.fail)
                await queue.join()

        assert [record["message"] for record in records if "on_failed" in record["message"]] == [
            "on_failed was cancelled, and has not heard of 2 x fail (numbers 3, 4)"
        ]


class TestEvents:
    async def test_reach_the_listeners_of_the_host(self) -> None:
        """A job that has failed for good and a loss are events, in the name of the queue's service."""
        heard: list[HostEvent] = []
        builder = HostBuilder(QUIET)
        builder.on_event(heard.append)
        queue = builder.add_service(JobQueue(retry=again(2, 1)), name="mails")

        async with builder.build():
            await anyio.sleep(1)
            job = await queue.with_options(name="welcome").enqueue(Diary().fail)
            await job.wait()
            for _ in range(3):
                await queue.enqueue_in(100, nothing)
            await anyio.sleep(1)

        assert job.error is not None
        assert [event for event in heard if isinstance(event, JobFailed | JobsLost)] == [
            JobFailed(2, "mails", "welcome", 1, 2, job.error),
            JobsLost(3, "mails", 3),
        ]


class TestLog:
    async def test_lines_have_fields(self, records: list[dict[str, Any]]) -> None:
        """A line of a job has the name of its queue, its own name and number, attempt and duration as fields."""
        builder = HostBuilder(HostOptions(log_level="WARNING"))
        queue = builder.add_service(JobQueue(retry=again(2, 1)), name="mails")

        async with builder.build():
            job = await queue.with_options(name="welcome").enqueue(Diary().fail, "x", 3)
            await job.wait()

        fields = ("queue", "job", "job_id", "attempt", "duration")
        first, second = ([record["extra"].get(field) for field in fields] for record in records)
        assert first == ["mails", "welcome", 1, 1, 3]
        assert second == ["mails", "welcome", 1, 2, 3]

    async def test_losses_are_one_line(self, records: list[dict[str, Any]]) -> None:
        """Lost jobs are counted by name, the most first, with numbers and keys, in a warning in the queue's name."""
        builder = HostBuilder(HostOptions(log_level="WARNING"))
        queue = builder.add_service(JobQueue(), name="mails")

        async with builder.build():
            await queue.with_options(key="order\n7", name="charge").enqueue_in(100, nothing)
            for _ in range(12):
                await queue.enqueue_in(100, nothing)

        assert [(record["level"].name, record["extra"]["service"], record["message"]) for record in records] == [
            (
                "WARNING",
                "mails",
                (
                    "13 jobs were lost at the stop: 12 x nothing (numbers 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2 more), "
                    r"1 x charge (number 1 with key 'order\n7')"
                ),
            )
        ]


class TestWaitsForItself:
    async def test_join_in_a_job(self) -> None:
        """A job that joins its own queue, or has a task do so, fails at the call."""
        queue = JobQueue(concurrency=2)

        async def joins() -> None:
            await queue.join()

        async def joins_in_a_task() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(queue.join)

        async with hosted(queue):
            jobs = [await queue.enqueue(joins), await queue.enqueue(joins_in_a_task)]
            await queue.join()

        assert states(*jobs) == ["failed", "failed"]
        assert isinstance(jobs[0].error, JobStateError)
        assert "a job that waits until its queue is idle would wait for ever" in str(jobs[0].error)

    @pytest.mark.parametrize("steps", [0, 1])
    async def test_a_job_for_its_own_end(self, steps: int) -> None:
        """A job that waits for itself fails at the call, also when it gets itself back by its key."""
        queue = JobQueue(concurrency=2)

        async def waits() -> None:
            for _ in range(steps):
                await anyio.sleep(1)
            own = await queue.with_options(key="k").enqueue(waits)
            await own.wait()

        async with hosted(queue):
            job = await queue.with_options(key="k").enqueue(waits)
            await queue.join()

        assert job.state is JobState.FAILED
        assert str(job.error) == "job 'waits' is running: it would wait for its own end, for ever"

    async def test_a_job_may_wait_in_several_tasks(self, records: list[dict[str, Any]]) -> None:
        """A job that waits for several others at a time is counted as one."""
        queue = JobQueue(concurrency=2)

        async def waits() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon((await queue.enqueue(nothing)).wait)

        async with hosted(queue, log_level="WARNING"):
            job = await queue.enqueue(waits)
            await job.wait()

        assert job.state is JobState.SUCCEEDED
        assert records == []

    async def test_another_queue_may_be_joined(self) -> None:
        """A job may wait for another queue, and for a job of it."""
        first, second = JobQueue(concurrency=1), JobQueue(concurrency=1)

        async def waits() -> None:
            await (await second.enqueue(nothing)).wait()
            await second.join()

        async with hosted(first, second):
            job = await first.enqueue(waits)
            await job.wait()

        assert job.state is JobState.SUCCEEDED

    @pytest.mark.parametrize("for_room", [False, True])
    async def test_all_that_runs(self, *, for_room: bool, records: list[dict[str, Any]]) -> None:
        """When every job that runs waits for room in its queue, or for a job of it, the log says so, with names."""
        queue = JobQueue(concurrency=2, capacity=2)

        async def waits() -> None:
            await anyio.sleep(1)
            job = await queue.enqueue(nothing)
            if for_room:
                await queue.enqueue(nothing)
            await job.wait()

        async with hosted(queue, log_level="WARNING"):
            jobs = [await queue.enqueue(waits), await queue.enqueue(waits)]
            await anyio.sleep(100)
            messages = [record["message"] for record in records]
            jobs[0].cancel()
            await jobs[1].wait()
            await queue.join()

        assert len(messages) == 1
        assert messages[0].startswith(
            "every job that runs waits for room in its own queue, or for a job of it, so that"
        )
        assert "none can begin: 2 x waits (numbers 1, 2); use a larger concurrency" in messages[0]
        assert records[0]["extra"] == {"service": "job-queue", "queue": "job-queue"}

    async def test_all_that_runs_again_and_again(self, records: list[dict[str, Any]]) -> None:
        """Jobs that wait with a timeout, again and again, are named once."""
        queue = JobQueue(concurrency=2)

        async def polls(seconds: float) -> None:
            job = await queue.enqueue_in(60, nothing)
            while job.state is JobState.DELAYED:
                with anyio.move_on_after(seconds):
                    await job.wait()

        async with hosted(queue, log_level="WARNING"):
            await queue.enqueue(polls, 2)
            await queue.enqueue(polls, 3)
            await queue.join()

        assert [record["message"][:25] for record in records] == ["every job that runs waits"]

    async def test_one_that_does_not_wait_is_enough(self, records: list[dict[str, Any]]) -> None:
        """As long as one job goes on, nothing is said."""
        queue, diary = JobQueue(concurrency=2), Diary()

        async def waits() -> None:
            await (await queue.enqueue(nothing)).wait()

        async with hosted(queue, log_level="WARNING"):
            await queue.enqueue(diary.work, "x", 3)
            job = await queue.enqueue(waits)
            await job.wait()

        assert records == []


class TestOnLost:
    async def test_has_until_the_last_instant_whenever_it_begins(self) -> None:
        """A queue whose turn comes late has the time of the cancellation all the same."""
        saved: list[Job[object]] = []

        async def save(jobs: Sequence[Job[object]]) -> None:
            await anyio.sleep(3)
            saved.extend(jobs)

        class SlowToStop(BackgroundService):
            async def execute(self, stopping_token: StoppingToken) -> None:
                await stopping_token.wait()
                await anyio.sleep(19)

        queue = JobQueue(on_lost=save)
        async with hosted(queue, SlowToStop()):
            await queue.enqueue_in(100, nothing)

        assert saved == list(queue.lost)
        assert len(saved) == 1
        assert current_time() == 22


class Unprintable(Exception):  # noqa: N818  # it stands for errors of others
    """Neither text nor representation."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


class BadNotes(Exception):  # noqa: N818  # likewise
    """Notes that cannot be read."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # as users write it
        raise ValueError


class NumberNotes(Exception):  # noqa: N818  # likewise
    """Notes that are no list of texts."""

    __notes__ = None  # type: ignore[assignment]  # as users write it


class BadGroup(ExceptionGroup[Exception]):
    """A group that cannot be split."""

    def derive(self, excs: Sequence[Exception]) -> "BadGroup":  # type: ignore[override]  # as users write it
        raise ValueError


class BadBaseGroup(BaseExceptionGroup[BaseException]):
    """A group that cannot be split, of anything."""

    def derive(self, excs: Sequence[BaseException]) -> "BadBaseGroup":  # type: ignore[override]  # as users write it
        raise ValueError


@dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818  # likewise
    """An error that takes no traceback."""

    code: int = 402


class TestMisbehaviour:
    @pytest.mark.parametrize(
        "make",
        [Unprintable, BadNotes, NumberNotes, Frozen, lambda: BadGroup("group", [OSError(), BadNotes()]), GeneratorExit],
        ids=["unprintable", "notes that raise", "no notes", "frozen", "no group", "generator exit"],
    )
    @pytest.mark.parametrize("steps", [0, 1])
    async def test_of_errors(self, make: Callable[[], BaseException], steps: int) -> None:
        """An error that can be neither printed nor taken apart is a failed job, and the queue goes on to its end."""
        lost: list[Job[object]] = []
        error = make()

        async def fail() -> None:
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            raise error

        queue = JobQueue(retry=again(2, 1), on_lost=lost.extend)
        async with hosted(queue, log_level="WARNING") as host:
            failed = await queue.enqueue(fail)
            await failed.wait()
            good = await queue.enqueue(nothing)
            await good.wait()
            healthy = host.status().healthy
            await queue.enqueue_in(100, nothing)

        assert states(failed, good) == ["failed", "succeeded"]
        assert failed.error is error or isinstance(error, GeneratorExit)
        assert healthy
        assert len(lost) == 1

    @pytest.mark.parametrize("with_error", [False, True])
    async def test_of_a_group_with_a_cancellation(self, *, with_error: bool) -> None:
        """A cancellation in a group that cannot be taken apart is taken out of it all the same."""
        cancelled = anyio.get_cancelled_exc_class()
        failure = OSError()

        async def fail() -> None:
            members = [cancelled.__new__(cancelled), *([failure] if with_error else [])]
            raise BadBaseGroup("group", members)

        queue = JobQueue()
        job = await run_one(queue, fail)

        assert job.state is JobState.FAILED
        if with_error:
            assert isinstance(job.error, ExceptionGroup)
            assert job.error.exceptions == (failure,)
        else:
            assert isinstance(job.error, JobCancelledError)

    async def test_of_a_sink(self) -> None:
        """A log sink that raises ends nothing, and keeps nobody from hearing of losses."""
        lost: list[Job[object]] = []

        def broken(_: object) -> None:
            raise OSError

        queue = JobQueue(retry=again(2, 1), on_lost=lost.extend)
        sink = logger.add(broken, catch=False)
        try:
            async with hosted(queue, log_level="WARNING"):
                failed = await queue.enqueue(Diary().fail)
                await failed.wait()
                good = await queue.enqueue(nothing)
                await good.wait()
                await queue.enqueue_in(100, nothing)
        finally:
            logger.remove(sink)

        assert states(failed, good) == ["failed", "succeeded"]
        assert len(lost) == 1

    async def test_of_a_key(self) -> None:
        """A key that cannot be compared any more takes its place until its job has ended, and no longer."""

        class Key:
            broken = False

            def __hash__(self) -> int:
                if self.broken:
                    raise ValueError
                return 1

        key, queue = Key(), JobQueue()

        async def breaks_its_key() -> None:
            Key.broken = True

        async with hosted(queue):
            job = await queue.with_options(key=key).enqueue(breaks_its_key)
            await job.wait()
            Key.broken = False
            again_ = await queue.with_options(key=key).enqueue(nothing)
            await again_.wait()

        assert states(job, again_) == ["succeeded", "succeeded"]
        assert again_ is not job

    @pytest.mark.parametrize("how", ["waits", "returns", "raises", "raises later"])
    async def test_of_a_scope_that_is_left_open(self, how: str) -> None:
        """A job that leaves a cancel scope open is named: the queue cannot go on in its task."""
        queue = JobQueue(concurrency=1)

        async def leave() -> None:
            anyio.CancelScope().__enter__()  # what a library may do by mistake
            if how in ("waits", "raises later"):
                await anyio.sleep(1)
            if how.startswith("raises"):
                raise ValueError

        await queue.enqueue(leave)
        with pytest.raises(ExceptionGroup) as caught:
            await live(hosted(queue))

        message = r"job 'leave' \(number 1\) has left a cancel scope or a task group open"
        assert caught.group_contains(RuntimeError, match=message)
