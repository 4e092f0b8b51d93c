"""hostkit's own log lines, and the set-up of loguru for a process that the host owns.

loguru is imported when it is needed: it is slow to import, and importing hostkit prints nothing anyway. A process that
has never configured it, and embeds a host, gets hostkit's lines through the standard library's `logging`: loguru's own
default sink would show the values of all variables at an error.
"""

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from hostkit._config.options import HostOptions
from hostkit._values.standard_error import is_journal, write_error
from hostkit._values.text import printable, repr_of

if TYPE_CHECKING:
    from logging import Handler

    from loguru import Message, Record

LEVELS = MappingProxyType(
    {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
)
_NO_FIELDS: Mapping[str, object] = MappingProxyType({})


class _Destination:
    """Where hostkit's lines go: there is one log in a process."""

    chosen = "auto"

    @classmethod
    def is_loguru(cls) -> bool:
        """Return whether they go to loguru: it was chosen, or the app has configured it."""
        if cls.chosen != "auto":
            return cls.chosen == "loguru"
        if "loguru" not in sys.modules:
            return False
        from loguru import logger

        handlers = repr(logger).partition("handlers=")[2]
        if os.environ.get("LOGURU_AUTOINIT", "").casefold() in ("0", "false", "no", "n", "nok", "off"):
            return "(id=" in handlers
        # As it is when it has been imported, and no more: one sink, which it has made itself.
        return handlers.count("(id=") != 1 or "(id=0," not in handlers


def choose_destination(chosen: str) -> None:
    """Send hostkit's lines to ``"loguru"`` or ``"standard"``, or, with ``"auto"``, to loguru if it was configured."""
    _Destination.chosen = chosen


def log(
    level: str,
    message: str,
    *args: object,
    service: str | None = None,
    error: BaseException | None = None,
    fields: Mapping[str, object] = _NO_FIELDS,
) -> None:
    """Write one line, in the name of *service*, with the traceback of *error*; it never raises.

    Of *args*, what is neither text nor number is shown by its ``repr``; nothing in them begins a new line. *fields* are
    bound to the line, for JSON.
    """
    words = (arg if isinstance(arg, int | float) else _words(arg) for arg in args)
    text = message
    try:
        text = message.format(*words) if args else message
        (_to_loguru if _Destination.is_loguru() else _to_logging)(level, text, service, error, fields)
    except Exception as problem:  # noqa: BLE001  # of a sink that was added with catch=False, of a filter or the error
        # In the middle of whatever the host has to do.
        if error is not None:
            log(level, f"{message} (its traceback cannot be logged)", *args, service=service, fields=fields)
            return
        write_error(f"hostkit: cannot log {text!r}: {printable(repr_of(problem))}\n")


def log_error(message: str, *args: object, error: BaseException, service: str | None = None) -> None:
    """Write one line at ERROR with the traceback of *error*."""
    log("ERROR", message, *args, service=service, error=error)


def bounded_log(options: HostOptions) -> Callable[..., None]:
    """Return a `log` that makes no line below the options' ``log_level``."""
    lowest = LEVELS[options.log_level]

    def bounded(
        level: str, message: str, *args: object, service: str | None = None, error: BaseException | None = None
    ) -> None:
        if LEVELS[level] >= lowest:
            log(level, message, *args, service=service, error=error)

    return bounded


def _words(value: object) -> str:
    text = value if isinstance(value, str) else repr_of(value)
    return text if text.isprintable() else printable(text)


def _to_loguru(
    level: str, text: str, service: str | None, error: BaseException | None, fields: Mapping[str, object]
) -> None:
    from loguru import logger

    def name(record: "Record") -> None:
        record["name"] = "hostkit"
        # Not simply bound: where a service's code has caused a line of the host, its name stands in the context.
        record["extra"].pop("service", None)
        if service is not None:
            record["extra"]["service"] = service
        record["extra"].update(fields)

    logger.patch(name).opt(exception=error).log(level, "{}", text)


def _to_logging(
    level: str, text: str, service: str | None, error: BaseException | None, fields: Mapping[str, object]
) -> None:
    import logging

    logger = logging.getLogger("hostkit" if service is None else f"hostkit.{printable(service)}")
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    logger.log(LEVELS[level], "%s", text, exc_info=exc_info, extra=dict(fields))


def configure(options: HostOptions) -> None:
    """Set loguru up for a process that the host owns: one sink on standard error, and stdlib `logging` routed in."""
    import logging

    from loguru import logger

    logger.remove()
    add = _SinkOfOptions(options)
    add()
    logging.basicConfig(handlers=[_logging_handler()], level=LEVELS[options.log_level], force=True)
    # loguru removes every sink when the interpreter exits, before the exit handlers that were registered earlier: their
    # lines would be lost. So a sink stands here to the end.
    atexit.unregister(logger.remove)
    atexit.register(add.keep)


class _SinkOfOptions:
    """The one sink of a process that a host owns."""

    def __init__(self, options: HostOptions) -> None:
        """Prepare."""
        self._options = options
        self._number = -1

    def __call__(self) -> None:
        """Add the sink, unless standard error was closed when the process began."""
        from loguru import logger

        from hostkit._config.log_format import LineStream, journal_lines, journal_template, json_line, text_template

        if sys.stderr is None:
            return
        stream, level, journal = sys.stderr, self._options.log_level, is_journal()
        # No queue (enqueue), which os._exit loses.
        if self._options.log_format == "json":

            def write(message: "Message") -> None:
                line = json_line(message.record)
                # In one piece: where a stream has no buffer, other writers may come in between.
                stream.write(journal_lines(line, message.record) if journal else f"{line}\n")

            self._number = logger.add(
                write,
                level=level,
                format=lambda _: "",
                backtrace=False,
                diagnose=False,
            )
        else:
            line_stream, template = LineStream(stream, journal=journal), journal_template if journal else text_template
            self._number = logger.add(line_stream, level=level, format=template, backtrace=False, diagnose=False)

    def keep(self) -> None:
        """Close the sinks that the app has added, as loguru does at the interpreter's exit, and keep this one."""
        from loguru import logger

        if f"handlers=[(id={self._number}, " not in repr(logger) or repr(logger).count("(id=") > 1:
            logger.remove()
            self()


def complete() -> None:
    """Wait for what loguru has queued, if it was ever used; before the process is left without its usual end."""
    if "loguru" in sys.modules:
        from loguru import logger

        logger.complete()


def _logging_handler() -> "Handler":
    import logging

    from loguru import logger

    own = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    class ToLoguru(logging.Handler):
        """Hands stdlib `logging` records to loguru, under the name of their logger, with their ``extra``."""

        def emit(self, record: logging.LogRecord) -> None:
            try:
                text = record.getMessage()
            except Exception:  # noqa: BLE001  # wrong arguments, of the app's
                self.handleError(record)
                return

            def name(named: "Record") -> None:
                named["name"] = record.name
                named["extra"].update((key, value) for key, value in vars(record).items() if key not in own)

            level = record.levelname if record.levelname in LEVELS else record.levelno
            logger.patch(name).opt(exception=record.exc_info).log(level, "{}", text)

    return ToLoguru()
