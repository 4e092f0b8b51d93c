"""The stop: what is drained, what is cut, what is lost, and who is told."""

import math
import threading
from collections.abc import Sequence

import anyio
import pytest
from anyio import current_time
from anyio.lowlevel import checkpoint
from job_hosts import ClumsyError, Diary, again, clumsy, hosted, log_lines, nothing, states, tally
from puppet import QUIET, Puppet

from hostkit import HostBuilder, HostedService, HostOptions, ServiceStuckError, StoppingToken, StopTimeoutError
from hostkit.jobs import Job, JobQueue, JobState, QueueClosedError, Retry
from hostkit.testing import ManualStoppingToken


class Clerk:
    """Takes the jobs that were lost."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.taken: list[Sequence[Job[object]]] = []
        self.at: list[float] = []

    async def take(self, jobs: Sequence[Job[object]]) -> None:
        self.taken.append(jobs)
        self.at.append(current_time())
        await anyio.sleep(self.seconds)
        self.at.append(current_time())

    def take_at_once(self, jobs: Sequence[Job[object]]) -> None:
        self.taken.append(jobs)


class TestDraining:
    async def test_runs_what_is_ready(self) -> None:
        """Ready jobs are run before the queue stops, running ones are let finish."""
        clerk = Clerk()
        queue, diary = JobQueue(concurrency=2, on_lost=clerk.take), Diary()

        async with hosted(queue):
            jobs = [await queue.enqueue(diary.work, n, 3) for n in range(6)]
            await anyio.sleep(1)
        stopped = current_time()

        assert stopped == 9
        assert states(*jobs) == ["succeeded"] * 6
        assert queue.lost == ()
        assert clerk.taken == []

    async def test_can_be_turned_off(self) -> None:
        """Without `drain` only running jobs are let finish; ready ones are lost at once."""
        queue, diary = JobQueue(concurrency=2, drain=False), Diary()

        async with hosted(queue):
            jobs = [await queue.enqueue(diary.work, n, 3) for n in range(4)]
            await anyio.sleep(1)
        stopped = current_time()

        assert stopped == 3
        assert states(*jobs) == ["succeeded", "succeeded", "lost", "lost"]
        assert [job.ended_at for job in jobs] == [3, 3, 1, 1]
        assert list(queue.lost) == jobs[2:]

    async def test_loses_what_waits_for_its_time(self) -> None:
        """Delayed jobs and retries are lost, also if their time comes while the queue is drained."""
        queue, diary = JobQueue(concurrency=1, retry=again(2, 3)), Diary()

        async with hosted(queue):
            delayed = await queue.enqueue_in(2, diary.note)
            retrying = await queue.enqueue(diary.fail, "r")
            fails_later = await queue.enqueue(diary.fail, "f", 5)
            running = await queue.enqueue(diary.work, "w", 5)
            await anyio.sleep(1)
        stopped = current_time()

        assert stopped == 10
        assert states(delayed, retrying, fails_later, running) == ["lost", "lost", "lost", "succeeded"]
        assert list(queue.lost) == [delayed, retrying, fails_later]
        assert isinstance(fails_later.error, OSError)
        assert (delayed.attempts, retrying.attempts, fails_later.attempts) == (0, 1, 1)

    @pytest.mark.parametrize("delayed", [True, False])
    async def test_does_not_wait_for_what_cannot_run_any_more(self, *, delayed: bool) -> None:
        """A job that waits for a delayed job, or for a retry, goes on at the stop: the other one is lost."""
        queue, diary = JobQueue(retry=again(2, 3)), Diary()

        async def waits() -> JobState:
            other = await (queue.enqueue_in(100, nothing) if delayed else queue.enqueue(diary.fail, "f", 5))
            await other.wait()
            return other.state

        async with hosted(queue):
            job = await queue.enqueue(waits)
            await anyio.sleep(1)
        stopped = current_time()

        assert job.result() is JobState.LOST
        assert stopped == (1 if delayed else 5)
        assert tally(queue) == {"succeeded": 1, "lost": 1}

    async def test_loses_what_is_ready_when_it_is_paused(self) -> None:
        """A queue that is paused while it is drained, by a job that fails, say, loses what is ready, and ends."""
        clerk = Clerk()
        queue, diary = JobQueue(concurrency=1, on_failed=lambda _: queue.pause(), on_lost=clerk.take), Diary()

        async with hosted(queue):
            failed = await queue.enqueue(diary.fail, "f", 5)
            ready = [await queue.enqueue(diary.note), await queue.enqueue(diary.note)]
            await anyio.sleep(1)
        stopped = current_time()

        assert stopped == 5
        assert states(failed, *ready) == ["failed", "lost", "lost"]
        assert [list(jobs) for jobs in clerk.taken] == [ready]

    async def test_jobs_know_how_much_time_is_left(self) -> None:
        """The token of a job tells the seconds until the queue is cancelled."""
        queue = JobQueue()
        left: list[float] = []

        async def look(stopping_token: StoppingToken) -> None:
            left.append(stopping_token.time_left)
            await stopping_token.wait()
            await anyio.sleep(5)
            left.append(stopping_token.time_left)

        async with hosted(queue):
            await queue.enqueue(look)
            await anyio.sleep(1)

        assert left == [math.inf, 15]

    async def test_waits_for_services_that_came_after_it(self) -> None:
        """The queue accepts until its own turn: what stops before it may still enqueue, to its last breath."""
        diary = Diary()

        class WebServer(HostedService):
            async def stop(self) -> None:
                await anyio.sleep(5)
                self.job = await queue.enqueue(diary.work, "from stop()", 1)

        class Early(HostedService):
            def __init__(self) -> None:
                self.refused = False

            async def stop(self) -> None:
                try:
                    await queue.enqueue(nothing)
                except QueueClosedError:
                    self.refused = True

        early = Early()
        builder = HostBuilder(QUIET)
        builder.add_service(early)
        queue = builder.add_service(JobQueue())
        server = builder.add_service(WebServer())
        async with builder.build():
            pass

        assert server.job.state is JobState.SUCCEEDED
        assert diary.times == [5]
        assert early.refused

    @pytest.mark.parametrize("turns", range(4))
    async def test_a_stop_that_comes_at_once(self, turns: int) -> None:
        """A stop in the first turns of the queue ends it as any other does: what is ready is run, and that is all."""
        queue, diary = JobQueue(), Diary()
        builder = HostBuilder(QUIET)

        @builder.service
        async def impatient() -> None:
            for _ in range(turns):
                await checkpoint()
            builder.lifetime.request_stop()

        builder.add_service(queue)
        job = await queue.enqueue(diary.note)
        async with builder.build():
            pass

        assert job.state is JobState.SUCCEEDED
        assert current_time() == 0

    async def test_a_stop_that_came_before(self) -> None:
        """With a token that is set already, what is ready is run, and the queue ends."""
        queue, diary, token = JobQueue(), Diary(), ManualStoppingToken()
        job = await queue.enqueue(diary.note)

        await queue.start()
        token.request_stop()
        with anyio.fail_after(1):
            await queue.execute(token)
        await queue.stop()

        assert job.state is JobState.SUCCEEDED


class TestCutting:
    async def test_cuts_at_the_deadline(self) -> None:
        """At the host's deadline running jobs are cancelled; they and what still waits are lost, no attempt counted."""
        clerk = Clerk(seconds=2)
        queue, diary = JobQueue(concurrency=1, on_lost=clerk.take, retry=Retry(attempts=5)), Diary()
        cleaned: list[float] = []

        async def long() -> None:
            try:
                await anyio.sleep(1000)
            finally:
                cleaned.append(current_time())

        with pytest.RaisesGroup(StopTimeoutError) as caught:
            async with hosted(queue):
                cut = await queue.enqueue(long)
                waiting = await queue.enqueue(diary.note)
                await anyio.sleep(1)

        assert cleaned == [21]
        assert f"{long.__code__.co_firstlineno + 2} in {long.__qualname__}" in str(caught.value.exceptions[0])
        assert states(cut, waiting) == ["lost", "lost"]
        assert (cut.attempts, cut.error) == (0, None)
        assert [list(jobs) for jobs in clerk.taken] == [[cut, waiting]]
        assert clerk.at == [21, 23]
        assert tally(queue) == {"lost": 2}

    async def test_keeps_the_error_of_what_was_cut(self) -> None:
        """What a job raises when it is cut is kept with it; it is lost all the same, with the tasks it had."""
        queue = JobQueue(concurrency=2)

        async def parent() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(clumsy)
                group.start_soon(anyio.sleep, 1000)

        with pytest.RaisesGroup(StopTimeoutError):
            async with hosted(queue):
                jobs = [await queue.enqueue(clumsy), await queue.enqueue(parent), await queue.enqueue(nothing)]

        assert states(*jobs) == ["lost", "lost", "lost"]
        assert isinstance(jobs[0].error, ClumsyError)
        assert isinstance(jobs[1].error, ExceptionGroup)

    async def test_waits_of_jobs_end(self) -> None:
        """Whoever waits for a job, or for all of them, is told that it was lost."""
        queue, diary = JobQueue(concurrency=1), Diary()
        woken: list[str] = []

        async def wait(job: Job[object]) -> None:
            await job.wait()
            woken.append(job.state)

        async def join() -> None:
            await queue.join()
            woken.append("joined")

        with pytest.RaisesGroup(pytest.RaisesGroup(StopTimeoutError)):
            async with anyio.create_task_group() as group, hosted(queue):
                group.start_soon(wait, await queue.enqueue(diary.work, "long", 1000))
                group.start_soon(wait, await queue.enqueue(diary.note))
                group.start_soon(wait, await queue.enqueue_in(100, diary.note))
                group.start_soon(join)
                await anyio.sleep(1)

        assert sorted(woken) == ["joined", "lost", "lost", "lost"]

    @pytest.mark.parametrize("timeout", [5, 0.1])
    async def test_a_job_that_ignores_its_cancellation(self, timeout: float, request: pytest.FixtureRequest) -> None:  # noqa: ASYNC109  # an option of the host
        """If a job goes on all the same, the host will give the queue up: the losses are told before that."""
        lines = log_lines(request, "{level} {message}")
        release = anyio.Event()
        queue, diary = JobQueue(concurrency=1), Diary()

        async def deaf() -> None:
            with anyio.CancelScope(shield=True):
                await release.wait()

        with pytest.RaisesGroup(pytest.RaisesExc(ServiceStuckError, match=r"test_jobs_stop.py:\d+ in .*deaf")):
            async with hosted(queue, log_level="WARNING", cancellation_timeout=timeout):
                job = await queue.enqueue(deaf)
                waiting = await queue.enqueue(diary.note)
                await queue.enqueue_in(100, diary.note)

        assert states(job, waiting) == ["running", "lost"]
        assert tally(queue) == {"running": 1, "lost": 2}
        assert "WARNING 1 job still runs after the cancellation: 1 x deaf (number 1)" in lines
        assert "WARNING 2 jobs were lost at the stop: 2 x note (numbers 2, 3)" in lines
        release.set()
        await anyio.sleep(1)

    async def test_a_job_that_takes_its_time_to_end(self, request: pytest.FixtureRequest) -> None:
        """A job that ends late, but before the host gives up, is reported with the rest, in the end."""
        lines = log_lines(request, "{message}")
        clerk = Clerk()
        queue, diary = JobQueue(concurrency=2, on_lost=clerk.take), Diary()

        async def slow() -> None:
            try:
                await anyio.sleep(1000)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(3)

        with pytest.RaisesGroup(StopTimeoutError):
            async with hosted(queue, log_level="WARNING"):
                jobs = [await queue.enqueue(slow), await queue.enqueue(slow), await queue.enqueue(diary.note)]

        assert states(*jobs) == ["lost", "lost", "lost"]
        assert lines == [
            "2 jobs still run after the cancellation: 2 x slow (numbers 1, 2)",
            "1 job was lost at the stop: 1 x note (number 3)",
            "2 jobs were lost at the stop: 2 x slow (numbers 1, 2)",
        ]
        assert [list(taken) for taken in clerk.taken] == [jobs]

    async def test_the_end_of_the_loop_is_no_failure_of_jobs(self) -> None:
        """When the event loop ends under a running host, what runs is lost, and nothing has failed."""
        import asyncio
        import sys

        queue, diary = JobQueue(concurrency=2, retry=Retry(attempts=3)), Diary()
        jobs: list[Job[object]] = []

        async def main() -> None:
            host = hosted(queue)
            await host.start()
            jobs.extend([await queue.enqueue(diary.work, "a", 1000), await queue.enqueue(diary.work, "b", 1000)])
            jobs.append(await queue.enqueue(nothing))
            await anyio.sleep(0.01)
            sys.stdout.flush()

        await anyio.to_thread.run_sync(asyncio.run, main())

        assert states(*jobs) == ["lost", "lost", "lost"]
        assert [job.attempts for job in jobs] == [0, 0, 0]

    async def test_jobs_have_a_moment_when_the_loop_ends(self, request: pytest.FixtureRequest) -> None:
        """One that ends in order when it is cancelled is not said to ignore that."""
        import asyncio

        lines = log_lines(request, "{message}")
        begun, ended = threading.Event(), threading.Event()

        async def orderly() -> None:
            begun.set()
            try:
                await anyio.sleep(1000)
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(50):
                        await checkpoint()
                ended.set()

        async def main() -> None:
            builder = HostBuilder(HostOptions(log_level="WARNING"))
            queue = builder.add_service(JobQueue())
            await builder.build().start()
            await queue.enqueue(orderly)
            while not begun.is_set():
                await checkpoint()

        await anyio.to_thread.run_sync(asyncio.run, main())

        assert ended.is_set()
        assert not [line for line in lines if "still run" in line]


