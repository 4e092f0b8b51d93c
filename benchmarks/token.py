"""The stopping token: a tick of ``sleep`` with many loops, a look at ``stop_requested``, a ``wait`` that ends."""

import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from benchmarks._measure import RAW, Figures, Row, in_child, interleave
from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit._tokens.stopping_token import StoppingToken as MadeByHand

LOOPS = 100
TICKS = 100
PERIOD = 0.02
READS = 1_000_000
WAITS = 5_000

SLEEP, READ, WAIT = "sleep, a tick", "stop_requested, a read", "wait, until the stop"


def measure(rounds: int) -> list[Row]:
    """Measure the token of services in a host, and of none."""
    return interleave(
        "token",
        {RAW: partial(in_child, run_raw), "hostkit": partial(in_child, run_hostkit)},
        rounds,
        units={SLEEP: "µs", READ: "ns", WAIT: "µs"},
        budgets={("hostkit", SLEEP): 1.6, ("hostkit", READ): 4.0},
    )


class Ticking:
    """Loops that begin together, and how much CPU time a tick of theirs takes."""

    def __init__(self) -> None:
        """Prepare; the same periods for everybody."""
        self.go = anyio.Event()
        self.done = anyio.Event()
        self.ticks = 0
        self._periods = random.Random(1)  # noqa: S311  # no secret

    def period(self) -> float:
        """Return a period: the loops shall not all wake at one time."""
        return PERIOD * self._periods.uniform(0.5, 1.5)

    async def loop(self, sleep: Callable[[float], Awaitable[object]], period: float) -> None:
        """Tick a number of times."""
        await self.go.wait()
        for _ in range(TICKS):
            await sleep(period)
            self.ticks += 1
        if self.ticks == LOOPS * TICKS:
            self.done.set()

    async def measured(self) -> float:
        """Let the loops go, and return what a tick takes, in microseconds."""
        await anyio.wait_all_tasks_blocked()
        began = time.process_time()
        self.go.set()
        await self.done.wait()
        used = time.process_time() - began
        assert self.ticks == LOOPS * TICKS
        return used / self.ticks * 1e6


class Loop(BackgroundService):
    """A service that ticks."""

    def __init__(self, ticking: Ticking) -> None:
        """Tick with *ticking*."""
        self.ticking = ticking
        self.period = ticking.period()

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Tick."""
        await self.ticking.loop(stopping_token.sleep, self.period)


class Nobody:
    """The owner of a token that belongs to no service."""

    def note_ignored_stop(self) -> None:
        """Never called."""

    def note_callback_error(self, error: BaseException) -> None:
        """Never called."""


class Flag:
    """What is read by hand."""

    def __init__(self) -> None:
        """Begin with no stop."""
        self.stop_requested = False


def run_hostkit() -> Figures:
    """Measure hostkit in this process."""
    return anyio.run(_hostkit)


def run_raw() -> Figures:
    """Measure the same by hand."""
    return anyio.run(_raw)


async def _hostkit() -> Figures:
    ticking = Ticking()
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    for _ in range(LOOPS):
        builder.add_service(Loop(ticking))
    async with builder.build():
        sleep = await ticking.measured()
    tokens = [MadeByHand(Nobody()) for _ in range(WAITS)]
    wait = await _waits(lambda index: tokens[index].wait(), lambda index: tokens[index]._set())
    return {SLEEP: sleep, READ: _read(MadeByHand(Nobody())), WAIT: wait}


async def _raw() -> Figures:
    ticking = Ticking()
    async with anyio.create_task_group() as group:
        for _ in range(LOOPS):
            group.start_soon(ticking.loop, anyio.sleep, ticking.period())
        sleep = await ticking.measured()
    events = [anyio.Event() for _ in range(WAITS)]
    wait = await _waits(lambda index: events[index].wait(), lambda index: events[index].set())
    return {SLEEP: sleep, READ: _read(Flag()), WAIT: wait}


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
