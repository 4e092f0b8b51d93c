"""What waits, and for what: for both virtual clocks, when nothing is left to run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hostkit._execution.stack import coroutine_line
from hostkit._values.errors import HostkitError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

PATIENCE = 5.0
"""Real seconds for which virtual time stands still for a thread that may or may not wake a task."""


class DeadlockError(HostkitError):
    """Raised on virtual time when every task waits and nothing can wake one.

    In real time the test would hang.

    Attributes:
        waiting: The tasks, each with the line where it waits.
    """

    def __init__(self, waiting: Sequence[str]) -> None:
        """List the tasks."""
        tasks = "".join(f"\n  {task}" for task in waiting)
        super().__init__(f"every task waits and nothing can wake one, so virtual time cannot go on:{tasks}")
        self.waiting = tuple(waiting)


def waiting(tasks: Iterable[tuple[str, object]]) -> list[str]:
    """Return the tasks, given as name and coroutine, with the lines where they wait; not those of the libraries."""
    lines = [(name, coroutine_line(coroutine)) for name, coroutine in tasks]
    return sorted(f"{name}, at {line}" for name, line in lines if line)


def threads_since(before: Collection[threading.Thread], *, idle: str | None = None) -> bool:
    """Return whether there may be a thread that wakes a task of this event loop.

    Args:
        before: Those that were there before the loop and have nothing to do with it.
        idle: How the names of idle threads begin.
    """
    if threading.current_thread() is not threading.main_thread():
        # The loop is a background thread itself, and the others may give it work.
        return True
    return any(thread not in before and not (idle and thread.name.startswith(idle)) for thread in threading.enumerate())
