"""How a scheduled job is run: context, token, threads, timeouts, conditions, cancellations, reused tasks."""

import gc
import re
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from traceback import walk_tb
from weakref import ref

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from puppet import live
from scheduled import DAY, HOUR, MINUTE, Timed, at, block, hosted, log_lines, told

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit.scheduling import Every, Outcome, Overlap, Scheduler

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


async def test_each_run_has_a_context_of_its_own() -> None:
    """A run sees what was set when the host was started, and nothing of what another run has set, awaited or not."""
    timed = Timed()
    seen: list[str] = []

    async def short() -> None:
        seen.append(WHO.get())
        WHO.set("short")

    async def long() -> None:
        seen.append(WHO.get())
        WHO.set("long")
        await anyio.sleep(1)
        seen.append(WHO.get())
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        seen.append(await to_thread.run_sync(WHO.get))

    async def child() -> None:
        seen.append(WHO.get())

    def sync() -> None:
        seen.append(WHO.get())
        WHO.set("sync")

    for job in (short, long, sync):
        timed.scheduler.add(job, Every(minutes=1))
    token = WHO.set("starter")

    async with timed.running():
        WHO.set("too late")
        await anyio.sleep(2.5 * MINUTE)
    WHO.reset(token)

    assert sorted(seen) == ["long"] * 6 + ["starter"] * 6


@pytest.mark.parametrize("moment", ["at-once", "later"])
async def test_the_traceback_of_a_failure_begins_in_the_job(moment: str) -> None:
    """What hostkit does around a job tells nothing of why it failed."""

    async def fails() -> None:
        if moment == "later":
            await anyio.sleep(1)
        raise KeyError

    timed = Timed()
    job = timed.scheduler.add(fails, Every(hours=1), run_at_start=True)

    async with timed.running():
        await anyio.sleep(MINUTE)

    (run,) = job.history
    assert run.error is not None
    assert next(frame for frame, _ in walk_tb(run.error.__traceback__)).f_code is fails.__code__


async def test_jobs_may_use_all_that_belongs_to_a_task() -> None:
    """Scopes, timeouts, task groups, shields and threads work in a job as in a task of its own."""
    timed = Timed()
    done: list[str] = []

    async def fail() -> None:
        await anyio.sleep(1)
        raise OSError

    async def fail_in_a_group() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            await anyio.sleep(10)

    async def job() -> None:
        with anyio.move_on_after(1) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(1):
            await anyio.sleep(10)
        with pytest.raises(ExceptionGroup):
            await fail_in_a_group()
        with anyio.CancelScope() as outer, anyio.CancelScope(shield=True):
            outer.cancel()
            await anyio.sleep(1)
        assert await to_thread.run_sync(lambda: 5) == 5
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(1)
        done.append(f"{timed.minutes() * MINUTE:.0f}")

    for number in range(3):
        timed.scheduler.add(job, Every(minutes=1), name=str(number))

    await timed.run_for(1.5 * MINUTE)

    assert done == ["64"] * 3


