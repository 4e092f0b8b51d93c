"""What a stop does to a scheduler: nothing begins, what runs is finished, what does not end is cut and named."""

import signal
import threading
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from children import PYTHON, Child
from puppet import live
from scheduled import HOUR, MINUTE, Timed, block, hosted, log_lines, told

from hostkit import Host, HostBuilder, HostFailedError, HostOptions, ServiceStuckError, StoppingToken, StopTimeoutError
from hostkit.events import ServiceStalled
from hostkit.scheduling import Daily, Every, Outcome, Overlap, Scheduler

pytestmark = pytest.mark.usefixtures("unmeasured_children")

BACKENDS = [backend for backend in ("asyncio", "trio", "uvloop") if backend == "asyncio" or find_spec(backend)]


async def test_what_runs_is_finished_and_nothing_begins() -> None:
    """From the stop on nothing begins, neither what is due nor what waits; the run that goes on is waited for."""
    timed = Timed()
    ended: list[float] = []

    async def slow() -> None:
        await anyio.sleep(10 * MINUTE)
        ended.append(timed.minutes())

    job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.QUEUE)

    await timed.run_for(2.5 * MINUTE)

    assert ended == [11]
    assert told(job.history) == [(1, "succeeded", None), (2, "skipped", "the scheduler is stopping")]


