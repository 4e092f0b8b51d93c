"""hostkit's own log lines, made from its events, and the set-up of loguru for a process that the host owns.

loguru is imported at the first line: it is slow to import, and importing hostkit prints nothing anyway.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING

from hostkit import events
from hostkit._config.options import HostOptions
from hostkit._values.text import repr_of

if TYPE_CHECKING:
    from logging import Handler

    from loguru import Message, Record

LEVELS = MappingProxyType(
    {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
)


def log(
    level: str, message: str, *args: object, service: str | None = None, error: BaseException | None = None
) -> None:
    """Write one line, in the name of *service*, with the traceback of *error*; it never raises.

    Of *args*, what is neither text nor number is shown by its ``repr``.
    """
    from loguru import logger

    def name(record: "Record") -> None:
        record["name"] = "hostkit"
        # Not simply bound: where a service's code has caused a line of the host, its name stands in the context.
        record["extra"].pop("service", None)
        if service is not None:
            record["extra"]["service"] = service

    words = (arg if isinstance(arg, str | int | float) else repr_of(arg) for arg in args)
    try:
        logger.patch(name).opt(exception=error).log(level, message, *words)
    except Exception as problem:  # noqa: BLE001  # of a sink that was added with catch=False
        # In the middle of whatever the host has to do.
        from hostkit._process.signals import write_error

        write_error(f"hostkit: cannot log {message!r}: {repr_of(problem)}\n")


def log_error(message: str, *args: object, error: BaseException, service: str | None = None) -> None:
    """Write one line at ERROR with the traceback of *error*."""
    log("ERROR", message, *args, service=service, error=error)


class EventLog:
    """The listener that makes log lines of events."""

    def __init__(self, options: HostOptions) -> None:
        """Make no line below the options' ``log_level``."""
        self._lowest = LEVELS[options.log_level]
        self.detailed = self._lowest <= LEVELS["DEBUG"]
        """Whether the start and stop of single services makes lines; if not, those events need not be made."""

    def __call__(self, event: events.HostEvent) -> None:
        """Write the line of *event*, if it has one."""
        for kind, (level, line) in _LINES.items():
            if isinstance(event, kind):
                # What is tried again is no error yet.
                wanted = "WARNING" if getattr(event, "retried", False) else level
                if LEVELS[wanted] >= self._lowest:
                    message, *args = line(event)
                    log(
                        wanted,
                        str(message),
                        *args,
                        service=getattr(event, "service", None),
                        error=getattr(event, "error", None),
                    )
                return


def _at(event: object) -> str:
    line = getattr(event, "waiting_at", None)
    return f", at {line}" if line else ""


def _plural(count: int) -> str:
    return "1 service" if count == 1 else f"{count} services"


_Line = Callable[[events.HostEvent], tuple[object, ...]]


def _line(
    kind: type[events.HostEvent], level: str, function: Callable[..., tuple[object, ...]]
) -> tuple[type[events.HostEvent], tuple[str, _Line]]:
    return kind, (level, function)


_LINES = MappingProxyType(
    dict(
        (
            _line(
                events.HostStarting, "INFO", lambda e: ("starting {} with {}", e.application_name, _plural(e.services))
            ),
            _line(events.HostStarted, "INFO", lambda e: ("started {} in {:.2f} s", _plural(e.services), e.duration)),
            _line(events.StopRequested, "INFO", lambda e: ("stopping: {}", e.reason)),
            _line(events.HostStopped, "INFO", lambda e: ("stopped in {:.2f} s, exit code {}", e.duration, e.exit_code)),
            _line(events.ServiceStarting, "DEBUG", lambda e: ("service {} starting", e.service)),
            _line(events.ServiceStarted, "DEBUG", lambda e: ("service {} started in {:.2f} s", e.service, e.duration)),
            _line(events.ServiceStopping, "DEBUG", lambda e: ("service {} stopping", e.service)),
            _line(events.ServiceStopped, "DEBUG", lambda e: ("service {} stopped in {:.2f} s", e.service, e.duration)),
            _line(events.ServiceFailed, "ERROR", lambda e: ("service {} failed: {}", e.service, e.error)),
            _line(
                events.ServiceRestarting,
                "WARNING",
                lambda e: ("service {} restarting in {:.1f} s, restart {}", e.service, e.delay, e.restarts),
            ),
            _line(
                events.ServiceStalled,
                "WARNING",
                lambda e: ("service {} stalled for {:.1f} s{}", e.service, e.duration, _at(e)),
            ),
            _line(
                events.ServiceRecovered,
                "WARNING",
                lambda e: ("service {} moves again after {:.1f} s", e.service, e.duration),
            ),
            _line(
                events.ServiceCancelled,
                "WARNING",
                lambda e: ("service {} cancelled: {}{}", e.service, e.reason, _at(e)),
            ),
            _line(
                events.ServiceAbandoned,
                "ERROR",
                lambda e: ("service {} ignores its cancellation, abandoned{}", e.service, _at(e)),
            ),
        )
    )
)


