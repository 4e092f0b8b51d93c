"""Virtual time on asyncio: an event loop whose clock jumps when nothing is left to run."""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from anyio import NoEventLoopError, to_thread

from hostkit._execution.daemon_thread import awaited_call_runs as any_call_runs
from hostkit.testing import _waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock that starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        """Make a loop; the threads that are there already have nothing to do with it."""
        self.threads_before = frozenset(threading.enumerate())
        self._now = 0.0
        self._executor_calls = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run *func* in a thread, while the clock stands still."""
        future = super().run_in_executor(executor, func, *args)
        self._executor_calls += 1
        future.add_done_callback(self._executor_call_ended)
        return future

    def _executor_call_ended(self, _: object) -> None:
        self._executor_calls -= 1

    async def shutdown_default_executor(self, *args: float | None, **kwargs: float | None) -> None:
        """Wait for the threads of the executor in real time, as their last calls may still run."""
        self._executor_calls += 1
        try:
            # Python 3.11 has no argument, later ones have a timeout.
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._executor_calls -= 1

    def calls_in_threads(self) -> bool:
        """Return whether a task waits for a call in a worker thread."""
        if any_call_runs():
            return True
        try:
            limiter = to_thread.current_default_thread_limiter()
        except NoEventLoopError:
            # Between tasks anyio recognises only the loops that it has started, and only those have its threads.
            return self._executor_calls > 0
        return self._executor_calls > 0 or limiter.borrowed_tokens > 0

    def next_timer(self) -> float:
        """Return when the next timer is due, infinity if there is none."""
        # asyncio has no public way to its timers, and `now + timeout` would miss the instant by a rounding error.
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return timers[0].when() if timers else math.inf

    def jump(self) -> None:
        """Go to the next timer."""
        self._now = self.next_timer()
        # asyncio takes what is due within its clock's resolution. A nanosecond is less than nothing after some virtual
        # months, when the loop would spin; one step of the float is always enough and fires nothing early.
        self._clock_resolution = math.ulp(self._now)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that lets the loop jump instead of waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is and *timeout* allows to wait, make time pass."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        if not math.isinf(self._loop.next_timer()):
            if self._loop.calls_in_threads():
                events = super().select(_waiting.PATIENCE)
            if not events:
                self._loop.jump()
            return events
        # More to select from than the loop's own wake-up pipe: the outside world may answer.
        if len(self.get_map()) > 1 or self._loop.calls_in_threads():
            return super().select(None)
        if _waiting.threads_since(self._loop.threads_before):
            events = super().select(_waiting.PATIENCE)
        if not events:
            tasks = asyncio.all_tasks(self._loop)
            raise _waiting.DeadlockError(_waiting.waiting((task.get_name(), task.get_coro()) for task in tasks))
        return events
