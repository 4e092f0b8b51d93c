"""An experiment: what a task of its own for each job, or run, costs beside tasks that are reused.

hostkit runs jobs and scheduled runs on tasks that it reuses, each job in a context of its own. A task for each would be
simpler to explain: ``asyncio.current_task()`` would be the job's own. The prototypes here do nothing but dispatch: a
limit of running jobs, and a record and a copied context for each.
"""

import asyncio
import sys
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial

import anyio
import anyio.abc

from benchmarks._measure import HOSTKIT, Contestant, Figure, Figures, Measure
from benchmarks._work import Jobs, job
from hostkit import HostBuilder, HostOptions
from hostkit.jobs import JobQueue

LIMIT = 100
PLAIN, WAITING = "a job that does not wait", "a job that waits once"

Function = Callable[[], Coroutine[object, object, None]]


class Record:
    """What a queue keeps of a job."""

    __slots__ = ("context", "function")

    def __init__(self, function: Function) -> None:
        """Copy the caller's context."""
        self.function = function
        self.context = copy_context()


class Reused:
    """As many tasks as jobs may run at a time; each takes job after job, and steps it in the job's context."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        """Start the tasks."""
        self._ready: deque[Record] = deque()
        self._idle: list[anyio.Event] = []
        for _ in range(LIMIT):
            group.start_soon(self._work)

    def enqueue(self, function: Function) -> None:
        """Have a task take the job; one that is awake takes all that are ready until it has to wait."""
        self._ready.append(Record(function))
        if len(self._ready) == 1:
            self._wake()

    def _wake(self) -> None:
        if self._ready and self._idle:
            self._idle.pop().set()

    async def _work(self) -> None:
        while True:
            if not self._ready:
                event = anyio.Event()
                self._idle.append(event)
                await event.wait()
                continue
            record = self._ready.popleft()
            coroutine = record.function()
            try:
                waits_for = record.context.run(coroutine.send, None)
            except StopIteration:
                continue
            self._wake()
            await _steps(coroutine, record.context, waits_for)


@types.coroutine
def _steps(
    coroutine: Coroutine[object, object, None], context: Context, waits_for: object
) -> Generator[object, object, None]:
    """Take the steps after the first one in *context*."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:  # noqa: BLE001  # the job's own business
            step: Callable[[], object] = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, value)
        try:
            waits_for = context.run(step)
        except StopIteration:
            return


class PerJob:
    """A task for each job; *start* makes it, in the job's context."""

    def __init__(self, start: Callable[[Callable[[], Coroutine[object, object, None]], Context], object]) -> None:
        """Start nothing yet."""
        self._ready: deque[Record] = deque()
        self._running = 0
        self._start = start

    def enqueue(self, function: Function) -> None:
        """Have the job begin when the event loop turns: an eager task would begin in the caller."""
        self._ready.append(Record(function))
        if len(self._ready) == 1 and self._running < LIMIT:
            asyncio.get_running_loop().call_soon(self._fill)

    def _fill(self) -> None:
        while self._ready and self._running < LIMIT:
            record = self._ready.popleft()
            self._running += 1
            self._start(partial(self._run, record), record.context)

    async def _run(self, record: Record) -> None:
        try:
            await record.function()
        finally:
            self._running -= 1
            if self._ready and self._running == LIMIT - 1:
                asyncio.get_running_loop().call_soon(self._fill)


Enqueue = Callable[[Function], object]
Dispatch = Callable[[Enqueue], Awaitable[Figures]]


async def reused(dispatch: Dispatch) -> Figures:
    """Dispatch to reused tasks."""
    async with anyio.create_task_group() as group:
        figures = await dispatch(Reused(group).enqueue)
        group.cancel_scope.cancel()
    return figures


async def per_job(dispatch: Dispatch, *, eager: bool = False) -> Figures:
    """Dispatch to a task of asyncio for each job."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def start(run: Function, context: Context) -> None:
        task = loop.create_task(run(), context=context)
        if not task.done():
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # from 3.12 on
    return await dispatch(PerJob(start).enqueue)


async def per_job_eager(dispatch: Dispatch) -> Figures:
    """Dispatch to an eager task for each job."""
    return await per_job(dispatch, eager=True)


async def per_job_group(dispatch: Dispatch) -> Figures:
    """Dispatch to a task of anyio's task group for each job."""
    async with anyio.create_task_group() as group:
        figures = await dispatch(PerJob(lambda run, context: context.run(group.start_soon, run)).enqueue)
    return figures  # noqa: RET504  # mypy holds that a task group may swallow what is raised


async def hosted(dispatch: Dispatch, *, task_inside: bool = False) -> Figures:
    """Dispatch to hostkit's queue."""
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    queue = builder.add_service(JobQueue(concurrency=LIMIT, capacity=sys.maxsize))

    def enqueue(function: Function) -> None:
        if task_inside:
            queue.enqueue_nowait(in_task, function)
        else:
            queue.enqueue_nowait(function)

    async with builder.build():
        return await dispatch(enqueue)


async def in_task(function: Function) -> None:
    """Be a job that makes a task and waits for it."""
    await asyncio.create_task(function())


async def hosted_task(dispatch: Dispatch) -> Figures:
    """Dispatch to hostkit's queue, to jobs that make a task each: more than a built-in one would cost."""
    return await hosted(dispatch, task_inside=True)


VARIANTS = {
    "reused tasks": reused,
    "a task each": per_job,
    "an eager task each": per_job_eager,
    "a task each, anyio": per_job_group,
    HOSTKIT: hosted,
    "hostkit, a task inside": hosted_task,
}


async def plain() -> None:
    """Be a job that does not wait."""
    await job()


async def waiting() -> None:
    """Be a job that waits once."""
    await asyncio.sleep(0)
    await job()


def measured(count: int, variant: str) -> Figures:
    """Dispatch jobs that do not wait, and jobs that wait once."""

    async def dispatch(enqueue: Enqueue, *, waits: bool) -> Figures:
        jobs = Jobs(count)
        function = waiting if waits else plain
        jobs.begin()
        for _ in range(count):
            enqueue(function)
        return {WAITING if waits else PLAIN: (await jobs.figures())["CPU of a job"]}

    async def main(*, waits: bool) -> Figures:
        return await VARIANTS[variant](partial(dispatch, waits=waits))

    return {**anyio.run(partial(main, waits=False)), **anyio.run(partial(main, waits=True))}


def contestants(environment: str | None, *, eager: bool) -> tuple[Contestant, ...]:
    """Return the variants that run in an environment."""
    names = [name for name in VARIANTS if eager or "eager" not in name]
    return tuple(Contestant(name, measured, (name,), environment) for name in names)


MEASURES = tuple(
    Measure(
        "task_per_job" if version is None else f"task_per_job_{version}",
        "{size} jobs dispatched" if version is None else f"{{size}} jobs dispatched, Python {version}",
        (Figure(PLAIN, "µs"), Figure(WAITING, "µs")),
        (1_000, 10_000, 100_000),
        contestants(version and f"python{version}", eager=version is not None or sys.version_info >= (3, 12)),
        baseline="reused tasks",
    )
    for version in (None, "3.12", "3.13", "3.14")
)