async def test_what_is_asked_for_during_the_stop_does_not_begin() -> None:
    """Who asks for a run while the scheduler stops is told why there is none."""
    timed = Timed()
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    late = timed.scheduler.add(other, Every(hours=1))

    @timed.scheduler.job(Every(minutes=1))
    async def slow(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        await anyio.sleep(1)
        late.run_now()
        timed.scheduler.add(other, Every(seconds=1), run_at_start=True, name="new")
        await anyio.sleep(5)

    await timed.run_for(1.5 * MINUTE)

    assert ran == []
    assert [run.reason for run in late.history] == ["the scheduler is stopping"]
    assert [run.reason for run in timed.scheduler.jobs["new"].history] == ["the scheduler is stopping"]


async def test_nothing_begins_once_a_token_says_that_the_stop_has_come() -> None:
    """Of many runs that are due together, those whose turn comes after the stop are left out; their records say why."""
    timed = Timed()
    late: list[bool] = []

    async def job(stopping_token: StoppingToken) -> None:
        late.append(stopping_token.stop_requested)
        host.lifetime.request_stop()
        block(0.002)  # the next one has to wait for its turn

    jobs = [timed.scheduler.add(job, Every(minutes=1)) for _ in range(50)]
    host = hosted(timed.scheduler)

    await live(host)

    assert set(late) == {False}
    assert [run.reason for each in jobs for run in each.history].count("the scheduler is stopping") == 50 - len(late)


async def test_a_run_that_was_being_decided_on_at_the_stop_does_not_begin() -> None:
    """Where `when` says yes only after the stop, the run is left out, and so is what is asked for meanwhile."""
    timed = Timed()
    ran: list[str] = []

    async def is_leader() -> bool:
        await anyio.sleep(MINUTE)
        other.run_now()
        return True

    async def report() -> None:
        ran.append("report")

    other = timed.scheduler.add(report, Every(hours=1), name="other")
    job = timed.scheduler.add(report, Every(minutes=1), when=is_leader)

    await timed.run_for(1.5 * MINUTE)

    assert ran == []
    assert told(job.history) == [(1, "skipped", "the scheduler is stopping")]
    assert told(other.history) == [(2, "skipped", "the scheduler is stopping")]


async def test_a_run_that_waits_for_a_thread_is_left_out_at_once() -> None:
    """The stop ends the wait for a thread: the run is left out while the one that holds the thread goes on."""
    timed = Timed(threads=1)
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(20)

    jobs = [timed.scheduler.add(slow, Every(hours=1), run_at_start=True) for _ in range(3)]

    async with timed.running() as host:
        while not begun.is_set():
            await checkpoint()
        host.lifetime.request_stop()
        while not all(job.history for job in jobs[1:]):
            await checkpoint()
        running = jobs[0].running
        go.set()

    assert running == 1
    assert [run.outcome for run in jobs[0].history] == [Outcome.SUCCEEDED]
    assert [run.reason for job in jobs[1:] for run in job.history] == ["the scheduler is stopping"] * 2


async def test_what_does_not_end_is_cancelled_and_named() -> None:
    """At the end of `shutdown_timeout` what still runs is cancelled, and each job is named in the log."""
    timed = Timed()
    stopped: list[float] = []

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(timed.minutes())

    job = timed.scheduler.add(endless, Every(minutes=1), name="endless")

    with log_lines() as lines, pytest.raises(HostFailedError) as caught:
        await timed.run_for(1.5 * MINUTE, shutdown_timeout=30)

    assert stopped == [2]
    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert f"{endless.__code__.co_firstlineno + 2} in {endless.__qualname__}" in str(caught.value.exceptions[0])
    assert [(run.outcome, run.reason) for run in job.history] == [
        (Outcome.CANCELLED, "not over in time at the stop"),
    ]
    assert lines == ["INFO scheduler: job endless cancelled after 1 min: not over in time at the stop"]


async def test_a_scheduler_that_is_cancelled_says_so() -> None:
    """A scheduler may be used without a host; who cancels it cancels what it runs."""
    timed = Timed()
    job = timed.scheduler.add(anyio.sleep_forever, Every(minutes=1))
    queued = timed.scheduler.add(anyio.sleep_forever, Every(minutes=1), overlap=Overlap.QUEUE, name="queued")
    timed.scheduler.add(checkpoint, Every(minutes=1))
    token = StoppingToken(owner=None)  # type: ignore[arg-type]  # nobody asks it

    with anyio.move_on_after(2.5 * MINUTE):
        await timed.scheduler.execute(token)
    await timed.scheduler.stop()

    assert [run.reason for run in job.history] == ["still running", "the scheduler was cancelled"]
    assert [run.reason for run in queued.history] == ["the scheduler is stopping", "the scheduler was cancelled"]


async def live_until(begun: threading.Event, host: Host) -> None:
    """Run a host until a thread has begun."""
    async with host:
        while not begun.is_set():
            await checkpoint()


@pytest.mark.real_time
async def test_a_thread_has_until_the_end_of_the_cancellation_timeout() -> None:
    """A thread that was not back at the end of `shutdown_timeout` is waited for as long as a cancelled task is."""
    scheduler = Scheduler()
    begun, go = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        go.wait(20)

    scheduled = scheduler.add(job, Every(hours=1), run_at_start=True)
    host = hosted(scheduler, shutdown_timeout=0.01, cancellation_timeout=20)

    async def release() -> None:
        while not scheduled.history:
            await checkpoint()
        go.set()

    async with anyio.create_task_group() as group:
        group.start_soon(release)
        with pytest.raises(HostFailedError) as caught:
            await live_until(begun, host)

    assert scheduled.history[0].outcome == Outcome.CANCELLED
    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert host.lifetime.exit_code == 1


@pytest.mark.real_time
async def test_a_thread_that_does_not_return_is_named_and_abandoned() -> None:
    """A thread that is not back by then is left behind: the error names the job and the line where it is."""
    scheduler = Scheduler()
    begun, go = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        go.wait(20)

    scheduler.add(stuck, Every(hours=1), run_at_start=True)
    host = hosted(scheduler, shutdown_timeout=0.01, cancellation_timeout=0.01)

    with pytest.raises(HostFailedError) as caught:
        await live_until(begun, host)
    go.set()

    error = next(error for error in caught.value.exceptions if isinstance(error, ServiceStuckError))
    assert error.service == "job stuck"
    assert error.waiting_at is not None
    assert error.waiting_at.endswith("in test_a_thread_that_does_not_return_is_named_and_abandoned.<locals>.stuck")
    assert host.lifetime.exit_code == 3


APP = """
import sys
import time
import anyio
from hostkit import HostBuilder, HostOptions, StoppingToken
from hostkit.scheduling import Every, Scheduler

builder = HostBuilder(HostOptions(backend=sys.argv[1], shutdown_timeout=20, cancellation_timeout=0.2))
scheduler = builder.add_service(Scheduler())
numbers = iter(range(1, 100))

@scheduler.job(Every(seconds=0.02))
async def work(stopping_token: StoppingToken) -> None:
    number = next(numbers)
    print(f"began {number}", flush=True)
    if number == 3:
        await stopping_token.wait()
        await anyio.sleep(0.1)
    print(f"ended {number}", flush=True)

@scheduler.job(Every(seconds=0.02))
def on_a_thread(stopping_token) -> None:
    stopping_token.wait()
    print("thread ended", flush=True)

host = builder.build()
host.run()
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_sigterm_lets_a_job_finish_and_begins_none(backend: str, tmp_path: Path) -> None:
    """SIGTERM while jobs run: they are told and finish, the next is not begun, and the exit code is 0."""
    script = tmp_path / "app.py"
    script.write_text(APP)

    with Child(*PYTHON, script, backend, cwd=tmp_path) as child:
        assert child.wait_for(lambda line: line == "began 3"), child.text
        child.send(signal.SIGTERM)
        exit_code = child.end()

    said = [line for line in child.lines if line.startswith(("began", "ended", "thread"))]
    assert exit_code == 0, child.text
    assert sorted(said) == ["began 1", "began 2", "began 3", "ended 1", "ended 2", "ended 3", "thread ended"]
    assert any("stopped in" in line for line in child.lines)


STUCK = """
import sys
import time
from hostkit import HostBuilder, HostOptions
from hostkit.scheduling import Every, Scheduler

builder = HostBuilder(HostOptions(backend=sys.argv[1], shutdown_timeout=0.1, cancellation_timeout=0.1))
scheduler = builder.add_service(Scheduler())

@scheduler.job(Every(hours=1), run_at_start=True)
def stuck() -> None:
    print("stuck", flush=True)
    time.sleep(600)

builder.build().run()
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_that_does_not_return_does_not_hold_the_process(backend: str, tmp_path: Path) -> None:
    """A sync job that never returns is named with its line, and the process ends with exit code 3."""
    script = tmp_path / "app.py"
    script.write_text(STUCK)

    with Child(*PYTHON, script, backend, cwd=tmp_path) as child:
        assert child.wait_for(lambda line: line == "stuck"), child.text
        child.send(signal.SIGTERM)
        exit_code = child.end()

    assert exit_code == 3, child.text
    assert "app.py:13 in stuck" in child.text


async def test_a_scheduler_that_waits_is_not_stalled() -> None:
    """A scheduler that waits for what is due next gives no sign of lifecycle, and none is missed."""
    timed = Timed()

    @timed.scheduler.job(Every(hours=2))
    async def busy() -> None:
        await anyio.sleep(HOUR)

    builder = HostBuilder(HostOptions(shutdown_timeout=HOUR))
    builder.add_service(timed.scheduler, heartbeat_timeout=30)
    stalled: list[ServiceStalled] = []
    builder.on_event(lambda event: stalled.append(event) if isinstance(event, ServiceStalled) else None)

    async with builder.build():
        await anyio.sleep(5 * HOUR)

    assert stalled == []
    assert [run.outcome for run in timed.scheduler.jobs["busy"].history] == [Outcome.SUCCEEDED] * 2


async def test_a_stop_between_two_runs_is_quick() -> None:
    """A scheduler that waits is stopped at once."""
    timed = Timed()
    timed.scheduler.add(anyio.sleep_forever, Daily("08:00"))
    timed.scheduler.add(anyio.sleep_forever, Every(hours=2))

    async with timed.running():
        await anyio.sleep(HOUR)
        began = anyio.current_time()

    assert anyio.current_time() == began
