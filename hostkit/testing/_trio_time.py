"""Virtual time on trio: its own mock clock, and an instrument that watches when it may jump."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock, active_thread_count

from hostkit._execution.daemon_thread import awaited_call_runs as any_call_runs
from hostkit.testing import _waiting

if TYPE_CHECKING:
    from collections.abc import Iterator


def options() -> dict[str, object]:
    """Return the options of a ``trio.run`` on virtual time."""
    clock = MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [Watcher(clock)]}


class Watcher(trio.abc.Instrument):
    """Holds the clock while worker threads run, and ends a run in which nothing can happen any more.

    Attributes:
        deadlock: Why it ended the run, if it did.
    """

    def __init__(self, clock: MockClock) -> None:
        """Watch over *clock*."""
        self.deadlock: _waiting.DeadlockError | None = None
        self._clock = clock
        self._threads_before = frozenset[threading.Thread]()
        self._idle_since: float | None = None
        self._idle_waits = 0

    def before_run(self) -> None:
        """Begin afresh; the threads that are there already have nothing to do with the run."""
        self.deadlock = None
        self._threads_before = frozenset(threading.enumerate())
        self._awake()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's signature
        """Begin to be patient anew: something happens."""
        self._awake()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's signature
        """Hold the clock as long as a worker thread runs."""
        self._jump_after(_waiting.PATIENCE if _calls_in_threads() else 0)

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # trio's signature
        """Look whether anything is left that could wake a task."""
        self._idle_waits += 1
        # The first wait without a task's step between may end in a jump, or wake `wait_all_tasks_blocked`.
        if self._idle_waits == 1 or self.deadlock:
            return
        statistics = trio.lowlevel.current_statistics()
        if (
            statistics.seconds_to_next_deadline < math.inf
            or statistics.tasks_runnable
            or statistics.run_sync_soon_queue_size
        ):
            return
        if _waits_for_outside(statistics) or _calls_in_threads():
            self._jump_after(math.inf)
        elif self._has_been_patient():
            self.deadlock = _waiting.DeadlockError(_waiting.waiting(_tasks()))
            trio.lowlevel.spawn_system_task(self._fail)

    def _awake(self) -> None:
        self._idle_waits = 0
        self._idle_since = None

    def _jump_after(self, threshold: float) -> None:
        # Each change wakes the loop, so none is made without need.
        if self._clock.autojump_threshold != threshold:
            self._clock.autojump_threshold = threshold

    def _has_been_patient(self) -> bool:
        if not _waiting.threads_since(self._threads_before, idle="Trio thread"):
            return True
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
            self._jump_after(_waiting.PATIENCE)
        return now - self._idle_since >= _waiting.PATIENCE

    async def _fail(self) -> None:
        # An error of a system task is the only one that ends a run from outside its tasks.
        assert self.deadlock is not None  # set by the only caller
        raise self.deadlock


def _calls_in_threads() -> bool:
    return active_thread_count() > 0 or any_call_runs()


def _waits_for_outside(statistics: trio.lowlevel.RunStatistics) -> bool:
    io = statistics.io_statistics
    kinds = ("tasks_waiting", "tasks_waiting_read", "tasks_waiting_write", "tasks_waiting_overlapped")
    # One of them is trio's own wake-up socket.
    return sum(getattr(io, kind, 0) for kind in kinds) > 1


def _tasks() -> Iterator[tuple[str, object]]:
    root = trio.lowlevel.current_root_task()
    nurseries = list(root.child_nurseries) if root else []
    while nurseries:
        for task in nurseries.pop().child_tasks:
            nurseries.extend(task.child_nurseries)
            yield task.name, task.coro
