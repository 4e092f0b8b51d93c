"""The line of code where a task or a thread is."""

import gc
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType

import anyio

# Where a service waits is its own line, not the one in the library that it waits with.
_LIBRARIES = frozenset(
    {
        "anyio",
        "asgiref",
        "asyncio",
        "concurrent",
        "contextlib",
        "hostkit",
        "importlib",
        "outcome",
        "procrastinate",
        "threading",
        "trio",
        "uvloop",
    }
)


def coroutine_line(coroutine: object) -> str | None:
    """Return the innermost line of *coroutine* that is the user's own, as ``file.py:12 in function``, or None."""
    if getattr(coroutine, "cr_running", False):
        return _running_line(getattr(coroutine, "cr_frame", None))
    line = None
    for frame in _awaited_frames(coroutine):
        if not _is_library(frame):
            line = frame
    return line and _describe(line)


def task_lines(coroutine: object) -> str | None:
    """Return the line of *coroutine*, which a task of this loop runs, and those of the tasks that it has made."""
    lines = [coroutine_line(coroutine)]
    tasks = anyio.get_running_tasks()
    parents = {task.id for task in tasks if coroutine in (task.coro, getattr(task.coro, "cr_await", None))}
    while parents:
        children = [task for task in tasks if task.parent_id in parents]
        lines += [coroutine_line(task.coro) for task in children]
        parents = {task.id for task in children}
    return "; ".join(dict.fromkeys(line for line in lines if line)) or None


def current_frames() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by the thread's identifier.

    Before Python 3.11.9 the call never returns if the garbage collector runs in it and frees a ``threading.local``
    (https://github.com/python/cpython/issues/106883), so it must not run there.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001  # the documented way
    finally:
        if collects:
            gc.enable()


def thread_line(thread: int | None) -> str | None:
    """Return the innermost line of a thread that is the user's own, by the thread's identifier, or None."""
    return frame_line(None if thread is None else current_frames().get(thread))


def frame_line(frame: FrameType | None) -> str | None:
    """Return the innermost line of a running stack that is the user's own, or None."""
    while frame is not None and _is_library(frame):
        frame = frame.f_back
    return frame and _describe(frame)


def traceback_line(traceback: TracebackType | None) -> str | None:
    """Return the innermost line at which an exception has left code that is the user's own, or None."""
    line = None
    while traceback is not None:
        if not _is_library(traceback.tb_frame):
            line = _describe(traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return line


def _running_line(own: FrameType | None) -> str | None:
    """Return the line of a coroutine that runs right now: it awaits nothing, its frame is in some thread's stack."""
    for innermost in current_frames().values():
        above: list[FrameType] = []
        frame: FrameType | None = innermost
        while frame is not None:
            above.append(frame)
            if frame is own:
                return next((_describe(line) for line in above if not _is_library(line)), None)
            frame = frame.f_back
    return None  # pragma: no cover  # in another thread, and it has gone on meanwhile


def _awaited_frames(awaitable: object) -> Iterator[FrameType]:
    # A coroutine, a generator or an async generator; anything else in the chain ends it.
    while awaitable is not None:
        for its_frame, inner in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            frame = getattr(awaitable, its_frame, None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, inner)
                break
        else:
            return


def _is_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _LIBRARIES


def _describe(frame: FrameType, line: int | None = None) -> str:
    return f"{frame.f_code.co_filename}:{line or frame.f_lineno} in {frame.f_code.co_qualname}"
