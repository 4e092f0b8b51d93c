"""The stopping token: a tick of ``sleep`` with many loops, a look at ``stop_requested``, a ``wait`` that ends."""

import random
import time
from collections.abc import Awaitable, Callable

import anyio

from benchmarks._measure import HOSTKIT, RAW, Budget, Contestant, Figure, Figures, Measure
from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit.testing import ManualStoppingToken

TICKS = 100
PERIOD = 0.02
READS = 1_000_000
WAITS = 5_000

SLEEP, READ, WAIT = "sleep, a tick", "stop_requested, a read", "wait, until the stop"


class Loops:
    """Loops that begin together, and how much CPU time a tick of theirs takes."""

    def __init__(self, count: int) -> None:
        """Prepare; the periods are the same for every contestant."""
        self.count = count
        self.go = anyio.Event()
        self.done = anyio.Event()
        self.ticks = 0
        self._periods = random.Random(1)  # noqa: S311  # no secret

    def period(self) -> float:
        """Return a period; they differ, so that the loops do not all wake at one time."""
        return PERIOD * self._periods.uniform(0.5, 1.5)

    async def loop(self, sleep: Callable[[float], Awaitable[object]], period: float) -> None:
        """Tick a number of times."""
        await self.go.wait()
        for _ in range(TICKS):
            await sleep(period)
            self.ticks += 1
        if self.ticks == self.count * TICKS:
            self.done.set()

    async def measured(self) -> float:
        """Let the loops go, and return what a tick takes, in microseconds."""
        await anyio.wait_all_tasks_blocked()
        began = time.process_time()
        self.go.set()
        await self.done.wait()
        used = time.process_time() - began
        assert self.ticks == self.count * TICKS
        return used / self.ticks * 1e6


class Loop(BackgroundService):
    """A service that ticks."""

    token: StoppingToken

    def __init__(self, loops: Loops) -> None:
        """Tick with *loops*."""
        self.loops = loops
        self.period = loops.period()

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Tick."""
        self.token = stopping_token
        await self.loops.loop(stopping_token.sleep, self.period)
        await stopping_token.wait()


class Flag:
    """What is read by hand."""

    def __init__(self) -> None:
        """Begin with no stop."""
        self.stop_requested = False


def run_hostkit(count: int) -> Figures:
    """Measure the tokens of services, and the wait of tokens that are set by hand."""

    async def main() -> Figures:
        loops = Loops(count)
        builder = HostBuilder(HostOptions(log_level="ERROR"))
        services = [builder.add_service(Loop(loops)) for _ in range(count)]
        async with builder.build():
            sleep = await loops.measured()
            read = _read(services[0].token)
        tokens = [ManualStoppingToken() for _ in range(WAITS)]
        wait = await _waits(lambda index: tokens[index].wait(), lambda index: tokens[index].request_stop())
        return {SLEEP: sleep, READ: read, WAIT: wait}

    return anyio.run(main)


def run_raw(count: int) -> Figures:
    """Measure the same by hand."""

    async def main() -> Figures:
        loops = Loops(count)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(loops.loop, anyio.sleep, loops.period())
            sleep = await loops.measured()
        events = [anyio.Event() for _ in range(WAITS)]
        wait = await _waits(lambda index: events[index].wait(), lambda index: events[index].set())
        return {SLEEP: sleep, READ: _read(Flag()), WAIT: wait}

    return anyio.run(main)


async def _waits(wait: Callable[[int], Awaitable[object]], end: Callable[[int], None]) -> float:
    """Return what one wait in a task of its own takes, with its end, in microseconds."""
    ended = 0

    async def one(index: int) -> None:
        nonlocal ended
        await wait(index)
        ended += 1

    began = time.process_time()
    async with anyio.create_task_group() as group:
        for index in range(WAITS):
            group.start_soon(one, index)
        await anyio.wait_all_tasks_blocked()
        assert not ended
        for index in range(WAITS):
            end(index)
    used = time.process_time() - began
    assert ended == WAITS
    return used / WAITS * 1e6


def _read(flag: StoppingToken | Flag) -> float:
    """Return what a look takes, in nanoseconds: a loop with two looks, less one with none."""
    seen = False
    began = time.process_time()
    for _ in range(READS):
        seen |= flag.stop_requested
        seen |= flag.stop_requested
    looked = time.process_time()
    for _ in range(READS):
        pass
    idle = time.process_time()
    assert not seen
    return ((looked - began) - (idle - looked)) / READS / 2 * 1e9


LOOPS = 100

MEASURES = (
    Measure(
        "token",
        "the stopping token, {size} loops",
        (Figure(SLEEP, "µs"), Figure(READ, "ns", per_item=False), Figure(WAIT, "µs", per_item=False)),
        (10, LOOPS, 1_000),
        (Contestant(RAW, run_raw), Contestant(HOSTKIT, run_hostkit)),
        budgets=(Budget(SLEEP, LOOPS, 1.6), Budget(READ, LOOPS, 4.0)),
    ),
)
