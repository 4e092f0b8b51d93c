"""Retries: how often, when, after which errors, and what is left when there are no more."""

from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from anyio import current_time
from job_hosts import Diary, again, hosted, log_lines, nothing, own_task, run_one, states, tally

import hostkit
from hostkit import Backoff, HostBuilder, HostOptions
from hostkit.jobs import JobCancelledError, JobQueue, JobState, Retry, RetryAfterError


class TestRuns:
    async def test_runs_a_failing_job_again(self) -> None:
        """A failing job is run `attempts` times in all, with the backoff's delays, to the instant."""
        queue, diary = JobQueue(retry=Retry(attempts=4, backoff=Backoff(initial=1, jitter=0))), Diary()

        async with hosted(queue):
            job = await queue.enqueue(diary.fail, "x", 0.5)
            await anyio.sleep(1)
            between = job.state, job.attempts, job.due_at, type(job.error)
            await job.wait()

        assert diary.times == [0, 1.5, 4, 8.5]
        assert between == (JobState.RETRYING, 1, 1.5, OSError)
        assert (job.state, job.attempts, job.ended_at) == (JobState.FAILED, 4, 9)

    async def test_a_run_that_succeeds_is_the_last(self) -> None:
        """After a success there is no further run, and no error is left."""
        queue = JobQueue(retry=again(5, 1))
        runs: list[float] = []

        async def flaky() -> str:
            runs.append(current_time())
            if len(runs) < 3:
                raise OSError
            return "at last"

        job = await run_one(queue, flaky)

        assert runs == [0, 1, 2]
        assert (job.result(), job.error, job.attempts) == ("at last", None, 3)

    async def test_other_jobs_run_meanwhile(self) -> None:
        """A job that waits for its retry holds nobody up, and comes round after those that became ready before."""
        queue, diary = JobQueue(concurrency=1, retry=again(2, 1)), Diary()

        async with hosted(queue):
            await queue.enqueue(diary.fail, "a")
            await queue.enqueue(diary.work, "b", 2)
            await queue.enqueue(diary.note, "c")
            await anyio.sleep(5)

        assert diary.entries == [("a", 0), ("b", 0), ("c", 2), ("a", 2)]

    async def test_timeouts_are_failures_too(self) -> None:
        """A run that was cut by its timeout is retried like one that failed."""
        queue, diary = JobQueue(timeout=2, retry=again(2, 1)), Diary()

        job = await run_one(queue, diary.work, "x", 10)

        assert diary.times == [0, 3]
        assert isinstance(job.error, TimeoutError)

    async def test_without_a_delay_it_runs_again_at_once(self) -> None:
        """A delay of 0 is a retry behind what is ready."""
        queue, diary = JobQueue(concurrency=1, retry=again(3, 0)), Diary()

        async with hosted(queue):
            await queue.enqueue(diary.fail, "a")
            await queue.enqueue(diary.note, "b")
            await queue.join()
            await anyio.sleep(1)

        assert diary.entries == [("a", 0), ("b", 0), ("a", 0), ("a", 0)]


class TestRetryAfter:
    async def test_a_job_may_say_when(self) -> None:
        """A job that knows when to come again says so; the run counts as an attempt."""
        queue = JobQueue(retry=again(3, 1, on=KeyError))
        runs: list[float] = []

        async def limited() -> None:
            runs.append(current_time())
            raise RetryAfterError(timedelta(minutes=1))

        job = await run_one(queue, limited)

        assert runs == [0, 60, 120]
        assert isinstance(job.error, RetryAfterError)
        assert job.error.seconds == 60
        assert str(job.error) == "to be retried after 60 s"

    @pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), ("soon", TypeError)])
    def test_refuses_what_is_no_duration(self, seconds: float, error: type[Exception]) -> None:
        """A wrong duration fails where it is given."""
        with pytest.raises(error):
            RetryAfterError(seconds)


