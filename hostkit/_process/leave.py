"""Leaving the process without its usual end."""

import _thread
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from hostkit._config.logging import complete
from hostkit._values.standard_error import is_journal, with_priority

FLUSH_TIMEOUT = 1.0
# A pause of the whole process, as a busy machine or SIGSTOP makes it, lets one wait run out, not all of them.
WAITS = 10

STUCK_EXIT_CODE = 3
BLOCKED_EXIT_CODE = 1


def leave(code: int, text: str = "", descriptor: int | None = None) -> None:
    """Write *text* to *descriptor*, flush what a second is enough for, and end the process without its usual end."""

    def flush() -> None:  # pragma: no cover  # in a thread that threading, and so coverage, does not know
        with suppress(OSError):
            if descriptor is not None:
                words = with_priority(text, 2) if is_journal() else text
                os.write(descriptor, words.encode(errors="backslashreplace"))
        complete()
        _flush_streams()

    try:
        _bounded(flush)
    finally:
        os._exit(code)


def flush_streams() -> None:
    """Write what `print` has buffered, as far as a second is enough for it; also from a signal handler."""
    _bounded(_flush_streams)


def _flush_streams() -> None:  # pragma: no cover  # likewise
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, RuntimeError):
            if stream is not None:
                stream.flush()


def _bounded(work: Callable[[], None]) -> None:
    """Do *work* in a thread of its own: a sink that blocks, or a pipe without a reader, must not hold the process."""
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:  # pragma: no cover  # likewise
        try:
            work()
        finally:
            done.release()

    # Not threading's: its start takes a lock that the main thread may hold where a signal handler has interrupted it.
    with suppress(RuntimeError):  # no thread is to be had
        _thread.start_new_thread(run, ())
        any(done.acquire(timeout=FLUSH_TIMEOUT / WAITS) for _ in range(WAITS))