class LogContexts:
    """Contexts in which loguru's ``extra["service"]`` is set, one for each service.

    ``logger.contextualize`` has to be left again, and would hold a generator for each service all the time. So the
    context variable that it sets is found, once, and set directly.
    """

    def __init__(self, base: Context) -> None:
        """Make contexts that are copies of *base* otherwise."""
        self._base = base
        self._variable, self._extra = base.copy().run(_find_variable)

    def of(self, service: str) -> Context:
        """Return a context of *service*'s own."""
        context = self._base.copy()
        context.run(self._variable.set, {**self._extra, "service": service})
        return context


def _find_variable() -> tuple[ContextVar[dict[str, object]], dict[str, object]]:
    from loguru import logger

    mark = object()
    with logger.contextualize(hostkit=mark):
        for variable, value in copy_context().items():
            if isinstance(value, dict) and value.get("hostkit") is mark:
                return variable, {key: item for key, item in value.items() if key != "hostkit"}
    message = "loguru keeps no context variable"  # pragma: no cover  # it has since 0.5
    raise LookupError(message)  # pragma: no cover


def configure(options: HostOptions) -> None:
    """Set loguru up for a process that the host owns: one sink on standard error, and stdlib `logging` routed in."""
    import logging

    with _without_detours():
        from loguru import logger

        logger.remove()
        if sys.stderr is not None:  # closed when the process began
            sink = _write_json if options.log_format == "json" else sys.stderr
            # No argument values in tracebacks (diagnose), which may be secrets; no queue (enqueue), which os._exit
            # loses.
            logger.add(sink, level=options.log_level, format=_text_format, diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_logging_handler()], level=LEVELS[options.log_level], force=True)


@contextmanager
def _without_detours() -> Iterator[None]:
    """Spare what loguru would do in vain: it takes longer than all that hostkit itself does until it is ready.

    When it is imported, it adds a sink of its own, which would be removed at once. And for each sink it looks through
    every install scheme that sysconfig knows, to colour the paths in tracebacks; the one in use is enough.
    """
    import sysconfig

    scheme_names = sysconfig.get_scheme_names
    chosen = os.environ.get("LOGURU_AUTOINIT")
    os.environ["LOGURU_AUTOINIT"] = "0"
    sysconfig.get_scheme_names = lambda: (sysconfig.get_default_scheme(),)
    try:
        yield
    finally:
        sysconfig.get_scheme_names = scheme_names
        del os.environ["LOGURU_AUTOINIT"]
        if chosen is not None:
            os.environ["LOGURU_AUTOINIT"] = chosen


def complete() -> None:
    """Wait for what loguru has queued, if it was ever used; before the process is left without its usual end."""
    if "loguru" in sys.modules:
        from loguru import logger

        logger.complete()


def _text_format(record: "Record") -> str:
    source = "{extra[service]}" if "service" in record["extra"] else "{name}"
    return (
        "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | "
        f"<cyan>{source}</cyan> | <level>{{message}}</level>\n{{exception}}"
    )


def _write_json(message: "Message") -> None:
    import json
    import traceback

    record = message.record
    line = {"time": record["time"].isoformat(), "level": record["level"].name, "logger": record["name"]}
    line |= {"message": record["message"]}
    # What the user has bound stands behind, and replaces nothing.
    line |= {key: value for key, value in record["extra"].items() if key not in line}
    if record["exception"] is not None:
        line["exception"] = "".join(traceback.format_exception(record["exception"].value))
    sys.stderr.write(json.dumps(line, default=str) + "\n")


def _logging_handler() -> "Handler":
    import logging

    from loguru import logger

    class ToLoguru(logging.Handler):
        """Hands stdlib `logging` records to loguru, under the name of their logger."""

        def emit(self, record: logging.LogRecord) -> None:
            def name(named: "Record") -> None:
                named["name"] = record.name

            level = record.levelname if record.levelname in LEVELS else record.levelno
            logger.patch(name).opt(exception=record.exc_info).log(level, "{}", record.getMessage())

    return ToLoguru()
