"""The job queue: jobs run in the background, in order, so many at a time."""

import contextvars
import math
from collections.abc import Iterator
from functools import partial

import anyio
import pytest
from anyio import current_time
from job_hosts import ClumsyError, Diary, again, clumsy, hosted, log_lines, run_one, states, tally
from puppet import QUIET, live

from hostkit import HostBuilder, StoppingToken
from hostkit._execution.executor import _Runner
from hostkit.jobs import JobQueue, JobState, JobStateError, Retry

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


async def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


async def double_slowly(number: int) -> int:
    """Return twice as much, after a while."""
    await anyio.sleep(1)
    return number * 2


class TestRunning:
    async def test_runs_a_job_and_keeps_its_result(self) -> None:
        """A job runs in the background; whoever keeps it can wait for it and read what its function returned."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue(add, 1, b=2)
            await job.wait()

            assert job.state is JobState.SUCCEEDED
            assert job.result() == 3
            assert job.attempts == 1
            assert (job.args, dict(job.kwargs), job.function) == ((1,), {"b": 2}, add)

    async def test_keeps_times_on_the_clock_of_the_event_loop(self) -> None:
        """A job knows when it was enqueued, when its last run began, and when it ended."""
        queue = JobQueue(concurrency=1)

        async with hosted(queue):
            began = current_time()
            await queue.enqueue(double_slowly, 1)
            job = await queue.enqueue(double_slowly, 2)
            assert job.started_at is None
            await job.wait()

        assert job.enqueued_at == began
        assert job.started_at == began + 1
        assert job.ended_at == began + 2
        assert job.due_at is None

    async def test_runs_jobs_in_the_order_in_which_they_came(self) -> None:
        """First come, first served."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async with hosted(queue):
            for n in range(200):
                await queue.enqueue(diary.note, n)
            await queue.join()

        assert diary.names == list(range(200))

    async def test_never_runs_more_jobs_at_a_time_than_it_may(self) -> None:
        """As many jobs run at a time as `concurrency` says, and never more."""
        queue, diary = JobQueue(concurrency=3), Diary()

        async with hosted(queue):
            for n in range(10):
                await queue.enqueue(diary.work, n, 1)
            await queue.join()

        assert diary.most_running == 3
        assert diary.times == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]

    async def test_goes_on_with_the_next_job_while_one_waits(self) -> None:
        """A job that waits holds its own place, and nobody else's."""
        queue, diary = JobQueue(concurrency=2), Diary()

        async with hosted(queue):
            await queue.enqueue(diary.work, "long", 100)
            for n in range(5):
                await queue.enqueue(diary.work, n, 1)
            await anyio.sleep(10)

            assert diary.times == [0, 0, 1, 2, 3, 4]
            await queue.join()

    async def test_runs_jobs_that_were_enqueued_before_the_start(self) -> None:
        """Jobs that are enqueued before the start wait for it."""
        queue, diary = JobQueue(), Diary()
        early = queue.enqueue_nowait(diary.note, "early")
        later = await queue.enqueue(diary.note, "later")

        await anyio.sleep(5)
        waiting = states(early, later)
        async with hosted(queue):
            await queue.join()

        assert waiting == ["waiting", "waiting"]
        assert diary.entries == [("early", 5), ("later", 5)]
        assert early.enqueued_at == 5

    async def test_lets_a_job_enqueue_another(self) -> None:
        """A job may enqueue jobs itself."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async def parent() -> None:
            await queue.enqueue(diary.note, "child")
            diary.entries.append(("parent", current_time()))

        async with hosted(queue):
            await queue.enqueue(parent)
            await queue.join()

        assert diary.names == ["parent", "child"]

    async def test_gives_others_a_turn(self) -> None:
        """Jobs that never wait hold nobody up: however many are ready, others get their turn, after some of them."""
        queue = JobQueue(concurrency=1)
        ready_at_others_turn: list[int] = []

        async def busy() -> None: ...

        async def other() -> None:
            ready_at_others_turn.append(queue.counts[JobState.WAITING])

        jobs = [queue.enqueue_nowait(busy) for _ in range(2000)]
        async with hosted(queue), anyio.create_task_group() as group:
            await jobs[0].wait()
            group.start_soon(other)
            await queue.join()

        assert 0 < ready_at_others_turn[0] < 1900

    async def test_a_failing_job_is_nobody_elses_failure(self) -> None:
        """What a job raises is kept with it, and neither the queue nor the host minds."""
        queue, diary = JobQueue(concurrency=1), Diary()

        async with hosted(queue) as host:
            failed = await queue.enqueue(diary.fail, "x")
            await queue.enqueue(diary.note, "next")
            await queue.join()

            assert host.status().healthy
        assert failed.state is JobState.FAILED
        assert isinstance(failed.error, OSError)
        assert diary.names == ["x", "next"]

    async def test_a_wrong_argument_is_a_failure_of_the_job(self) -> None:
        """What the type checker did not see fails when the job is called."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue(add, 1)  # type: ignore[call-overload]
            await job.wait()

        assert isinstance(job.error, TypeError)


