"""Whatever happens to a queue, every job ends in exactly one way, and the figures add up."""

from collections import Counter
from collections.abc import Hashable

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_hosts import ENDED

from hostkit import HostBuilder, HostFailedError, HostOptions
from hostkit.jobs import Job, JobQueue, JobState, QueueClosedError, QueueFullError, Retry
from hostkit.testing import virtual_time

TIMES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 40.0])
KEYS = st.sampled_from([None, None, None, "a", "b"])
ENDS = st.sampled_from(["return", "return", "raise", "deaf"])
ENQUEUE = st.tuples(st.just("enqueue"), TIMES, TIMES, ENDS, KEYS, st.booleans())
STEPS = st.lists(
    st.one_of(
        ENQUEUE,
        ENQUEUE,
        st.tuples(st.just("advance"), TIMES),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("requeue"), st.integers(0, 30)),
    ),
    max_size=30,
)


class Scene:
    """One run of a scenario, and what is checked all through it."""

    def __init__(self, *, concurrency: int, capacity: int, attempts: int, drain: bool) -> None:
        self.lost: list[Job[object]] = []
        self.queue = JobQueue(
            concurrency=concurrency,
            capacity=capacity,
            retry=Retry(attempts=attempts, backoff=float),
            drain=drain,
            on_lost=self.lost.extend,
            history=1000,
        )
        self.attempts = attempts
        self.jobs: dict[int, Job[object]] = {}
        self.known: dict[int, JobState] = {}
        self.running = 0
        self.begun: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()

    async def job(self, tag: int, seconds: float, end: str) -> None:
        self.begun[tag] += 1
        self.running += 1
        assert self.running <= self.queue.concurrency
        try:
            with anyio.CancelScope(shield=end == "deaf"):
                await anyio.sleep(min(seconds, 3) if end == "deaf" else seconds)
            if end == "raise":
                raise OSError
            self.finished[tag] += 1
        finally:
            self.running -= 1

    async def step(self, step: tuple[object, ...]) -> None:
        match step:
            case ("enqueue", float(delay), float(seconds), str(end), key, bool(waits)):
                await self.enqueue(delay, seconds, end, key, waits=waits)
            case ("advance", float(seconds)):
                await anyio.sleep(seconds)
            case ("cancel", int(number)) if number in self.jobs:
                ended = self.jobs[number].state in ENDED
                assert self.jobs[number].cancel() is not ended
            case ("requeue", int(number)) if number in self.jobs and self.jobs[number].state is JobState.FAILED:
                try:
                    self.keep(self.jobs[number].requeue())
                except QueueFullError:
                    assert self.waiting >= self.queue.capacity
        self.look()

    async def enqueue(self, delay: float, seconds: float, end: str, key: Hashable, *, waits: bool) -> None:
        queue = self.queue.with_options(key=key, timeout=20)
        tag = sum(self.queue.counts.values()) + 1
        same = [job for job in self.jobs.values() if key is not None and job.key == key and job.state not in ENDED]
        try:
            if delay:
                with anyio.fail_after(0.25):
                    job: Job[object] = await queue.enqueue_in(delay, self.job, tag, seconds, end)
            elif waits:
                with anyio.fail_after(0.25):
                    job = await queue.enqueue(self.job, tag, seconds, end)
            else:
                job = queue.enqueue_nowait(self.job, tag, seconds, end)
        except QueueFullError:
            assert self.waiting >= self.queue.capacity
            return
        except TimeoutError:
            return
        assert same in ([], [job]) or same[0].state in ENDED
        self.keep(job)

    def keep(self, job: Job[object]) -> None:
        self.jobs[job.id] = job
        self.known.setdefault(job.id, job.state)

    @property
    def waiting(self) -> int:
        counts = self.queue.counts
        return counts[JobState.WAITING] + counts[JobState.DELAYED] + counts[JobState.RETRYING]

    def look(self) -> None:
        """Check what holds at any time."""
        counts = self.queue.counts
        assert dict(counts) == {state: sum(job.state is state for job in self.jobs.values()) for state in JobState}
        assert self.waiting <= self.queue.capacity + self.queue.concurrency
        assert [job.state for job in self.queue.running] == [JobState.RUNNING] * counts[JobState.RUNNING]
        for number, job in self.jobs.items():
            before, self.known[number] = self.known[number], job.state
            assert before is job.state or before not in ENDED
        keys = Counter(job.key for job in self.jobs.values() if job.key is not None and job.state not in ENDED)
        assert set(keys.values()) <= {1}

    def close(self) -> None:
        """Check what holds in the end."""
        self.look()
        assert all(job.state in ENDED for job in self.jobs.values())
        assert [job.id for job in self.queue.lost] == [job.id for job in self.lost]
        assert {job.id for job in self.lost} == {job.id for job in self.jobs.values() if job.state is JobState.LOST}
        assert sorted(job.id for job in self.queue.history) == sorted(self.jobs)
        for tag in self.begun:
            same = [job for job in self.jobs.values() if job.args[0] == tag]  # those that were enqueued once more
            assert self.begun[tag] <= len(same) * self.attempts
            assert self.finished[tag] >= sum(job.state is JobState.SUCCEEDED for job in same)
        assert self.queue._dispatcher.admission.waiting == self.queue._dispatcher.admission._reserved == 0
        assert self.running == 0


async def play(
    scene: Scene, before: list[tuple[object, ...]], steps: list[tuple[object, ...]], patience: float
) -> None:
    """Play a scenario: some steps before the start, the others after it, then the stop."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=patience, cancellation_timeout=5))
    builder.add_service(scene.queue)
    for step in before:
        await scene.step(step)
    try:
        async with builder.build():
            for step in steps:
                await scene.step(step)
    except HostFailedError:
        pass  # it had to cut some
    with pytest.raises(QueueClosedError):
        await scene.queue.enqueue(anyio.sleep, 1)
    scene.close()


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    concurrency=st.integers(1, 3),
    capacity=st.integers(1, 6),
    attempts=st.integers(1, 3),
    drain=st.booleans(),
    before=STEPS.map(lambda steps: steps[:3]),
    steps=STEPS,
    patience=TIMES,
)
def test_every_job_ends_in_exactly_one_way(  # noqa: PLR0917  # what is drawn
    backend: str,
    concurrency: int,
    capacity: int,
    attempts: int,
    drain: bool,  # noqa: FBT001  # drawn as well
    before: list[tuple[object, ...]],
    steps: list[tuple[object, ...]],
    patience: float,
) -> None:
    """Accepted = succeeded + failed + cancelled + lost, whatever is enqueued, fails, is cancelled, or is cut."""
    name, options = virtual_time(backend)
    scene = Scene(concurrency=concurrency, capacity=capacity, attempts=attempts, drain=drain)

    anyio.run(play, scene, before, steps, patience, backend=name, backend_options=options)