async def test_a_job_gets_a_token_that_follows_the_scheduler_s() -> None:
    """A first parameter named `stopping_token` is filled; at the stop the job is told, and finishes."""
    timed = Timed()
    told_at: list[object] = []

    class Callables:
        async def method(self, stopping_token: StoppingToken) -> None:
            told_at.append(await stopping_token.sleep(hours=1))

    @timed.scheduler.job(Every(minutes=1))
    async def waits(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        told_at.append("waits")

    @timed.scheduler.job(Every(minutes=1))
    async def shorter(stopping_token: StoppingToken) -> None:
        told_at.append(await stopping_token.sleep(1))

    timed.scheduler.add(Callables().method, Every(minutes=1))

    async with timed.running():
        await anyio.sleep(1.5 * MINUTE)
        before = list(told_at)

    assert before == [False]
    assert sorted(map(str, told_at)) == ["False", "True", "waits"]
    assert [job.history[0].outcome for job in timed.scheduler.jobs.values()] == [Outcome.SUCCEEDED] * 3


async def test_an_exit_out_of_a_callback_is_one() -> None:
    """``SystemExit`` out of an `on_stop` callback of a job is taken as if the job had raised it."""
    timed = Timed()

    async def work(stopping_token: StoppingToken) -> None:
        def leave() -> None:
            raise SystemExit(5)

        stopping_token.on_stop(leave)
        await stopping_token.wait()

    timed.scheduler.add(work, Every(minutes=1))

    with pytest.raises(SystemExit) as caught:
        async with timed.running():
            await anyio.sleep(1.5 * MINUTE)

    assert caught.value.code == 5


async def test_names_the_job_that_goes_on_after_the_stop() -> None:
    """A job that sleeps on in its token after the stop is named, and so is one whose callback fails."""
    timed = Timed()

    async def stubborn(stopping_token: StoppingToken) -> None:
        def fail() -> None:
            raise OSError

        stopping_token.on_stop(fail)
        for _ in range(3):
            await stopping_token.sleep(3600)

    timed.scheduler.add(stubborn, Every(minutes=1))

    with log_lines() as lines:
        await timed.run_for(1.5 * MINUTE)

    assert len(lines) == 2
    assert lines[0] == "ERROR scheduler: on_stop callback of job stubborn failed: OSError()"
    assert lines[1].startswith("WARNING scheduler: job stubborn goes on although it was asked to stop: sleep() has")


class TestThreads:
    async def test_sync_jobs_run_on_daemon_threads(self) -> None:
        """A sync job runs beside the event loop, on a thread of the scheduler's that does not hold the process."""
        timed = Timed()
        threads: list[threading.Thread] = []

        def job() -> None:
            threads.append(threading.current_thread())

        timed.scheduler.add(job, Every(minutes=1))

        await timed.run_for(3.5 * MINUTE)

        assert len(threads) == 3
        assert threading.current_thread() not in threads
        assert all(thread.daemon for thread in threads)
        assert {thread.name for thread in threads} == {"hostkit: scheduled jobs"}

    async def test_what_they_return_is_awaited(self) -> None:
        """A sync job that returns an awaitable has it awaited: its error is the run's as one of its own is."""
        timed = Timed()

        async def fail_later() -> None:
            await anyio.sleep(30)
            raise OSError

        def returns() -> Awaitable[None]:
            return fail_later()

        def fails() -> None:
            raise OSError

        jobs = [timed.scheduler.add(job, Every(minutes=1)) for job in (returns, fails)]

        await timed.run_for(1.9 * MINUTE)

        runs = [(run.outcome, run.duration, repr(run.error)) for job in jobs for run in job.history]
        assert runs == [(Outcome.FAILED, 30, "OSError()"), (Outcome.FAILED, 0, "OSError()")]

    async def test_there_are_no_more_than_allowed(self) -> None:
        """At most `threads` sync jobs run at a time; a run begins when it has its thread."""
        timed = Timed(threads=2)
        go = threading.Event()
        most: list[int] = []
        running: set[int] = set()

        def job() -> None:
            running.add(threading.get_ident())
            most.append(len(running))
            go.wait(20)
            running.discard(threading.get_ident())

        jobs = [timed.scheduler.add(job, Every(hours=1), run_at_start=True) for _ in range(5)]

        async with timed.running():
            while len(most) < 2:
                await checkpoint()
            busy = sum(job.running for job in jobs)
            go.set()
            while not all(job.history for job in jobs):  # a run that waits for a thread does not begin after the stop
                await checkpoint()

        assert busy == 5
        assert most[:2] == [1, 2]
        assert max(most) == 2
        assert [job.history[0].outcome for job in jobs] == [Outcome.SUCCEEDED] * 5

    async def test_they_get_a_token_for_threads(self) -> None:
        """A sync job that takes the token gets one whose waits block the thread, and is told at the stop."""
        timed = Timed()
        begun = threading.Event()
        told_jobs: list[bool] = []

        def job(stopping_token: ThreadStoppingToken) -> None:
            begun.set()
            told_jobs.append(stopping_token.sleep(20))

        scheduled = timed.scheduler.add(job, Every(hours=1), run_at_start=True)

        async with timed.running():
            while not begun.is_set():
                await checkpoint()

        assert told_jobs == [True]
        assert scheduled.history[0].outcome == Outcome.SUCCEEDED

    @pytest.mark.real_time
    async def test_one_that_takes_too_long_is_reported_and_runs_until_it_returns(self) -> None:
        """A thread cannot be cancelled: the timeout is told at once, and the run has failed when it returns."""
        timed = Timed()
        go = threading.Event()
        job = timed.scheduler.add(lambda: go.wait(20), Every(hours=1), run_at_start=True, timeout=0.01, name="job")

        with log_lines() as lines:
            async with timed.running():
                while not lines:
                    await checkpoint()
                running = job.running
                job.run_now()
                go.set()

        skipped, failed = job.history
        assert running == 1
        assert skipped.reason == "still running"
        assert (failed.outcome, failed.reason) == (Outcome.FAILED, "timed out after 10 ms")
        assert isinstance(failed.error, TimeoutError)
        assert lines[0].startswith(
            "ERROR scheduler: job job has not returned within its timeout of 0.01 s; it goes on in its thread, "
            f"at {__file__}:"
        )
        assert f"s: timed out after 10 ms: TimeoutError(\"job 'job' took longer than 0.01 s, at {__file__}:" in lines[2]

    @pytest.mark.real_time
    async def test_a_late_thread_is_reported_to_whom_it_concerns(self) -> None:
        """Whoever wants to hear of nothing hears nothing of a thread that is late."""
        timed = Timed()
        go = threading.Event()
        job = timed.scheduler.add(lambda: go.wait(20), Every(hours=1), run_at_start=True, timeout=0.001)

        with log_lines() as lines:
            async with timed.running(log_level="CRITICAL"):
                await anyio.sleep(0.05)
                go.set()

        assert job.history[0].outcome == Outcome.FAILED
        assert lines == []


class TestTimeout:
    async def test_cancels_a_run(self) -> None:
        """A run that takes longer than its timeout is cancelled and has failed; the next one comes as planned."""
        timed = Timed()

        async def slow() -> None:
            await anyio.sleep(50)

        job = timed.scheduler.add(slow, Every(minutes=1), timeout=20, name="job")

        with log_lines() as lines:
            await timed.run_for(2.5 * MINUTE)

        assert [(at(run), run.duration, run.reason) for run in job.history] == [
            (1, 20, "timed out after 20 s"),
            (2, 20, "timed out after 20 s"),
        ]
        assert {type(run.error) for run in job.history} == {TimeoutError}
        assert re.fullmatch(
            r"ERROR scheduler: job job failed after 20 s: timed out after 20 s: "
            rf"TimeoutError\(\"job 'job' took longer than 20 s, at {re.escape(__file__)}:\d+ in \S+slow\"\)",
            lines[0],
        )

    async def test_fails_a_run_whatever_it_makes_of_it(self) -> None:
        """A run that withstands its timeout, or fails in its clean-up, has failed by the timeout all the same."""

        async def shields() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)

        async def stumbles() -> None:
            try:
                await anyio.sleep(30)
            finally:
                raise KeyError

        async def exits() -> None:
            try:
                await anyio.sleep(30)
            finally:
                raise SystemExit(5)

        async def blocks() -> None:
            block(30)

        timed = Timed()
        jobs = [timed.scheduler.add(each, Every(minutes=1), timeout=20) for each in (shields, stumbles)]
        blocking = timed.scheduler.add(blocks, Every(minutes=2.5), timeout=20)
        exiting = timed.scheduler.add(exits, Every(minutes=3), timeout=20)
        host = hosted(timed.scheduler)

        with pytest.raises(SystemExit):
            await live(host)

        runs = [job.history[0] for job in jobs]
        assert [(run.outcome, run.duration, run.reason, repr(run.error)) for run in runs] == [
            (Outcome.FAILED, 30, "timed out after 20 s", "TimeoutError('timed out after 20 s')"),
            (Outcome.FAILED, 20, "timed out after 20 s", "TimeoutError('timed out after 20 s')"),
        ]
        assert [repr(run.error and run.error.__cause__) for run in runs] == ["None", "KeyError()"]
        assert [run.reason for run in blocking.history] == ["timed out after 20 s"]
        assert [(run.outcome, run.reason) for run in exiting.history] == [(Outcome.FAILED, None)]
        assert host.lifetime.exit_code == 5

    @pytest.mark.parametrize("function", [partial(anyio.sleep, 10), lambda: None], ids=["async", "on a thread"])
    async def test_leaves_a_run_alone_that_is_in_time(self, function: Callable[[], object]) -> None:
        """A run that is over before its timeout has succeeded."""
        timed = Timed()
        job = timed.scheduler.add(function, Every(minutes=1), timeout=20)

        await timed.run_for(1.5 * MINUTE)

        assert told(job.history) == [(1, "succeeded", None)]

    async def test_of_the_job_s_own_is_its_failure(self) -> None:
        """A `TimeoutError` that a job raises itself is no timeout of the scheduler's; its token knows the time left."""
        timed = Timed()
        left: list[float] = []

        async def job(stopping_token: StoppingToken) -> None:
            await stopping_token.wait()
            left.append(stopping_token.time_left)
            message = "its own"
            raise TimeoutError(message)

        scheduled = timed.scheduler.add(job, Every(minutes=1), timeout=HOUR)

        await timed.run_for(1.5 * MINUTE, shutdown_timeout=20)

        assert [(run.reason, repr(run.error)) for run in scheduled.history] == [(None, "TimeoutError('its own')")]
        assert left == [20]


