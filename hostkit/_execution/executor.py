"""Runs coroutines on tasks that are used again, each in a context of its own.

A task for each would cost more than a short job takes.
"""

import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from hostkit._execution.context import ContextCoroutine
from hostkit._execution.event_loop import TrioWaiter, loop_is_running, new_waiter, wake, watch_scope
from hostkit._values.exceptions import has_cancellation, sees_cancellation

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

Step = tuple[Coroutine[Any, Any, object], object]
"""A coroutine that has taken its first step, and what it waits for."""

TURN, BATCH = 0.001, 256
"""Seconds, and pieces of work, after which other tasks get a turn."""
MAX_IDLE = 64
"""How many idle tasks are kept for the next burst."""


class Cause(Enum):
    """By which of hostkit's cancellations work has ended."""

    REQUEST = "request"
    """`Executor.cancel`."""
    STOP = "stop"
    """A scope round the executor: its service is cancelled."""


class Owner(Protocol[T_contra]):
    """The service whose work an executor does. Nothing of this may raise, `start` excepted."""

    def begin(self, work: T_contra, now: float, /) -> Context | None:
        """Return the context in which *work* runs, which begins now; None if it is no longer wanted."""

    def start(self, work: T_contra, /) -> Step:
        """Take the first step, in that context; ``StopIteration`` if it was the only one."""
        ...

    def end(self, work: T_contra, value: object, now: float, /) -> None:
        """Record what *work* has returned."""

    def fail(self, work: T_contra, error: BaseException, now: float, cause: Cause | None, /) -> None:
        """Record what *work* has raised; without a *cause*, a cancellation in it is none of hostkit's."""

    def on_open_scope(self, work: T_contra, /) -> None:
        """Note that *work* has left a cancel scope open, and cancel the executor's group, which is broken by that."""

    def on_idle(self) -> None:
        """Note that nothing is ready."""


class _Runner(Generic[T]):
    """A task that does one piece of work after the other."""

    __slots__ = ("handle", "is_in_order", "retired", "waiter", "work")

    handle: "anyio.TaskHandle[None]"
    is_in_order: Callable[[], bool]

    def __init__(self) -> None:
        self.work: T | None = None
        self.waiter: TrioWaiter | Future[None] | None = None
        self.retired = False