class TestFunctions:
    async def test_takes_what_can_be_called(self) -> None:
        """Functions, methods, partials and callable objects are jobs, also when the result is only awaitable."""

        class Seven:
            __slots__ = ()  # without a place for weak references

            async def __call__(self) -> int:
                return 7

        class Adder:
            def __init__(self, base: int) -> None:
                self.base = base

            async def add(self, n: int) -> int:
                return self.base + n

            async def __call__(self, n: int) -> int:
                await anyio.sleep(1)
                return self.base + n

        queue = JobQueue()
        adder = Adder(10)
        async with hosted(queue):
            jobs = [
                await queue.enqueue(adder.add, 1),
                await queue.enqueue(Adder(20).add, 1),
                await queue.enqueue(partial(add, 1), b=2),
                await queue.enqueue(adder, 3),
                await queue.enqueue(Seven()),
            ]
            await queue.join()

        assert [job.result() for job in jobs] == [11, 21, 3, 13, 7]
        assert [job.name for job in jobs] == ["add", "add", "add", "adder", "seven"]

    async def test_refuses_generators(self) -> None:
        """A function with a yield would run nothing, and is refused where it is enqueued."""

        async def ticks() -> object:
            yield 1

        with pytest.raises(TypeError, match="a job is a function without yield"):
            await JobQueue().enqueue(ticks)

    async def test_gives_the_token_to_those_who_take_it(self) -> None:
        """A first parameter named ``stopping_token`` is filled in; the stop sets it."""
        queue = JobQueue()
        heard: list[tuple[str, bool, bool, float]] = []

        async def until_stop(stopping_token: StoppingToken, name: str) -> None:
            before = stopping_token.stop_requested
            heard.append((name, before, await stopping_token.sleep(1000), current_time()))

        class Methods:
            async def until_stop(self, stopping_token: StoppingToken) -> None:
                await until_stop(stopping_token, "method")

        async with hosted(queue):
            job = await queue.enqueue(until_stop, "function")
            method = await queue.enqueue(Methods().until_stop)
            await anyio.sleep(5)

        assert states(job, method) == ["succeeded", "succeeded"]
        assert sorted(heard) == [("function", False, True, 5), ("method", False, True, 5)]

    async def test_each_job_has_a_token_of_its_own(self) -> None:
        """A job that is drained after the stop is asked for the first time, whoever ran in its task before."""
        queue = JobQueue(concurrency=1)
        slept: list[float] = []

        async def sleepy(stopping_token: StoppingToken) -> None:
            began = current_time()
            await stopping_token.sleep(10)
            slept.append(current_time() - began)

        async with hosted(queue):
            for _ in range(3):
                await queue.enqueue(sleepy)
            await anyio.sleep(4)

        assert slept == [4, 0, 0]

    async def test_the_token_tells_of_a_job_that_misuses_it(self, request: pytest.FixtureRequest) -> None:
        """A job that goes on sleeping after the stop is named in the log, and so is a callback of it that fails."""
        lines, queue = log_lines(request, "{level} {message}"), JobQueue()

        def broken() -> None:
            raise OSError

        async def stubborn(stopping_token: StoppingToken) -> None:
            stopping_token.on_stop(broken)
            for _ in range(3):
                await stopping_token.sleep(10)

        async with hosted(queue, log_level="WARNING"):
            await queue.enqueue(stubborn)
            await anyio.sleep(1)

        first, second = (line.splitlines()[0] for line in lines)
        assert first == "ERROR on_stop callback of job stubborn failed: OSError()"
        assert second.startswith("WARNING job stubborn goes on although it was asked to stop: sleep() has returned")

    async def test_the_token_does_not_outlive_the_job(self) -> None:
        """Nothing of a job that has ended is left in the queue's token."""
        queue = JobQueue()

        async def quick(stopping_token: StoppingToken) -> None: ...

        async with hosted(queue):
            for _ in range(10):
                await queue.enqueue(quick)
            await queue.join()

            token = queue._dispatcher.token
            assert len(token._callbacks) == 1