class TestWhen:
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_decides_before_each_run(self, *, asynchronous: bool) -> None:
        """A run whose `when` says no is left out, and told so; sync and async functions may decide."""
        timed = Timed()
        ran: list[float] = []

        def odd() -> bool:
            return round(timed.minutes()) % 2 == 1

        async def odd_later() -> bool:
            await anyio.sleep(1)
            return odd()

        async def job() -> None:
            ran.append(round(timed.minutes()))

        scheduled = timed.scheduler.add(job, Every(minutes=1), when=odd_later if asynchronous else odd, name="job")

        with log_lines() as lines:
            await timed.run_for(3.5 * MINUTE)

        assert ran == [1, 3]
        assert told(scheduled.history)[1] == (2, "skipped", "when() said no")
        skipped = scheduled.history[1]
        assert (skipped.started, skipped.duration) == (None, None)
        assert lines == ["INFO scheduler: job job skipped: when() said no"]

    async def test_that_fails_fails_the_run(self) -> None:
        """An error of `when` is the run's, and says where it comes from."""
        timed = Timed()

        def fail() -> bool:
            raise OSError

        job = timed.scheduler.add(lambda_sleep(1), Every(minutes=1), when=fail)

        await timed.run_for(1.5 * MINUTE)

        [run] = job.history
        assert (run.outcome, run.reason, repr(run.error)) == (Outcome.FAILED, "when() failed", "OSError()")

    async def test_counts_as_running(self) -> None:
        """While `when` thinks, the job is busy."""
        timed = Timed()

        async def think() -> bool:
            await anyio.sleep(90)
            return True

        job = timed.scheduler.add(lambda_sleep(1), Every(minutes=1), when=think)

        async with timed.running():
            await anyio.sleep(2.9 * MINUTE)
            history = told(job.history)

        assert history == [(1, "succeeded", None), (2, "skipped", "still running")]


