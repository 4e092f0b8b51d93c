"""A scheduler that is steered from other threads: before, while and after it runs."""

import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import anyio
import pytest
from anyio import from_thread, to_thread
from puppet import live
from scheduled import HOUR, MINUTE, START, Timed, hosted, log_lines, nothing, told
from threads import on_a_thread

from hostkit import HostFailedError, StoppingToken
from hostkit.scheduling import Daily, Every, Outcome, ScheduledJob, Scheduler, _registry
from hostkit.scheduling._engine import Engine, Options
from hostkit.scheduling._entry import JobEntry


async def test_a_sync_job_may_have_another_one_run() -> None:
    """A job on a thread asks for a run of another one: it runs, and the scheduler goes on."""
    timed = Timed()
    report = timed.scheduler.add(nothing, Every(hours=1), name="report")
    ticks = timed.scheduler.add(nothing, Every(seconds=61), name="ticks")
    collect = timed.scheduler.add(lambda: report.run_now(), Every(minutes=1), name="collect")  # noqa: PLW0108

    await timed.run_for(5.5 * MINUTE)

    assert [run.outcome for run in collect.history] == [Outcome.SUCCEEDED] * 5
    assert [run.outcome for run in report.history] == [Outcome.SUCCEEDED] * 5
    assert len(ticks.history) == 5


async def test_jobs_are_added_replaced_and_removed_from_a_thread() -> None:
    """What a thread adds is in the mapping at once, and runs when it is due; what it removes runs no more."""
    timed = Timed()
    old = timed.scheduler.add(nothing, Every(minutes=1), name="job")
    gone = timed.scheduler.add(nothing, Daily("09:10"), name="gone")

    def steer() -> ScheduledJob:
        gone.remove()
        gone.remove()
        timed.scheduler.add(nothing, Every(minutes=2), name="new", run_at_start=True)
        return timed.scheduler.add(nothing, Every(minutes=5), name="job", replace=True)

    async with timed.running():
        await anyio.sleep(1.5 * MINUTE)
        job = await to_thread.run_sync(steer)
        names = list(timed.scheduler.jobs)
        await anyio.sleep(10.2 * MINUTE)
        history = told(job.history)
        new = told(timed.scheduler.jobs["new"].history)

    assert names == ["new", "job"]
    assert told(old.history) == [(1, "succeeded", None)]
    assert gone.history == ()
    assert history == [(6.5, "succeeded", None), (11.5, "succeeded", None)]
    assert new[:2] == [(1.5, "succeeded", None), (3.5, "succeeded", None)]


async def test_a_thread_pauses_and_resumes() -> None:
    """`pause` and `resume`, of a job and of all, hold from any thread, and `next_run` tells the same there."""
    timed = Timed()
    job = timed.scheduler.add(nothing, Every(minutes=1))
    other = timed.scheduler.add(nothing, Every(minutes=1))

    async with timed.running():
        await to_thread.run_sync(job.pause)
        await anyio.sleep(1.5 * MINUTE)
        await to_thread.run_sync(job.resume)
        await to_thread.run_sync(timed.scheduler.pause)
        await anyio.sleep(MINUTE)
        while_paused = await to_thread.run_sync(lambda: job.next_run)
        await to_thread.run_sync(timed.scheduler.resume)
        next_run = await to_thread.run_sync(lambda: job.next_run)
        await anyio.sleep(MINUTE)
        history, beside = told(job.history), told(other.history)

    assert (while_paused, next_run) == (None, START + timedelta(minutes=3))
    assert history == [
        (1, "skipped", "paused"),
        (2, "skipped", "the scheduler is paused"),
        (3, "succeeded", None),
    ]
    assert beside[1] == (2, "skipped", "the scheduler is paused")


