"""How a line of the log looks: for a terminal, for systemd's journal, and as JSON."""

import json
import traceback
from typing import TYPE_CHECKING, TextIO

from hostkit._values.standard_error import with_priority
from hostkit._values.text import repr_of, text_of, to_json_ready

if TYPE_CHECKING:
    from loguru import Message, Record

# A value that was bound to a line is shown so deep.
DEEPEST = 10
# From which level on a line has which syslog priority, as of loguru's own levels: critical to debug.
PRIORITIES = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6), (0, 7))


class LineStream:
    """A stream of lines that cannot be forged: what belongs to the line before is indented, a traceback too."""

    def __init__(self, stream: TextIO, *, journal: bool) -> None:
        """Write to *stream*; into a *journal*, every line begins with its priority."""
        self._stream = stream
        self._journal = journal

    def write(self, message: "Message") -> None:
        """Write one line of the log, with the traceback of its error."""
        body = message.removesuffix("\n")
        exception = message.record["exception"]
        if exception is not None and exception.value is not None:
            body = f"{body}\n{traceback_of(exception.value)}"
        if not body.isprintable():
            body = body.replace("\r", "\\r").replace("\n", "\n    ")
        self._stream.write(journal_lines(body, message.record) if self._journal else f"{body}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal, which shows colours."""
        return self._stream.isatty()


def journal_lines(text: str, record: "Record") -> str:
    """Return *text* for systemd's journal, with the syslog priority of *record* before every line."""
    level = record["level"].no
    return with_priority(text, next(priority for lowest, priority in PRIORITIES if level >= lowest))


def text_template(record: "Record") -> str:
    """Return the template by which loguru makes a line of *record*: time, level, service or logger, message.

    Without the error: the values of variables, which loguru's own tracebacks can show, may be secrets.
    """
    return (
        "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | "
        f"<cyan>{_source(record)}</cyan> | <level>{{message}}</level>\n"
    )


def journal_template(record: "Record") -> str:
    """Return the template for systemd's journal, which shows the time itself, and the level as a colour."""
    return f"{_source(record)} | {{message}}\n"


def _source(record: "Record") -> str:
    service = "service" in record["extra"]
    source = "{extra[service]}" if service else "{name}"
    name = _fallback(record["extra"]["service"] if service else record["name"])
    if not name.isprintable():
        # Nor markup or a field of loguru's.
        source = "".join(char if char.isalnum() else f"\\x{ord(char):02x}" for char in name)
    return source


def json_line(record: "Record") -> str:
    """Return *record* as a JSON object; whatever is bound to it, there is a line."""
    line: dict[str, object] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "logger": record["name"],
        "message": record["message"],
    }
    # What the user has bound stands behind, and replaces nothing.
    line |= {key: value for key, value in record["extra"].items() if key not in line}
    exception = record["exception"]
    if exception is not None and exception.value is not None:
        line["exception"] = traceback_of(exception.value)
    try:
        return json.dumps(line, default=_fallback, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        # Text is no trouble, and the message and the traceback are wanted in full.
        ready = (
            (key, value if isinstance(value, str) else to_json_ready(value, DEEPEST)) for key, value in line.items()
        )
        return json.dumps({str(key): value for key, value in ready})


def traceback_of(error: BaseException) -> str:
    """Return the traceback of *error* without the values of variables, or what can be shown of it."""
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:  # noqa: BLE001  # of the user's: notes that are no list, say
        return f"{text_of(error)} (its traceback cannot be shown)"


def _fallback(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # the user's
        return repr_of(value)
