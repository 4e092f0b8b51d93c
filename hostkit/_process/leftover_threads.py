"""The threads that were made while a host ran, and hold the interpreter's exit."""

import threading
import time

from hostkit._execution import stack as _where


class Threads:
    """The threads that were not there when this was made; those are not the host's business."""

    def __init__(self) -> None:
        """Remember the threads that are there."""
        self._before = frozenset(threading.enumerate())

    def left(self) -> list[threading.Thread]:
        """Return those that run and that the interpreter's exit would wait for."""
        return [
            thread
            for thread in threading.enumerate()
            if not thread.daemon and thread not in self._before and not _waits_for_work(thread)
        ]

    def join(self, seconds: float) -> None:
        """Wait for their end, at most so long."""
        deadline = time.monotonic() + seconds
        for thread in self.left():
            thread.join(max(0.0, deadline - time.monotonic()))

    def describe(self) -> str:
        """Name them, and the lines where they are."""
        lines = ((thread.name, _where.thread_line(thread.ident)) for thread in self.left())
        return "; ".join(f"thread {name!r}" + (f" at {line}" if line else "") for name, line in lines)


def _waits_for_work(thread: threading.Thread) -> bool:
    """Return whether it is an idle thread of a `concurrent.futures` pool, which the interpreter's exit ends."""
    frame = None if thread.ident is None else _where.current_frames().get(thread.ident)
    return (
        frame is not None
        and frame.f_code.co_name == "_worker"
        and frame.f_globals.get("__name__") == "concurrent.futures.thread"
    )