class TestContext:
    async def test_sees_the_context_variables_of_whoever_enqueued(self) -> None:
        """A job runs in a copy of the context in which it was enqueued, through all its waits."""
        queue = JobQueue(concurrency=1)
        seen: list[str] = []

        async def look() -> None:
            seen.append(REQUEST.get())
            await anyio.sleep(1)
            seen.append(REQUEST.get())
            REQUEST.set("overwritten")

        async with hosted(queue):
            for request in ("a", "b"):
                REQUEST.set(request)
                await queue.enqueue(look)
            REQUEST.set("c")
            await queue.join()

        assert seen == ["a", "a", "b", "b"]
        assert REQUEST.get() == "c"

    async def test_tasks_of_a_job_see_it_too(self) -> None:
        """Tasks that a job starts inherit its context, and its cancel scopes and timeouts work as anywhere."""
        queue = JobQueue(concurrency=1)
        seen: list[object] = []

        async def child() -> None:
            await anyio.sleep(1)
            seen.append(REQUEST.get())

        async def parent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                group.start_soon(child)
            with anyio.move_on_after(2) as scope:
                await anyio.sleep(100)
            seen.append(scope.cancelled_caught)
            try:
                with anyio.fail_after(3):
                    await anyio.Event().wait()
            except TimeoutError:
                seen.append(current_time())

        async with hosted(queue):
            REQUEST.set("a")
            job = await queue.enqueue(parent)
            REQUEST.set("b")
            await queue.join()

        assert job.state is JobState.SUCCEEDED
        assert seen == ["a", "a", True, 6]

    async def test_each_run_begins_with_the_same_context(self) -> None:
        """What one run of a job sets, the next one does not see."""
        queue = JobQueue(retry=again(3, 1))
        seen: list[str] = []

        async def look() -> None:
            seen.append(REQUEST.get())
            REQUEST.set("set by a run")
            raise OSError

        async with hosted(queue):
            REQUEST.set("a")
            job = await queue.enqueue(look)
            await job.wait()

        assert seen == ["a", "a", "a"]


class TestTimeout:
    async def test_cuts_a_run_that_takes_too_long(self) -> None:
        """A run that takes longer than its timeout is cancelled, which is a failure."""
        queue, diary = JobQueue(timeout=3), Diary()

        async with hosted(queue):
            late = await queue.enqueue(diary.work, "late", 100)
            punctual = await queue.enqueue(diary.work, "punctual", 2)
            quick = await queue.enqueue(diary.note)
            await queue.join()

        assert states(late, punctual, quick) == ["failed", "succeeded", "succeeded"]
        assert late.ended_at == 3
        with pytest.raises(TimeoutError, match="job 'work' took longer than 3 s"):
            late.result()

    async def test_options_decide(self) -> None:
        """`with_options` sets a timeout of its own, or takes the queue's away."""
        queue, diary = JobQueue(timeout=3), Diary()

        async with hosted(queue):
            shorter = await queue.with_options(timeout=1).enqueue(diary.work, "a", 2)
            unlimited = await queue.with_options(timeout=math.inf).enqueue(diary.work, "b", 100)
            await queue.join()

        assert states(shorter, unlimited) == ["failed", "succeeded"]

    async def test_an_error_that_comes_of_it_is_the_failure(self) -> None:
        """What a job makes of its cancellation by the timeout counts; a job that withstands it succeeds."""
        queue = JobQueue(timeout=1)

        async def stubborn() -> str:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
            return "done"

        async with hosted(queue):
            done = await queue.enqueue(stubborn)
            failed = await queue.enqueue(clumsy)
            await queue.join()

        assert done.result() == "done"
        assert isinstance(failed.error, ClumsyError)

    async def test_reaches_the_tasks_of_the_job(self) -> None:
        """The timeout cancels all that a job has started."""
        queue = JobQueue(timeout=1)

        async def parent(stopping_token: StoppingToken) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 100)
                await stopping_token.sleep(100)

        async with hosted(queue):
            job = await queue.enqueue(parent)
            await job.wait()
            ended = current_time()

        assert isinstance(job.error, TimeoutError)
        assert ended == 1


