"""Blocking functions as jobs: on threads, limited, told of the stop, never waited for longer than the host waits."""

import contextvars
import re
import threading
from collections.abc import Awaitable, Iterator

import anyio
import pytest
from job_hosts import ClumsyError, Diary, again, hosted, log_lines, run_one, states, until

from hostkit import StopTimeoutError, ThreadStoppingToken
from hostkit.jobs import JobQueue, JobState, Retry

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
SOON = 5.0

pytestmark = pytest.mark.real_time


def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


def job_threads() -> list[str]:
    """Return the threads that run jobs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hostkit jobs")]


class Gate:
    """Blocks threads until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def pass_through(self, result: str = "passed") -> str:
        """Be a job that blocks."""
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.opened.wait(SOON)
        with self._lock:
            self.inside -= 1
        return result

    def fail(self) -> None:
        """Be a job that blocks and fails."""
        self.pass_through()
        raise ClumsyError

    async def wait_for_entry(self) -> None:
        """Wait until one more thread is inside."""
        await until(lambda: self.entered.acquire(blocking=False))


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open in the end."""
    gate = Gate()
    yield gate
    gate.opened.set()


class TestCalls:
    async def test_run_on_a_daemon_thread_in_the_callers_context(self) -> None:
        """A blocking function runs on a daemon thread, in a copy of the context of whoever enqueued it."""
        queue = JobQueue()
        seen: list[object] = []

        def look(number: int, *, word: str) -> str:
            seen.extend([threading.current_thread().daemon, threading.current_thread().name, REQUEST.get()])
            REQUEST.set("overwritten")
            return word * number

        async with hosted(queue):
            REQUEST.set("a")
            job = await queue.enqueue(look, 2, word="x")
            REQUEST.set("b")
            await job.wait()

        assert job.result() == "xx"
        assert seen == [True, "hostkit jobs", "a"]

    async def test_fail_like_any(self) -> None:
        """What a blocking function raises is its failure, with the lines of its own, and is retried."""
        queue = JobQueue(retry=again(2, 0))

        def broken() -> None:
            raise OSError

        job = await run_one(queue, broken)

        assert job.attempts == 2
        with pytest.raises(OSError) as caught:  # noqa: PT011  # it has no text
            job.result()
        assert [entry.name for entry in caught.traceback][-1] == "broken"

    async def test_may_return_something_to_be_awaited(self) -> None:
        """When a blocking function returns an awaitable, that is awaited in the event loop, within the timeout."""
        queue = JobQueue()

        class Answer:
            def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
                yield from anyio.lowlevel.checkpoint().__await__()
                return 42

        async def look() -> str:
            await anyio.lowlevel.checkpoint()
            return REQUEST.get()

        def answer_later() -> Answer:
            return Answer()

        def look_later() -> Awaitable[str]:
            return look()

        def sleep_later() -> Awaitable[None]:
            return anyio.sleep(1000)

        async with hosted(queue):
            REQUEST.set("a")
            answer = await queue.enqueue(answer_later)
            looked = await queue.enqueue(look_later)
            late = await queue.with_options(timeout=0.01).enqueue(sleep_later)
            REQUEST.set("b")
            await queue.join()

        assert answer.result() == 42
        assert looked.result() == "a"
        assert isinstance(late.error, TimeoutError)

    async def test_are_limited_by_concurrency(self, gate: Gate) -> None:
        """Blocking jobs count like others: never more at a time than `concurrency` says."""
        queue = JobQueue(concurrency=2)

        async with hosted(queue):
            jobs = [await queue.enqueue(gate.pass_through) for _ in range(5)]
            await gate.wait_for_entry()
            await gate.wait_for_entry()
            gate.opened.set()
            for job in jobs:
                await job.wait()

        assert gate.most == 2

    async def test_leave_no_thread_when_the_queue_stops(self) -> None:
        """The threads end with the queue, and come again in its next lifecycle."""
        queue = JobQueue()

        for _ in range(2):
            async with hosted(queue):
                await (await queue.enqueue(add, 1, 2)).wait()
                assert job_threads()

            await until(lambda: not job_threads())


class TestToken:
    async def test_is_one_for_threads(self) -> None:
        """A blocking function that takes the token gets one for threads; the stop sets it, and it has succeeded."""
        queue = JobQueue()
        began = threading.Event()

        def patient(stopping_token: ThreadStoppingToken, name: str) -> str:
            began.set()
            return name if stopping_token.sleep(1000) else "slept"

        async with hosted(queue):
            job = await queue.enqueue(patient, "stopped")
            await until(began.is_set)

        assert job.result() == "stopped"


class TestTimeout:
    async def test_is_waited_for(self, gate: Gate, request: pytest.FixtureRequest) -> None:
        """A thread cannot be ended: after its timeout it is waited for, and no retry runs beside it."""
        queue, lines = JobQueue(timeout=0.01, retry=again(2, 0)), log_lines(request, "{message}")

        async with hosted(queue, log_level="WARNING"):
            job = await queue.enqueue(gate.pass_through)
            await gate.wait_for_entry()
            await until(lambda: lines)
            states_while_late = states(job)
            gate.opened.set()
            await job.wait()

        assert states_while_late == ["running"]
        assert re.fullmatch(
            r"job pass-through \(number 1\) has not returned within its timeout of 0.01 s; it goes on in its thread, "
            r"at .+\.py:\d+ in Gate.pass_through",
            lines[0],
        )
        assert gate.most == 1
        assert job.attempts == 2

    async def test_sets_the_token(self) -> None:
        """A blocking function that takes the token hears of its timeout."""
        queue = JobQueue(timeout=0.01)

        def patient(stopping_token: ThreadStoppingToken) -> bool:
            return stopping_token.sleep(1000)

        job = await run_one(queue, patient)

        with pytest.raises(TimeoutError, match=r"job 'patient' took longer than 0.01 s, at .+:\d+ in .+patient"):
            job.result()


class TestCancel:
    async def test_sets_the_token(self) -> None:
        """A blocking function that takes the token hears that it is cancelled, and is cancelled when it returns."""
        queue = JobQueue(retry=Retry(attempts=3))
        began = threading.Event()

        def patient(stopping_token: ThreadStoppingToken) -> None:
            began.set()
            stopping_token.sleep(1000)

        def clumsy(stopping_token: ThreadStoppingToken) -> None:
            began.set()
            stopping_token.sleep(1000)
            raise OSError

        async with hosted(queue):
            jobs = []
            for function in (patient, clumsy):
                job = await queue.enqueue(function)
                await until(began.is_set)
                began.clear()
                assert job.cancel()
                await job.wait()
                jobs.append(job)

        assert states(*jobs) == ["cancelled", "cancelled"]
        assert [type(job.error) for job in jobs] == [type(None), OSError]

    async def test_without_the_token_it_succeeds(self, gate: Gate) -> None:
        """A blocking function that cannot hear of it runs to its end, and has succeeded."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue(gate.pass_through)
            await gate.wait_for_entry()
            assert job.cancel()
            await anyio.sleep(0.01)
            assert job.state is JobState.RUNNING
            gate.opened.set()
            await job.wait()

        assert job.result() == "passed"


class TestStop:
    async def test_abandons_what_does_not_return(
        self, gate: Gate, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A thread that has not returned at the deadline is abandoned, with the line where it is, and the job lost."""
        queue, diary = JobQueue(concurrency=2), Diary()
        lines = log_lines(request, "{message}")

        with pytest.RaisesGroup(StopTimeoutError):
            async with hosted(queue, log_level="WARNING", shutdown_timeout=0.05):
                jobs = [await queue.enqueue(gate.pass_through), await queue.enqueue(gate.fail)]
                waiting = await queue.enqueue(diary.note)
                await gate.wait_for_entry()
                await gate.wait_for_entry()
        gate.opened.set()
        await until(lambda: not gate.inside)

        assert states(*jobs, waiting) == ["lost", "lost", "lost"]
        abandoned = sorted(line for line in lines if "abandoned" in line)
        assert abandoned[1].startswith("job pass-through (number 1) still runs in its thread, at ")
        assert "in Gate.pass_through, and is abandoned" in abandoned[1]
        await until(lambda: "failed: ClumsyError()" in capsys.readouterr().err)