class TestReport:
    async def test_a_synchronous_callback_will_do(self) -> None:
        """`on_lost` may be async or not; it gets the jobs with all that is needed to hand them on."""
        clerk = Clerk()
        queue = JobQueue(on_lost=clerk.take_at_once)

        async with hosted(queue):
            await queue.with_options(key="k").enqueue_in(100, Diary().work, "x", seconds=3)

        ((job,),) = clerk.taken
        assert (job.name, job.key, job.args, dict(job.kwargs)) == ("work", "k", ("x",), {"seconds": 3})

    async def test_a_callback_that_fails_fails_the_host(self) -> None:
        """An error in `on_lost` is no detail: it is a failure of the host."""

        def broken(jobs: Sequence[Job[object]]) -> None:
            raise ClumsyError

        queue = JobQueue(on_lost=broken)

        with pytest.RaisesGroup(ClumsyError):
            async with hosted(queue):
                job = await queue.enqueue_in(100, nothing)

        assert job.state is JobState.LOST

    async def test_a_callback_that_does_not_return_is_cut(self) -> None:
        """`on_lost` has the time until the end of the cancellation budget, and no more."""
        clerk = Clerk(seconds=1000)
        queue, diary = JobQueue(on_lost=clerk.take), Diary()

        with pytest.RaisesGroup(StopTimeoutError):
            async with hosted(queue):
                await queue.enqueue(diary.work, "x", 1000)
        stopped = current_time()

        assert clerk.at == [20]
        assert stopped == 25

    async def test_a_failed_start_reports_too(self) -> None:
        """When a later service fails to start, the queue is stopped as ever: drained, and the rest reported."""
        clerk = Clerk()
        queue, diary = JobQueue(on_lost=clerk.take), Diary()
        await queue.enqueue(diary.note)
        late = await queue.enqueue_in(100, diary.note)

        with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="start")):
            async with hosted(queue, Puppet(fails="start")):
                pass

        assert len(diary.names) == 1
        assert [list(taken) for taken in clerk.taken] == [[late]]


