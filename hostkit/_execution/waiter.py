"""What one task waits for, once.

Ten thousand services wait for their stop, each for its own. anyio's `Event` would be a fifth of the memory of such a
service, for a queue of waiting tasks that is hardly ever longer than one. What both event loops have below it does.
"""

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from trio.lowlevel import Abort, RaiseCancelT, Task


def new_waiter() -> "TrioWaiter | Future[None]":
    """Return something that the current task awaits at once; `wake` ends that."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return TrioWaiter()
    # Imported by the loop itself; an import statement would take as long as all the rest.
    waiter: Future[None] = sys.modules["asyncio"].get_running_loop().create_future()
    return waiter


def wake(waiter: "TrioWaiter | Future[None]") -> None:
    """End the wait, or do nothing if it has ended already."""
    if isinstance(waiter, TrioWaiter):
        waiter.wake()
    elif not waiter.done():
        waiter.set_result(None)


class TrioWaiter:
    """What a future is on asyncio: made by the task that awaits it next, woken once."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        """Prepare, in the task that is to wait."""
        from trio import lowlevel

        self._task: Task | None = lowlevel.current_task()

    def __await__(self) -> Generator[object, object, None]:
        """Wait."""
        from trio import lowlevel

        return lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105  # the caller awaits it

    def wake(self) -> None:
        """End the wait, or do nothing if it has ended already."""
        from trio import lowlevel

        task, self._task = self._task, None
        if task is not None:
            lowlevel.reschedule(task)

    def _abort(self, _: "RaiseCancelT") -> "Abort":
        from trio import lowlevel

        self._task = None
        return lowlevel.Abort.SUCCEEDED