class TestJob:
    async def test_wait_is_a_checkpoint_when_it_has_ended(self) -> None:
        """Waiting for a job that has ended returns, but lets others run; many may wait."""
        queue, diary = JobQueue(), Diary()
        woken: list[int] = []

        async def wait(number: int) -> None:
            await job.wait()
            woken.append(number)

        async with hosted(queue), anyio.create_task_group() as group:
            job = await queue.enqueue(diary.work, "x", 1)
            for number in range(3):
                group.start_soon(wait, number)
            await job.wait()
            await job.wait()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await job.wait()

        assert sorted(woken) == [0, 1, 2]
        assert scope.cancelled_caught

    async def test_has_no_result_before_its_end(self) -> None:
        """The result of a job that has not ended, or never will, is an error."""
        queue, diary = JobQueue(), Diary()
        job = queue.enqueue_nowait(diary.note)

        with pytest.raises(JobStateError, match="job 'note' is waiting: it has no result") as caught:
            job.result()
        job.cancel()
        with pytest.raises(JobStateError, match="job 'note' is cancelled: it has no result"):
            job.result()

        assert (caught.value.job, caught.value.state) == ("note", JobState.WAITING)

    async def test_raises_what_its_function_raised(self) -> None:
        """The result of a failed job is its error, as it was raised: asking again adds nothing to it."""
        queue, diary = JobQueue(), Diary()

        job = await run_one(queue, diary.fail, "x")

        lengths = []
        for _ in range(3):
            with pytest.raises(OSError, match="x") as caught:
                job.result()
            assert caught.value is job.error
            lengths.append(len(caught.traceback))
        assert len(set(lengths)) == 1
        assert caught.traceback[-1].name == "fail"

    async def test_tells_of_itself(self) -> None:
        """Its representation has number, name and state; its name is given, or after its function."""
        queue = JobQueue()

        job = queue.with_options(name="sum").enqueue_nowait(add, 1, 2)
        other = queue.enqueue_nowait(double_slowly, 1)

        assert repr(job) == "<Job 1 'sum' waiting>"
        assert other.name == "double-slowly"

    async def test_nobody_has_to_keep_it(self) -> None:
        """A job that has ended is kept in the history, and no longer than that."""
        queue, diary = JobQueue(history=3), Diary()

        async with hosted(queue):
            for n in range(5):
                await queue.with_options(name=str(n)).enqueue(diary.note)
            await queue.join()

        assert [job.name for job in queue.history] == ["2", "3", "4"]


