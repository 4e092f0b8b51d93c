"""The work that contestants share, and the clocks around it; only the standard library, as every environment has it."""

import asyncio
import gc
import itertools
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles

from benchmarks._measure import Figures

LARGE = 1_000
"""From how many items on their memory can be told from that of everything else."""

SETTLE = 0.5
WINDOW = 3.0
"""Seconds to wait before, and to look at, what goes on by itself."""

LEAD = 1.0
PER_ADDED_JOB = 4e-4
"""Seconds until jobs are due at one instant: for all, and for each of them."""

EARLY = 0.01
"""By how many seconds two clocks may differ."""

REPEATED = 3_000
MOST_REPETITIONS = 100
"""How many services are started in one run, over all repetitions; and how many repetitions there are at most."""


def resident_bytes() -> int:
    """Return the memory that the process holds, or has held at most where the platform tells no more."""
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # one short read
        return int(statm.read().split()[1]) * resource.getpagesize()
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


class Services:
    """Some services that all wait for the stop: how many run, and the times of their start and stop.

    A contestant calls the methods in their order, repeatedly; a service counts itself in `running`.
    """

    def __init__(self, count: int) -> None:
        """Expect *count* services."""
        self.count = count
        self.repetitions = max(1, min(MOST_REPETITIONS, REPEATED // count))
        self.running = 0
        self._rounds: list[Figures] = []

    def begin(self) -> None:
        """Note what there is before the first service is made."""
        gc.collect()
        self._memory_empty = resident_bytes()
        self._began = time.perf_counter()

    def built(self) -> None:
        """Note that everything is registered and nothing has started."""
        self._built = time.perf_counter()
        self._memory_built = resident_bytes()
        self._build_noted = time.perf_counter()

    def started(self) -> None:
        """Note that all services run."""
        self._started = time.perf_counter()
        assert self.running == self.count, self.running
        self._memory = resident_bytes()

    def stopping(self) -> None:
        """Note that the stop is about to be requested."""
        self._stopping = time.perf_counter()

    def stopped(self) -> None:
        """Note that all services have ended."""
        stopped = time.perf_counter()
        assert self.running == 0, self.running
        build, start = self._built - self._began, self._started - self._build_noted
        figures = {
            "empty to started": (build + start) / self.count * 1e6,
            "built to started": start / self.count * 1e6,
            "stop": (stopped - self._stopping) / self.count * 1e6,
        }
        if self.count >= LARGE:
            figures["memory, all"] = (self._memory - self._memory_empty) / self.count / 1024
            figures["memory, start"] = (self._memory - self._memory_built) / self.count / 1024
        self._rounds.append(figures)

    def figures(self) -> Figures:
        """Return the medians of the times, and the memory of the first repetition."""
        times = ("empty to started", "built to started", "stop")
        return {**self._rounds[0], **{name: median(done[name] for done in self._rounds) for name in times}}


class Jobs:
    """Jobs for a queue that do nothing but count; made in an event loop.

    The jobs are functions of this module, as most are, and belong to the latest object.
    """

    current: "Jobs"

    def __init__(self, count: int) -> None:
        """Expect *count* jobs."""
        self.count = count
        self.numbers = itertools.count(1)
        self.done = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        Jobs.current = self

    def begin(self) -> None:
        """Note that the first job is about to be enqueued."""
        gc.collect()
        self._began = time.perf_counter()
        self._began_cpu = time.process_time()

    async def figures(self) -> Figures:
        """Wait for the last job, and return what one has taken, from the enqueuing of the first on."""
        await self.done.wait()
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._began_cpu
        assert next(self.numbers) == self.count + 1
        return {"a job": seconds / self.count * 1e6, "CPU of a job": cpu / self.count * 1e6}


async def job() -> None:
    """Be an async job."""
    jobs = Jobs.current
    if next(jobs.numbers) == jobs.count:
        jobs.done.set()


def blocking_job() -> None:
    """Be a blocking job; ``next`` of a counter is one step for all threads."""
    jobs = Jobs.current
    if next(jobs.numbers) == jobs.count:
        jobs.loop.call_soon_threadsafe(jobs.done.set)


class Sleeping:
    """Jobs that are due in an hour: what it takes to add one, and what it takes while it waits."""

    def __init__(self, count: int) -> None:
        """Note what there is before the jobs."""
        self.count = count
        gc.collect()
        self._memory = resident_bytes()
        self._began = time.process_time()

    async def figures(self) -> Figures:
        """Wait, now that all are added, and return the figures."""
        added = time.process_time() - self._began
        await asyncio.sleep(SETTLE)
        gc.collect()
        memory = resident_bytes() - self._memory
        began = time.process_time()
        await asyncio.sleep(WINDOW)
        figures = {"to add": added / self.count * 1e6, "idle": (time.process_time() - began) / WINDOW * 1000}
        if self.count >= LARGE:
            figures["memory"] = memory / self.count / 1024
        return figures


class DueAtOnce:
    """Jobs that are all due at one instant, and then every hour: how late each begins the first time."""

    PERIOD = timedelta(hours=1)

    def __init__(self, count: int) -> None:
        """Set the instant: a whole second."""
        self.count = count
        soon = datetime.now(UTC) + timedelta(seconds=LEAD + count * PER_ADDED_JOB)
        self.instant = soon.replace(microsecond=0) + timedelta(seconds=1)
        self._begun: list[float] = []
        self._done = asyncio.Event()

    def seconds_left(self) -> float:
        """Return how long it is until the instant."""
        return max(0.0, self.instant.timestamp() - time.time())

    async def job(self) -> None:
        """Run."""
        self._begun.append(time.time())
        if len(self._begun) == self.count:
            self._done.set()

    async def figures(self, planned: Callable[[], datetime] | None = None) -> Figures:
        """Wait for all runs, and return how late they were.

        Args:
            planned: Returns the instant at which they really were due, where it was not given.
        """
        assert self.seconds_left() > 0, "it took too long to add the jobs"
        gc.collect()
        await self._done.wait()
        assert len(self._begun) == self.count
        due = (planned() if planned else self.instant).timestamp()
        late = [begun - due for begun in self._begun]
        assert min(late) > -EARLY, min(late)
        percentiles = quantiles(late, n=100, method="inclusive")
        return {"p50 lateness": percentiles[49] * 1000, "p99 lateness": percentiles[98] * 1000}


class Ticking:
    """Jobs that are due every second: what a run costs, and how many of those that were due there were."""

    PERIOD = 1.0

    def __init__(self, count: int) -> None:
        """Begin with no run."""
        self.runs = [0] * count
        gc.collect()
        self._memory = resident_bytes()

    def job(self, number: int) -> Callable[[], Awaitable[None]]:
        """Return the job of this number."""
        runs = self.runs

        async def job() -> None:
            runs[number] += 1

        return job

    async def figures(self) -> Figures:
        """Wait, and return what the runs have cost meanwhile."""
        # Half a period after a tick, so that no burst is cut in two.
        await asyncio.sleep(self.PERIOD * 1.5)
        before = sum(self.runs)
        began = time.process_time()
        await asyncio.sleep(max(self.PERIOD, WINDOW))
        cost = time.process_time() - began
        done = sum(self.runs) - before
        due = len(self.runs) * max(self.PERIOD, WINDOW) / self.PERIOD
        figures = {"CPU per run": cost / max(1, done) * 1e6, "not done": max(0.0, 1 - done / due) * 100}
        if len(self.runs) >= LARGE:
            gc.collect()
            figures["memory"] = (resident_bytes() - self._memory) / len(self.runs) / 1024
        return figures