class TestErrors:
    @pytest.mark.parametrize(
        ("retry", "attempts"),
        [
            (again(2, 1), 2),
            (again(2, 1, on=OSError), 2),
            (again(2, 1, on=(KeyError, OSError)), 2),
            (again(2, 1, on=KeyError), 1),
            (again(2, 1, not_on=OSError), 1),
            (again(2, 1, on=Exception, not_on=(KeyError, OSError)), 1),
            (again(2, 1, on=OSError, not_on=FileNotFoundError), 2),
        ],
    )
    async def test_only_some_are_retried(self, retry: Retry, attempts: int) -> None:
        """`on` names the errors that are retried, `not_on` those of them that are not."""
        queue, diary = JobQueue(retry=retry), Diary()

        job = await run_one(queue, diary.fail)

        assert job.attempts == attempts

    async def test_groups_are_errors(self) -> None:
        """What comes out of a task group of the job is retried as the group that it is."""
        queue = JobQueue(retry=again(2, 1))

        async def parent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(Diary().fail)

        job = await run_one(queue, parent)

        assert isinstance(job.error, ExceptionGroup)
        assert job.attempts == 2

    @pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
    async def test_a_backoff_that_fails_ends_the_retries(self, error: type[BaseException]) -> None:
        """When the backoff fails, there is no further run; the job's own error is kept, with a note."""

        def broken(attempt: int) -> float:
            raise error

        queue = JobQueue(retry=Retry(attempts=5, backoff=broken))

        job = await run_one(queue, Diary().fail)

        assert isinstance(job.error, OSError)
        assert job.error.__notes__ == [f"not retried, as its backoff failed: {error.__name__}()"]

    @pytest.mark.parametrize("delay", [-1, None])
    async def test_so_does_one_that_returns_no_duration(self, delay: float) -> None:
        """What a backoff returns is checked."""
        queue = JobQueue(retry=Retry(attempts=5, backoff=lambda _: delay))

        job = await run_one(queue, Diary().fail)

        assert job.state is JobState.FAILED
        assert "what the backoff returns must" in job.error.__notes__[0]  # type: ignore[union-attr]


class TestPolicy:
    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"attempts": 0}, ValueError, "attempts must be 1 or more, got 0"),
            ({"attempts": 1.0}, TypeError, "attempts must be an int, got 1.0"),
            ({"backoff": 3}, TypeError, r"Retry\(backoff=...\) takes a function, got 3"),
            ({"backoff": nothing}, TypeError, "takes a synchronous function"),
            ({"on": "OSError"}, TypeError, "on takes an exception class or a tuple of them, got 'OSError'"),
            ({"on": (OSError, 3)}, TypeError, "on takes an exception class or a tuple of them, got 3"),
            ({"not_on": BaseException}, TypeError, "not_on takes an exception class"),
        ],
    )
    def test_is_checked_where_it_is_made(
        self, options: dict[str, object], error: type[Exception], complaint: str
    ) -> None:
        """A wrong value fails at the line that wrote it."""
        with pytest.raises(error, match=complaint):
            Retry(**options)  # type: ignore[arg-type]

    def test_is_a_value(self) -> None:
        """Two policies with the same values are the same; by default a job is run five times."""
        assert Retry() == Retry(attempts=5, backoff=Backoff(), on=Exception, not_on=())


class TestFailed:
    async def test_keeps_the_last_failures(self) -> None:
        """Failed jobs are kept, the latest last, as many as `history` says."""
        queue, diary = JobQueue(concurrency=1, history=2), Diary()

        async with hosted(queue):
            for n in range(4):
                await queue.enqueue(diary.fail, n)
            await queue.enqueue(diary.note)
            await queue.join()

        assert [job.args for job in queue.failed] == [(2,), (3,)]
        assert tally(queue) == {"failed": 4, "succeeded": 1}

    async def test_requeue_runs_the_same_call_again(self) -> None:
        """A failed job can be enqueued once more, as a new job with the same call, options and attempts afresh."""
        queue = JobQueue(retry=again(2, 1))
        works = False

        async def charge(order: int, *, currency: str) -> str:
            if not works:
                raise OSError
            return f"{order} {currency}"

        async with hosted(queue):
            job = await queue.with_options(name="charge it", key="k").enqueue(charge, 7, currency="EUR")
            await job.wait()
            works = True
            second = queue.failed[0].requeue()
            await second.wait()
            third = job.requeue()
            await third.wait()

        assert states(job, second, third) == ["failed", "succeeded", "succeeded"]
        assert second.result() == "7 EUR"
        assert (second.name, second.key, second.attempts, job.attempts) == ("charge it", "k", 1, 2)
        assert queue.failed == ()