async def test_before_and_after_it_runs() -> None:
    """A thread steers a scheduler that does not run: what it asks for is done at the next start."""
    timed = Timed()
    job = timed.scheduler.add(nothing, Every(minutes=10))
    on_a_thread(job.run_now)

    for _ in range(2):
        async with timed.running():
            await anyio.sleep(MINUTE)
            before = len(job.history)
        on_a_thread(job.run_now)
        on_a_thread(lambda: timed.scheduler.add(nothing, Every(minutes=1)))

    assert before == 2
    assert list(timed.scheduler.jobs) == ["nothing", "nothing-2", "nothing-3"]
    removed = timed.scheduler.jobs["nothing-2"]
    on_a_thread(removed.remove)
    with pytest.raises(ValueError, match="job 'nothing-2' was removed"):
        on_a_thread(removed.run_now)


async def test_a_run_that_is_asked_for_when_the_loop_has_ended_is_done_at_the_next_start() -> None:
    """A loop may end under a scheduler: what a thread asks for then is not lost."""
    timed = Timed()
    job = timed.scheduler.add(nothing, Every(minutes=10))

    class Ended:
        """Stands in for the engine of a loop that has ended."""

        def call(self, function: Callable[[], object]) -> bool:
            return False

        def run_now(self, job: ScheduledJob) -> None:
            """Be what cannot be called any more."""

    registry = job._owner
    registry._engine = Ended()  # type: ignore[attr-defined]
    job.run_now()
    registry._engine = None  # type: ignore[attr-defined]

    await timed.run_for(MINUTE)

    assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED]


@pytest.mark.parametrize("reads", [0, 1, 2])
async def test_a_clock_that_fails_at_the_start_fails_the_scheduler(reads: int) -> None:
    """The first times that the scheduler reads the clock are no different."""
    left = math.inf

    def now() -> datetime:
        nonlocal left
        left -= 1
        if left < 0:
            message = "no clock"
            raise OSError(message)
        return START

    scheduler = Scheduler(now=now)
    scheduler.add(nothing, Every(hours=1))
    left = reads

    with pytest.raises(HostFailedError) as caught:
        await live(hosted(scheduler))

    assert caught.group_contains(OSError, match="no clock")


async def test_a_clock_that_fails_in_the_loop_fails_the_scheduler() -> None:
    """When the clock fails while the loop does what a thread asked for, the scheduler fails, with that error."""
    broken = False

    def now() -> object:
        if broken:
            message = "no clock"
            raise OSError(message)
        return START

    scheduler = Scheduler(now=now)  # type: ignore[arg-type]
    job = scheduler.add(nothing, Every(hours=1))

    async def break_it() -> None:
        nonlocal broken
        async with hosted(scheduler) as host:
            await anyio.sleep(1)
            broken = True
            await to_thread.run_sync(job.run_now)
            await host.wait()

    with pytest.raises(ExceptionGroup) as caught:
        await break_it()

    assert repr(caught.value.exceptions[0]) == "OSError('no clock')"


def test_the_jobs_are_those_of_one_instant() -> None:
    """What was asked for is not changed by another thread that adds and removes meanwhile: ``dict(scheduler.jobs)``."""
    scheduler = Scheduler()
    first = scheduler.add(nothing, Every(hours=1), name="first")
    jobs = scheduler.jobs

    first.remove()
    scheduler.add(nothing, Every(hours=1), name="second")

    assert dict(jobs) == {"first": first}
    assert list(scheduler.jobs) == ["second"]
    assert scheduler.jobs is scheduler.jobs
    with pytest.raises(TypeError):
        jobs["third"] = first  # type: ignore[index]


async def test_a_job_that_is_removed_before_the_loop_hears_of_it_never_runs() -> None:
    """What a thread has added and removed while the loop was busy is not scheduled after that."""
    timed = Timed()
    runs: list[float] = []

    async def run() -> None:
        runs.append(anyio.current_time())

    async with timed.running():
        on_a_thread(lambda: timed.scheduler.add(run, Every(seconds=1)).remove())
        await anyio.sleep(5)

    assert runs == []