class TestJoin:
    async def test_waits_until_nothing_is_ready_or_running(self) -> None:
        """`join` waits for ready and running jobs, not for delayed ones."""
        queue, diary = JobQueue(concurrency=2), Diary()

        async with hosted(queue):
            for n in range(4):
                await queue.enqueue(diary.work, n, 1)
            await queue.enqueue_in(100, diary.note, "delayed")
            async with anyio.create_task_group() as group:
                group.start_soon(queue.join)
                await queue.join()
            joined = current_time()

        assert joined == 2

    async def test_returns_at_once_when_there_is_nothing(self) -> None:
        """Without a job there is nothing to wait for; before the start it waits for the jobs that wait."""
        queue, diary = JobQueue(), Diary()
        await queue.join()
        job = queue.enqueue_nowait(diary.note)
        joined: list[float] = []

        async def join() -> None:
            await queue.join()
            joined.append(current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(join)
            await anyio.sleep(1)
            assert joined == []
            job.cancel()

        assert joined == [1]


class TestFigures:
    async def test_counts_jobs_by_state(self) -> None:
        """The counts tell how many jobs are in each state; together they are what was accepted."""
        queue, diary = JobQueue(concurrency=1, retry=again(2, 50)), Diary()
        queue.enqueue_nowait(diary.note)
        await queue.enqueue_in(10, diary.note)
        before = tally(queue)

        async with hosted(queue):
            await queue.with_options(retry=Retry(attempts=1)).enqueue(diary.fail)
            await queue.enqueue(diary.fail)
            await queue.enqueue(diary.work, "x", 1)
            (await queue.enqueue(diary.note)).cancel()
            await queue.enqueue(diary.note)
            await anyio.sleep(0.5)

            while_it_runs = tally(queue)
            assert [job.name for job in queue.running] == ["work"]
        after = tally(queue)

        assert before == {"waiting": 1, "delayed": 1}
        assert while_it_runs == {
            "waiting": 1,
            "delayed": 1,
            "running": 1,
            "retrying": 1,
            "succeeded": 1,
            "failed": 1,
            "cancelled": 1,
        }
        assert after == {"succeeded": 3, "failed": 1, "cancelled": 1, "lost": 2}

    async def test_tells_how_long_the_next_job_has_been_ready(self) -> None:
        """The age of the oldest ready job is that of the one that runs next; its delay does not count."""
        queue, diary = JobQueue(concurrency=1), Diary()
        ages = [queue.oldest_waiting_age]
        queue.enqueue_nowait(diary.work, "early", 0)
        ages.append(queue.oldest_waiting_age)

        async with hosted(queue):
            await queue.enqueue(diary.work, "x", 100)
            cancelled = await queue.enqueue(diary.note)
            await queue.enqueue_in(10, diary.note)
            await anyio.sleep(5)
            ages.append(queue.oldest_waiting_age)
            cancelled.cancel()
            ages.append(queue.oldest_waiting_age)
            await anyio.sleep(8)
            ages.append(queue.oldest_waiting_age)
            await queue.join()

        assert ages == [0, 0, 5, 0, 3]

    async def test_tells_its_limits(self) -> None:
        """A queue shows how many jobs it runs and keeps."""
        queue = JobQueue(concurrency=3, capacity=7)

        assert (queue.concurrency, queue.capacity) == (3, 7)


class TestExit:
    async def test_an_exit_out_of_a_job_stops_the_host(self) -> None:
        """``SystemExit`` out of a job is a request to stop with its code; other jobs are cut for it."""
        queue, diary = JobQueue(), Diary()

        async def leave() -> None:
            raise SystemExit(4)

        other = await queue.enqueue(diary.work, "x", 100)
        job = await queue.enqueue(leave)
        with pytest.raises(SystemExit) as caught:
            await live(hosted(queue))

        assert caught.value.code == 4
        assert states(job, other) == ["failed", "lost"]
        assert isinstance(job.error, SystemExit)

    async def test_the_host_hears_of_it_at_once(self) -> None:
        """The stop does not wait for a job that withstands its cancellation."""
        queue = JobQueue()

        async def careful() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(15)

        async def leave() -> None:
            raise SystemExit(4)

        with pytest.raises(SystemExit):
            async with hosted(queue) as host:
                job = await queue.enqueue(careful)
                await queue.enqueue(leave)
                await anyio.sleep(1)
                reason = host.lifetime.stop_reason

        assert reason == "service 'job-queue' raised SystemExit(4)"
        assert job.state is JobState.SUCCEEDED
        assert current_time() == 15

    @pytest.mark.parametrize("late", [False, True])
    async def test_also_in_a_callback(self, *, late: bool) -> None:
        """``SystemExit`` out of an `on_stop` callback of a job is taken as if the job had raised it."""

        def leave() -> None:
            raise SystemExit(5)

        async def work(stopping_token: StoppingToken) -> None:
            if late:
                await stopping_token.wait()
            stopping_token.on_stop(leave)
            await stopping_token.wait()

        queue = JobQueue()
        with pytest.raises(SystemExit) as caught:
            async with hosted(queue):
                job = await queue.enqueue(work)
                await anyio.sleep(1)

        assert caught.value.code == 5
        assert job.state is JobState.SUCCEEDED

    async def test_also_in_a_group(self) -> None:
        """The exit may come out of a task that the job has started, where the backend lets it."""
        queue = JobQueue()

        async def leave() -> None:
            raise BaseExceptionGroup("all of it", [SystemExit(5), ClumsyError()])  # noqa: TRY003  # as any group

        await queue.enqueue(leave)
        with pytest.raises(SystemExit) as caught:
            await live(hosted(queue))

        assert caught.value.code == 5


def test_ends_with_an_event_loop_that_is_dropped() -> None:
    """A runner whose event loop is thrown away, job and all, makes nothing of it."""
    queue = JobQueue()
    queue.enqueue_nowait(add, 1, 2)

    with pytest.raises(GeneratorExit):
        queue._dispatcher.executor._fail(_Runner(), None, GeneratorExit()).send(None)  # type: ignore[arg-type]

    assert tally(queue) == {"waiting": 1}


def generate(_: object) -> Iterator[None]:
    """Be no hook: nothing of it would run."""
    yield


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"concurrency": 0}, ValueError, "concurrency must be 1 or more, got 0"),
            ({"concurrency": True}, TypeError, "concurrency must be an int, got True"),
            ({"capacity": 0}, ValueError, "capacity must be 1 or more, got 0"),
            ({"capacity": 1.5}, TypeError, "capacity must be an int, got 1.5"),
            ({"history": -1}, ValueError, "history must be 0 or more, got -1"),
            ({"retry": 3}, TypeError, "retry must be a Retry"),
            ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
            ({"timeout": "x"}, TypeError, "timeout must be seconds"),
            ({"on_lost": 3}, TypeError, "on_lost takes a function, got 3"),
            ({"on_failed": 3}, TypeError, "on_failed takes a function, got 3"),
            ({"on_failed": generate}, TypeError, "on_failed must not have a yield"),
            ({"drain": "no"}, TypeError, "drain must be true or false, got 'no'"),
            ({"now": 3}, TypeError, r"JobQueue\(now=...\) takes a function, got 3"),
        ],
    )
    def test_are_checked_where_they_are_given(
        self, options: dict[str, object], error: type[Exception], complaint: str
    ) -> None:
        """A wrong option fails at the line that gave it."""
        with pytest.raises(error, match=complaint):
            JobQueue(**options)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"key": []}, TypeError, r"key must be hashable, got \[\]"),
            ({"retry": 3}, TypeError, "retry must be a Retry"),
            ({"timeout": -1}, ValueError, "timeout must not be negative"),
            ({"timeout": math.nan}, ValueError, "timeout must not be negative or NaN"),
            ({"name": ""}, TypeError, "name must be a str that is not empty, got ''"),
            ({"name": 3}, TypeError, "name must be a str that is not empty, got 3"),
        ],
    )
    def test_of_jobs_are_checked_too(self, options: dict[str, object], error: type[Exception], complaint: str) -> None:
        """So does a wrong option of `with_options`."""
        with pytest.raises(error, match=complaint):
            JobQueue().with_options(**options)  # type: ignore[arg-type]

    async def test_of_jobs_add_up(self) -> None:
        """`with_options` can be called again on what it returns, and keeps what is not named."""
        queue, diary = JobQueue(), Diary()

        named = queue.with_options(name="a", timeout=1).with_options(key="k")
        job = await named.enqueue(diary.work, "x", 10)
        async with hosted(queue):
            await job.wait()

        assert (job.name, job.key) == ("a", "k")
        assert isinstance(job.error, TimeoutError)


async def test_is_idle_for_the_heartbeat() -> None:
    """A queue without a job to run, or with one that waits, is not taken for stalled."""
    queue, diary = JobQueue(), Diary()
    builder = HostBuilder(QUIET)
    builder.add_service(queue, heartbeat_timeout=1)

    async with builder.build() as host:
        await anyio.sleep(10)
        await queue.enqueue(diary.work, "x", 10)
        await anyio.sleep(5)

        assert host.status().healthy