class TestCancellations:
    async def test_one_that_is_not_the_scheduler_s_is_a_failure(self, anyio_backend_name: str) -> None:
        """A run that somebody else cancels has failed, and takes nobody with it."""
        timed = Timed()

        async def cancelled() -> None:
            await anyio.sleep(1)
            raise anyio.get_cancelled_exc_class() from None

        async def other() -> None:
            await anyio.sleep(2)

        # On trio only the loop makes such an error.
        function = cancelled if anyio_backend_name == "asyncio" else steals_a_cancellation
        job = timed.scheduler.add(function, Every(minutes=1))
        beside = timed.scheduler.add(other, Every(minutes=1))

        await timed.run_for(2.5 * MINUTE)

        assert [(run.outcome, run.reason) for run in job.history] == [
            (Outcome.FAILED, "cancelled, but not by hostkit")
        ] * 2
        assert [run.outcome for run in beside.history] == [Outcome.SUCCEEDED] * 2

    async def test_a_job_may_have_itself_cancelled(self) -> None:
        """A job that asks for its own next run is cancelled for it, and the scheduler goes on."""
        timed = Timed()
        runs: list[float] = []

        async def job() -> None:
            runs.append(round(timed.minutes()))
            if len(runs) == 1:
                scheduled.run_now()
                block(1)

        scheduled = timed.scheduler.add(job, Every(minutes=1), overlap=Overlap.CANCEL_RUNNING)

        await timed.run_for(2.5 * MINUTE)

        assert runs == [1, 1, 2]
        assert [run.outcome for run in scheduled.history] == [Outcome.SUCCEEDED] * 3

    async def test_errors_that_come_with_one_are_kept(self, anyio_backend_name: str) -> None:
        """When a job is cancelled and fails as well, in a group, the failure is what is kept."""
        timed = Timed()
        runs: list[float] = []

        async def job() -> None:
            runs.append(timed.minutes())
            try:
                await anyio.sleep(HOUR if len(runs) == 1 else 1)
            except anyio.get_cancelled_exc_class() as error:
                message = "both"
                raise BaseExceptionGroup(message, [error, OSError("no route")]) from None

        scheduled = timed.scheduler.add(job, Every(minutes=1), overlap=Overlap.CANCEL_RUNNING)

        await timed.run_for(2.5 * MINUTE, shutdown_timeout=1)

        run, other = scheduled.history
        assert other.outcome == Outcome.SUCCEEDED
        assert run.outcome == Outcome.FAILED
        assert isinstance(run.error, ExceptionGroup)
        assert repr(run.error.exceptions[0]) == "OSError('no route')"

    @pytest.mark.parametrize("grouped", [False, True])
    async def test_an_exit_ends_the_host(self, *, grouped: bool) -> None:
        """A job that raises `SystemExit` asks the host to stop with that code; what else runs is cancelled."""
        timed = Timed()
        cancelled: list[bool] = []

        async def other() -> None:
            try:
                await anyio.sleep(HOUR)
            except anyio.get_cancelled_exc_class():
                cancelled.append(True)
                raise

        async def leave() -> None:
            await anyio.sleep(1)
            if grouped:
                message = "out"
                raise BaseExceptionGroup(message, [SystemExit(4)])
            raise SystemExit(4)

        job = timed.scheduler.add(leave, Every(minutes=1))
        timed.scheduler.add(other, Every(seconds=59))
        host = hosted(timed.scheduler)

        with pytest.raises(SystemExit) as caught:
            await live(host)

        assert caught.value.code == 4
        assert host.lifetime.exit_code == 4
        assert cancelled == [True]
        assert job.history[0].outcome == Outcome.FAILED

    @pytest.mark.parametrize("waits", [True, False])
    async def test_a_scope_that_a_job_leaves_open_is_named(self, *, waits: bool) -> None:
        """A job that leaves a cancel scope open fails the scheduler, and the error names the job."""
        timed = Timed()

        async def careless() -> None:
            anyio.CancelScope().__enter__()
            if waits:
                await anyio.sleep(1)

        timed.scheduler.add(careless, Every(minutes=1))

        with pytest.raises(ExceptionGroup) as caught:
            await live(hosted(timed.scheduler))

        assert "job 'careless' has left a cancel scope or a task group open" in str(caught.value.exceptions[0])


