"""Writing to the descriptor of standard error, past every buffer; in the form that systemd's journal reads."""

import os
import sys


def error_descriptor() -> int | None:
    """Return the descriptor of standard error, or None where there is none."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            descriptor = stream.fileno()  # type: ignore[union-attr]  # None where it was closed at the start
            os.fstat(descriptor)  # a daemon may have closed it, and not the stream
        except (AttributeError, OSError, ValueError):
            continue
        return descriptor
    # Not simply 2: the first file that is opened in a process without standard error gets that number.
    return None


def is_terminal() -> bool:
    """Return whether standard error is a terminal; what is closed or cannot say, as an app's own object, is none."""
    try:
        return sys.stderr.isatty()
    except Exception:  # noqa: BLE001  # whatever the app has put there
        return False


def is_journal() -> bool:
    """Return whether standard error goes to systemd's journal, which has a time and a priority for every line."""
    descriptor, journal = error_descriptor(), os.environ.get("JOURNAL_STREAM")
    if descriptor is None or not journal:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    # The variable is inherited by child processes whose standard error goes elsewhere.
    return journal == f"{status.st_dev}:{status.st_ino}"


def with_priority(text: str, priority: int) -> str:
    """Return *text* with a syslog priority before every line, as the journal takes a text line by line."""
    return "".join(f"<{priority}>{line}\n" for line in text.removesuffix("\n").split("\n"))


def write_error(text: str, priority: int = 2) -> None:
    """Write to standard error from a signal handler: not through a buffer that the main thread may be in.

    *priority* is syslog's, for the journal: 2 is critical, 5 a notice.
    """
    descriptor = error_descriptor()
    if descriptor is None:
        return
    if is_journal():
        text = with_priority(text, priority)
    try:
        os.write(descriptor, text.encode(errors="backslashreplace"))
    except OSError:
        return