class TestSecondLife:
    async def test_is_open_again(self) -> None:
        """A queue whose host is started again accepts and runs jobs; what was lost stays listed until then."""
        queue, diary = JobQueue(), Diary()
        host = hosted(queue)

        async with host:
            lost = await queue.enqueue_in(100, diary.note, "first life")
        assert list(queue.lost) == [lost]
        with pytest.raises(QueueClosedError):
            lost.requeue()
        async with host:
            assert queue.lost == ()
            again = lost.requeue()
            await again.wait()
            await queue.enqueue(diary.note, "second life")
            await queue.enqueue_in(100, diary.note)

        assert diary.names == ["first life", "second life"]
        assert states(lost, again) == ["lost", "succeeded"]
        assert tally(queue) == {"succeeded": 2, "lost": 2}
        assert len(queue.lost) == 1

    async def test_follows_a_start_that_has_failed(self) -> None:
        """A queue of a user's own whose start() fails behind the queue's is never stopped, and starts again."""

        class Picky(JobQueue):
            ready = False

            async def start(self) -> None:
                await super().start()
                if not self.ready:
                    raise OSError

        queue, diary = Picky(), Diary()
        host = hosted(queue)

        with pytest.RaisesGroup(OSError):
            await host.start()
        queue.ready = True
        async with host:
            await queue.enqueue(diary.note, "second life")
            await queue.join()

        assert diary.names == ["second life"]

    @pytest.mark.real_time
    async def test_may_be_in_another_loop(self) -> None:
        """The second life may be in another event loop, in another thread."""
        queue, diary = JobQueue(), Diary()
        jobs = [await queue.enqueue(diary.note)]

        async def live() -> None:
            async with hosted(queue):
                jobs.append(await queue.enqueue(diary.note))
                jobs.append(await queue.enqueue_in(0.001, diary.note))
                for job in jobs:
                    await job.wait()

        await live()
        await anyio.to_thread.run_sync(anyio.run, live)

        assert len(diary.names) == 5
        assert tally(queue) == {"succeeded": 5}

    async def test_a_post_from_the_first_is_harmless(self) -> None:
        """What a thread has posted into the loop of the first life does nothing in the second."""
        queue = JobQueue()
        async with hosted(queue):
            pass

        queue._dispatcher.inbox.take_in()

        assert tally(queue) == {}