class TestReuse:
    async def test_short_jobs_share_a_task(self) -> None:
        """Jobs that wait for nothing run in one task, one after the other."""
        timed = Timed()
        tasks: list[int] = []

        async def job() -> None:
            tasks.append(anyio.get_current_task().id)

        for number in range(100):
            timed.scheduler.add(job, Every(minutes=1), name=str(number))

        await timed.run_for(3.5 * MINUTE)

        assert len(tasks) == 300
        assert len(set(tasks)) == 1

    async def test_jobs_that_wait_have_a_task_each_that_is_used_again(self) -> None:
        """There are as many tasks as jobs that wait at a time; they serve the next runs, and go when too many."""
        timed = Timed()
        tasks: list[int] = []

        async def job() -> None:
            tasks.append(anyio.get_current_task().id)
            await anyio.sleep(1)

        jobs = [timed.scheduler.add(job, Every(minutes=1), name=str(number)) for number in range(100)]

        async with timed.running():
            before = len(anyio.get_running_tasks())
            await anyio.sleep(3.5 * MINUTE)
            most = len(anyio.get_running_tasks())
            for each in jobs[1:]:
                each.remove()
            await anyio.sleep(HOUR)
            least = len(anyio.get_running_tasks())

        assert len(tasks) == 300 + 60
        assert len(set(tasks)) <= 300
        assert most - before <= 66  # 64 idle tasks are kept for the next burst
        assert least - before <= 66

    @pytest.mark.real_time
    async def test_others_get_a_turn(self) -> None:
        """Ten thousand runs that are due at one instant do not keep the event loop for themselves."""
        scheduler = Scheduler()
        ran: list[int] = []
        turns = 0

        async def job() -> None:
            ran.append(1)

        for number in range(10_000):
            scheduler.add(job, Every(seconds=0.05), name=str(number))

        async with hosted(scheduler, log_level="ERROR"):
            while not ran:
                await checkpoint()
            while len(ran) < 10_000:
                turns += 1
                await checkpoint()

        assert turns > 5