class TestForeignCancellation:
    """asyncio alone: there a task can be cancelled by anybody."""

    @pytest.fixture(params=["asyncio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        """Run on asyncio, in real time: nothing waits long here."""
        return str(request.param)

    async def test_is_a_failure_and_no_end(self) -> None:
        """A job that ends with a cancellation which its queue did not cause has failed, and is retried as any."""
        import asyncio

        queue = JobQueue(concurrency=1, retry=again(2, 0))

        async def awaits_what_is_cancelled() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        async def raises_it() -> None:
            raise asyncio.CancelledError

        async def raises_it_later() -> None:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

        async def raises_it_in_a_group() -> None:
            raise BaseExceptionGroup("both", [asyncio.CancelledError(), OSError()])  # as any group

        async def cancels_itself() -> None:
            own_task().cancel()
            await asyncio.sleep(10)

        functions = (awaits_what_is_cancelled, raises_it, raises_it_later, raises_it_in_a_group, cancels_itself)
        async with hosted(queue):
            jobs = [await queue.enqueue(function) for function in functions]
            await queue.join()
            after = await queue.enqueue(nothing)
            await after.wait()

        assert states(*jobs, after) == ["failed"] * len(jobs) + ["succeeded"]
        assert [job.attempts for job in jobs] == [2] * len(jobs)
        kept = jobs.pop(3).error
        assert isinstance(kept, ExceptionGroup)
        assert [type(error) for error in kept.exceptions] == [OSError]
        for job in jobs:
            with pytest.raises(JobCancelledError, match=f"job {job.name!r} was ended by a cancellation that") as caught:
                job.result()
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            assert caught.value.job == job.name

    async def test_that_a_request_overtakes_is_the_request_s(self) -> None:
        """A job that is cancelled while its foreign cancellation is looked at is cancelled, and the queue goes on."""
        import asyncio

        queue, begun = JobQueue(), asyncio.Event()
        future = asyncio.get_running_loop().create_future()

        async def waits() -> None:
            begun.set()
            await future

        async with hosted(queue):
            job = await queue.enqueue(waits)
            await begun.wait()
            future.cancel()
            await asyncio.sleep(0)
            job.cancel()
            other = await queue.enqueue(nothing)

        assert states(job, other) == ["cancelled", "succeeded"]

    async def test_leaves_nothing_in_the_way_of_later_jobs(self) -> None:
        """Asyncio remembers a cancellation in the task; the next job's groups must not stumble over it."""
        import asyncio

        queue = JobQueue(concurrency=1)

        async def cancels_itself() -> None:
            own_task().cancel()
            await asyncio.sleep(10)

        async def fails() -> None:
            await asyncio.sleep(0)
            raise KeyError

        async def parent() -> str:
            assert own_task().cancelling() == 0
            caught = "nothing"
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    await asyncio.sleep(10)
            except* KeyError:
                caught = "the error"
            await asyncio.sleep(0)
            return caught

        async with hosted(queue):
            await queue.enqueue(cancels_itself)
            job = await queue.enqueue(parent)
            await job.wait()

        assert job.result() == "the error"

    @pytest.mark.parametrize("before", [True, False])
    async def test_of_a_worker_with_nothing_to_do_is_survived(self, *, before: bool) -> None:
        """A job that has kept its task and cancels it later hurts nobody, nor a job that was enqueued just before."""
        import asyncio

        queue = JobQueue(concurrency=1)
        kept: list[asyncio.Task[object]] = []

        async def keeps_its_task() -> None:
            kept.append(own_task())

        async with hosted(queue):
            await (await queue.enqueue(keeps_its_task)).wait()
            await asyncio.sleep(0.01)
            jobs = [await queue.enqueue(nothing)] if before else []
            kept[0].cancel()
            if not before:
                await asyncio.sleep(0.01)
            jobs += [await queue.enqueue(nothing) for _ in range(2)]
            with anyio.fail_after(10):
                for job in jobs:
                    await job.wait()

        assert tally(queue) == {"succeeded": len(jobs) + 1}


class TestLog:
    async def test_tells_of_every_failure_once(self, request: pytest.FixtureRequest) -> None:
        """A run that failed and is retried is a warning, a job that has failed for good an error with traceback."""
        lines = log_lines(request, "{level} {extra[service]} {message}", None)
        builder = HostBuilder(HostOptions(log_level="WARNING"))
        queue = builder.add_service(JobQueue(retry=again(2, 1.25)), name="mails")

        async with builder.build():
            job = await queue.enqueue(Diary().fail, "no route")
            await job.wait()
            await (await queue.enqueue(nothing)).wait()

        first, second, *traceback = "\n".join(lines).splitlines()
        assert first == (
            "WARNING mails job fail (number 1) failed in attempt 1 of 2, to be retried in 1.2 s: OSError('no route')"
        )
        assert second == "ERROR mails job fail (number 1) failed in attempt 2 of 2: OSError('no route')"
        assert traceback[-1] == "OSError: no route"
        package = Path(hostkit.__file__).parent
        assert not any(str(package) in line for line in traceback)

    @pytest.mark.parametrize(("level", "count"), [("WARNING", 2), ("ERROR", 1), ("CRITICAL", 0)])
    async def test_makes_no_line_below_the_hosts_level(
        self, level: str, count: int, request: pytest.FixtureRequest
    ) -> None:
        """The queue keeps to the host's log level."""
        lines, queue = log_lines(request, "{message}", None), JobQueue(retry=again(2, 1))

        async with hosted(queue, log_level=level):
            await (await queue.enqueue(Diary().fail)).wait()

        assert len(lines) == count
