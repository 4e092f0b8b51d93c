"""The tasks that run jobs: reused, since a task for each run costs more than a short job."""

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.lowlevel import checkpoint

from hostkit._execution.context import OwnContext
from hostkit.scheduling._run_record import Run

if TYPE_CHECKING:
    from hostkit.scheduling._job import ScheduledJob

TURN = 0.001
"""Seconds after which others get a turn; not a number of jobs, for nobody knows how long they take."""
WINDOW = 60.0
"""Seconds over which it counts how many runners were needed at a time."""

Step = tuple[Coroutine[Any, Any, object], object]


class Stage(Protocol):
    """Who knows what a job is."""

    def begin(self, job: "ScheduledJob", run: Run) -> Step:
        """Take the job's first step, in its own context; ``StopIteration`` if it was the only one."""

    def drop(self, job: "ScheduledJob", run: Run) -> None:
        """Take note that a run was cancelled before it began."""

    def end(self, job: "ScheduledJob", run: Run, now: float) -> None:
        """Take note that a run has returned."""

    def fail(self, job: "ScheduledJob", run: Run, now: float, error: BaseException) -> bool:
        """Take note of what a run has raised; return whether the task that ran it can be used no longer."""


class Runner:
    """One task that runs jobs.

    Attributes:
        handle: The task.
        wake: What it waits for while it rests.
        retired: Whether it is of no further use: a task that was cancelled stays cancelled.
    """

    __slots__ = ("handle", "retired", "wake")

    handle: "anyio.TaskHandle[None]"
    wake: anyio.Event

    def __init__(self) -> None:
        self.retired = False

    def cancel(self) -> None:
        """Cancel the task, with the job that it runs."""
        self.retired = True
        self.handle.cancel()


class Runners:
    """As many runners as there are jobs at a time that wait for something.

    One of them leads: it takes one job after the other, and most end with their first step. When one does not, its
    runner stays with it, and another one leads.
    """

    def __init__(self, group: anyio.abc.TaskGroup, context: Context, stage: Stage, time: Callable[[], float]) -> None:
        """Run jobs in *group*, each in a copy of *context* of its own."""
        self._group = group
        self._context = context
        self._stage = stage
        self._time = time
        self._ready: deque[tuple[ScheduledJob, Run]] = deque()
        self._leader: Runner | None = None
        self._resting: list[Runner] = []
        self._count = 0
        self._most = self._most_before = 0
        self._window_ends = 0.0
        self._closed = False

    def submit(self, job: "ScheduledJob", run: Run) -> None:
        """Run *job* as soon as a runner gets to it."""
        self._ready.append((job, run))
        if self._leader is None:
            self._lead()

    def close(self) -> list[tuple["ScheduledJob", Run]]:
        """Let the runners go, those that run a job when it has ended; return what has not begun."""
        self._closed = True
        left = list(self._ready)
        self._ready.clear()
        while self._resting:
            self._resting.pop().wake.set()
        return left

    def _lead(self) -> None:
        """Have somebody go on with what is ready."""
        if self._resting:
            self._leader = self._resting.pop()
            self._leader.wake.set()
        else:
            self._leader = Runner()
            self._count += 1
            self._leader.handle = self._group.create_task(self._work(self._leader), name="hostkit: runner of jobs")
        self._most = max(self._most, self._count - len(self._resting))

    async def _work(self, me: Runner) -> None:
        try:
            while True:
                await self._take_jobs(me)
                self._step_down(me)
                if me.retired or self._closed or self._is_surplus():
                    return
                me.wake = anyio.Event()
                self._resting.append(me)
                await me.wake.wait()
        except anyio.get_cancelled_exc_class():
            if not me.retired and anyio.current_effective_deadline() == -math.inf:
                self._closed = True
                raise
            # Or somebody has kept the task that once ran his job, and cancels it: the group is not to end with it.
            if me in self._resting:
                self._resting.remove(me)
        finally:
            self._count -= 1
            self._step_down(me)

    async def _take_jobs(self, me: Runner) -> None:
        time = self._time
        stage = self._stage
        now = time()
        turn_ends = now + TURN
        while self._ready and not me.retired:
            job, run = self._ready.popleft()
            if run._cancelled:
                stage.drop(job, run)
                continue
            run._began = now
            run._runner = me
            context = self._context.copy()
            try:
                coroutine, first = context.run(stage.begin, job, run)
            except StopIteration:
                now = time()
                stage.end(job, run, now)
            except BaseException as error:  # noqa: BLE001  # where a job meets its scheduler
                now = time()
                me.retired |= stage.fail(job, run, now, error)
            else:
                self._step_down(me)
                try:
                    await OwnContext(coroutine, context, first)
                except BaseException as error:  # noqa: BLE001  # where a job meets its scheduler
                    now = time()
                    me.retired |= stage.fail(job, run, now, error)
                else:
                    now = time()
                    stage.end(job, run, now)
                if self._leader is not None:
                    return
                self._leader = me
                turn_ends = now + TURN
            if now >= turn_ends:
                await checkpoint()
                now = time()
                turn_ends = now + TURN

    def _step_down(self, me: Runner) -> None:
        """Lead no longer, and see to it that somebody else does, if there is anything to be done."""
        if self._leader is me:
            self._leader = None
            if self._ready and not self._closed:
                self._lead()

    def _is_surplus(self) -> bool:
        """Return whether more runners are there than were needed at a time lately."""
        now = self._time()
        if now >= self._window_ends:
            self._most_before, self._most = self._most, self._count - len(self._resting)
            self._window_ends = now + WINDOW
        return self._count > max(self._most, self._most_before)