def lambda_sleep(seconds: float) -> Callable[[], Awaitable[None]]:
    """Return a job that sleeps."""

    async def sleep() -> None:
        await anyio.sleep(seconds)

    return sleep


async def steals_a_cancellation() -> None:
    """Raise the cancellation of a scope that is over."""
    kept: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class() as error:
            kept.append(error)
            raise
    raise kept[0]


async def test_many_runs_leave_nothing_behind() -> None:
    """The tasks of a scheduler do not become more over time."""
    timed = Timed(history=5)

    async def job() -> None:
        await anyio.sleep(1)

    scheduled = timed.scheduler.add(job, Every(minutes=10), overlap=Overlap.CANCEL_RUNNING)
    other = timed.scheduler.add(lambda_sleep(50 * MINUTE), Every(minutes=10), overlap=Overlap.CANCEL_RUNNING)

    async with timed.running():
        await anyio.sleep(HOUR)
        before = len(anyio.get_running_tasks())
        await anyio.sleep(DAY)
        after = len(anyio.get_running_tasks())

    assert after <= before + 1
    assert len(scheduled.history) == len(other.history) == 5


async def test_a_removed_job_is_let_go_at_the_end() -> None:
    """When the scheduler has ended, nothing keeps a job that was removed while it ran."""
    timed = Timed()
    timed.scheduler.add(lambda_sleep(1), Every(minutes=10))
    function = lambda_sleep(1)
    gone = ref(function)

    async with timed.running():
        timed.scheduler.add(function, Every(hours=24)).remove()
        await anyio.sleep(MINUTE)
    del function
    gc.collect()

    assert gone() is None