class Executor(Generic[T]):
    """As many tasks as there is work at a time that waits for something, or `limit`.

    One of them leads: it takes one piece of work after the other, and most end with their first step. When one does
    not, its runner stays with it, and another one leads. All methods belong to the event loop.

    Attributes:
        ready: The work that waits for a task, in order.
        clock: Returns the time.
        limit: How many tasks there are at most.
    """

    def __init__(self, owner: Owner[T], clock: Callable[[], float], limit: float = math.inf) -> None:
        """Prepare; `open` begins."""
        self.ready: deque[T] = deque()
        self._owner = owner
        self.clock = clock
        self.limit = limit
        self._runners: set[_Runner[T]] = set()
        self._idle: list[_Runner[T]] = []
        self._leader: _Runner[T] | None = None
        self._suspended: dict[T, _Runner[T]] = {}
        self._by_task: dict[int, _Runner[T]] = {}
        self._group: TaskGroup | None = None
        self._closed = self._paused = False

    def open(self, group: TaskGroup) -> None:
        """Do work in tasks of *group* from now on."""
        self._group = group
        self._closed = False
        for container in (self._runners, self._idle, self._suspended, self._by_task):
            container.clear()
        self._leader = None
        self._ensure_leader()

    def close(self) -> None:
        """End the tasks when everything that is ready has been done."""
        self._closed = True
        self._paused = False
        while self._idle:
            self._wake(self._idle.pop())

    def pause(self) -> None:
        """Begin nothing until `resume`; what runs goes on."""
        self._paused = True

    def resume(self) -> None:
        """Begin work again."""
        self._paused = False
        if self.ready and self._leader is None and self._idle:
            self._appoint_leader()

    def submit(self, work: T) -> None:
        """Do *work* as soon as a task gets to it."""
        self.ready.append(work)
        if self._leader is None and self._idle and not self._paused:
            self._appoint_leader()

    @property
    def running_count(self) -> int:
        """How much work runs."""
        return len(self._suspended) + (self._leader is not None and self._leader.work is not None)

    def running(self) -> list[T]:
        """Return the work that runs, in the order in which it began."""
        leader = self._leader
        work = None if leader is None else leader.work
        return [*self._suspended.copy(), *([] if work is None else [work])]

    def current(self) -> T | None:
        """Return the work whose task calls this, or has started the task that does; None if none does."""
        task = anyio.get_current_task()
        for number in (task.id, task.parent_id):
            runner = None if number is None else self._by_task.get(number)
            if runner is not None:
                return runner.work
        return None

    def coroutine_of(self, work: T) -> object:
        """Return the coroutine of the task in which *work* waits, None if it does not."""
        runner = self._suspended.get(work)
        return None if runner is None else runner.handle.coro

    def cancel(self, work: T) -> bool:
        """Cancel *work* if it runs, and the task with it; return False if it does not."""
        leader = self._leader
        runner = leader if leader is not None and leader.work is work else self._suspended.get(work)
        if runner is None:
            return False
        runner.retired = True
        runner.handle.cancel()
        return True

    # Inside.

    def _wake(self, runner: _Runner[T]) -> None:
        waiter, runner.waiter = runner.waiter, None
        if waiter is not None:
            wake(waiter)

    def _appoint_leader(self) -> None:
        self._leader = runner = self._idle.pop()
        self._wake(runner)

    def _ensure_leader(self) -> None:
        """Have a runner lead, or be idle and ready to lead, as far as the limit allows."""
        group = self._group
        if self._leader is not None or group is None or group.cancel_scope.cancel_called:
            return
        if not self._idle and len(self._runners) < self.limit and (self.ready or not self._closed):
            runner: _Runner[T] = _Runner()
            self._runners.add(runner)
            self._idle.append(runner)
            runner.handle = group.create_task(self._run(runner), name="hostkit: runner of jobs")
        if self.ready and self._idle and not self._paused:
            self._appoint_leader()

    async def _run(self, me: _Runner[T]) -> None:
        task = anyio.get_current_task().id
        self._by_task[task] = me
        me.is_in_order = watch_scope()
        try:
            while self._leader is me or not self._closed:
                if self._leader is not me:
                    me.waiter = new_waiter()
                    await me.waiter
                    if self._leader is not me:
                        return  # closed
                await self._lead(me)
                if self._leader is me:
                    self._leader = None
                if me.retired or self._closed or len(self._idle) >= MAX_IDLE:
                    return
                self._idle.append(me)
        except anyio.get_cancelled_exc_class():
            if await scope_is_cancelled():
                raise
            # The task of a former job was kept, and is cancelled natively.
        finally:
            if me in self._idle:
                self._idle.remove(me)
            self._runners.discard(me)
            self._by_task.pop(task, None)
            if self._leader is me:
                self._leader = None
            self._ensure_leader()

    async def _lead(self, me: _Runner[T]) -> None:
        """Do what is ready, until nothing is, or until another runner leads."""
        ready, owner, clock = self.ready, self._owner, self.clock
        now = clock()
        turn_ends, left = now + TURN, BATCH
        while ready and not (me.retired or self._paused):
            left -= 1
            work = ready.popleft()
            context = owner.begin(work, now)
            if context is None:
                continue
            me.work = work
            try:
                coroutine, first = context.run(owner.start, work)
            except StopIteration as stop:
                me.work = None
                now = clock()
                owner.end(work, stop.value, now)
                if not me.is_in_order():
                    await self._end_with_open_scope(work)
            except BaseException as error:  # noqa: BLE001  # where a job meets its service
                await self._fail(me, work, error)
                now = clock()
            else:
                self._suspended[work] = me
                self._leader = None
                self._ensure_leader()
                await self._finish(me, work, coroutine, context, first)
                if self._leader is not None:
                    return
                self._leader = me
                now = clock()
                turn_ends = now + TURN
            if now >= turn_ends or not left:
                await checkpoint()
                now = clock()
                turn_ends, left = now + TURN, BATCH
        if not ready:
            owner.on_idle()

    async def _finish(
        self, me: _Runner[T], work: T, coroutine: Coroutine[Any, Any, object], context: Context, first: object
    ) -> None:
        try:
            value = await ContextCoroutine(coroutine, context, first)
        except BaseException as error:  # noqa: BLE001  # where a job meets its service
            await self._fail(me, work, error)
        else:
            me.work = None
            del self._suspended[work]
            self._owner.end(work, value, self.clock())
            if not me.is_in_order():
                await self._end_with_open_scope(work)

    async def _fail(self, me: _Runner[T], work: T, error: BaseException) -> None:
        if isinstance(error, GeneratorExit) and not loop_is_running():
            raise error  # the event loop is gone, and this task with it
        cause = None
        stops = sees_cancellation() or (has_cancellation(error) and await scope_is_cancelled())
        if me.retired:  # perhaps only meanwhile
            cause = Cause.REQUEST
        elif stops:
            cause = Cause.STOP
        elif has_cancellation(error):
            # A foreign one: asyncio counts it in the task, where it would confuse the groups of later jobs.
            me.retired = True
        me.work = None
        self._suspended.pop(work, None)
        _leave_out_own_lines(error)
        self._owner.fail(work, error, self.clock(), cause)
        if not me.is_in_order():
            await self._end_with_open_scope(work)
        if cause is Cause.STOP:
            await anyio.sleep_forever()

    async def _end_with_open_scope(self, work: T) -> None:
        """End the executor: what runs in this task is cancelled with that scope, and the task cannot end in order."""
        self._owner.on_open_scope(work)
        await anyio.sleep_forever()


def _leave_out_own_lines(error: BaseException) -> None:
    """Have the traceback of *error* begin in the job's own code; our frames would hold other jobs as well."""
    traceback = error.__traceback__
    while traceback is not None and str(traceback.tb_frame.f_globals.get("__name__")).startswith("hostkit."):
        traceback = traceback.tb_next
    BaseException.with_traceback(error, traceback)  # a frozen dataclass refuses to have it set


async def scope_is_cancelled() -> bool:
    """Return whether a cancellation that this task has met is that of a scope round it, and no foreign one."""
    if not sees_cancellation():
        # At the end of its loop asyncio cancels each task by itself, and the service's group follows at once.
        with suppress(anyio.get_cancelled_exc_class()):
            await checkpoint()
    return sees_cancellation()