async def test_many_threads_at_once() -> None:
    """Threads that add, steer, read and remove side by side disturb neither each other nor what is due."""
    timed = Timed()
    ticks = timed.scheduler.add(nothing, Every(seconds=1), name="ticks")
    errors: list[BaseException] = []

    def steer() -> None:
        try:
            for _ in range(50):
                job = timed.scheduler.add(nothing, Every(hours=1))
                job.run_now()
                job.pause()
                _ = job.next_run, job.history, job.counts, job.runs, dict(timed.scheduler.jobs)
                timed.scheduler.details()
                job.resume()
                job.remove()
        except Exception as error:  # noqa: BLE001  # looked at below
            errors.append(error)

    async with timed.running(log_level="ERROR"):
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(to_thread.run_sync, steer)
        await anyio.sleep(10.5)
        count = len(ticks.history)

    assert errors == []
    assert list(timed.scheduler.jobs) == ["ticks"]
    assert count >= 10


async def test_names_are_unique_whatever_threads_add() -> None:
    """Two threads that add a job of one name at once: one of them is told, and there is one job."""
    scheduler = Scheduler()
    barrier = threading.Barrier(4)
    refused: list[str] = []

    def add() -> None:
        barrier.wait(20)
        try:
            scheduler.add(nothing, Every(hours=1), name="job")
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 3
    assert list(scheduler.jobs) == ["job"]


async def test_the_loop_is_not_waited_for() -> None:
    """A thread that steers gets its answer at once, also while the event loop is blocked by somebody else."""
    timed = Timed()
    job = timed.scheduler.add(nothing, Every(hours=1))

    async with timed.running():
        await anyio.sleep(1)
        on_a_thread(job.run_now)  # it holds the loop
        added = on_a_thread(lambda: timed.scheduler.add(nothing, Every(hours=1), run_at_start=True))
        await anyio.sleep(1)

    assert isinstance(added, ScheduledJob)
    assert [run.outcome for run in (*job.history, *added.history)] == [Outcome.SUCCEEDED] * 2


async def test_a_line_that_a_thread_causes_has_the_scheduler_s_name() -> None:
    """What is logged of a run that a thread asked for names the scheduler, as all its lines do."""
    timed = Timed()

    async def slow() -> None:
        await anyio.sleep(HOUR)

    job = timed.scheduler.add(slow, Every(minutes=1), name="slow")

    with log_lines() as lines:
        async with timed.running():
            await anyio.sleep(1.5 * MINUTE)
            await to_thread.run_sync(job.run_now)
            await anyio.sleep(1)

    assert lines == ["INFO scheduler: job slow skipped: still running"]


async def test_the_mapping_of_jobs_may_change_while_it_is_gone_over() -> None:
    """Going over `jobs` meets the jobs of its beginning, so one may remove them all on the way."""
    scheduler = Scheduler()
    for _ in range(3):
        scheduler.add(nothing, Every(hours=1))
    shown = repr(scheduler.jobs)

    for job in scheduler.jobs.values():
        job.remove()

    assert "{'nothing': <ScheduledJob 'nothing': every hour>, 'nothing-2': " in shown
    assert len(scheduler.jobs) == 0
    assert dict(scheduler.jobs.items()) == {}
    with pytest.raises(KeyError):
        scheduler.jobs["nothing"]


def test_from_thread_is_not_needed() -> None:
    """The methods are plain calls: a thread of anyio's needs no way back into its loop for them."""
    timed = Timed()

    async def main() -> None:
        async with timed.running():
            await to_thread.run_sync(lambda: timed.scheduler.add(nothing, Every(minutes=1)))
            assert await to_thread.run_sync(lambda: from_thread.run_sync(len, timed.scheduler.jobs)) == 1

    anyio.run(main)


async def test_a_pause_in_the_middle_of_the_start_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may pause all jobs on the thread of the event loop, also between two steps of the start."""
    timed = Timed()
    job = timed.scheduler.add(nothing, Every(minutes=1))

    def interrupted(jobs: Mapping[str, JobEntry], options: Options, token: StoppingToken) -> Engine:
        engine = Engine(jobs, options, token)
        timed.scheduler.pause()
        return engine

    monkeypatch.setattr(_registry, "Engine", interrupted)
    async with timed.running():
        await anyio.sleep(1.5 * MINUTE)
        history = told(job.history)

    assert history == [(1, "skipped", "the scheduler is paused")]
