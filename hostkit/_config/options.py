"""The host's options: complete, in code, read from nowhere."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from types import FrameType, MappingProxyType
from typing import Any, Literal

from hostkit._values.durations import to_seconds
from hostkit._values.frozen import Value

PREFIX = "HOSTKIT_"
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("text", "json")
DESTINATIONS = ("auto", "loguru", "standard")
# What stands between a module that makes a host and its options.
_LIBRARIES = frozenset({"hostkit", "pydantic", "pydantic_core", "pydantic_settings", "dataclasses", "functools"})
BACKENDS = ("asyncio", "uvloop", "trio")
# Those that neither stop a process, nor stand for a fault in it, nor mean something to the interpreter.
DUMP_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGHUP")


class FoundName(str):
    """A name of the program that was found, not given: another way to it may find a better one."""

    __slots__ = ()


def main_module_name() -> str:
    """Return the name of the program, as a `FoundName`: its module's, or its file's without the ending.

    Under a server, a test runner or another installed program, it is that of the module that makes the host.
    """
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None) or ""
    name = "" if spec is None else str(spec.name).removesuffix("__main__").rstrip(".")
    if not name and file:
        folder, base = os.path.split(file)
        name = os.path.splitext(base)[0]
        if name == "__main__":  # of a zipapp, or of a package's directory
            name = os.path.splitext(os.path.basename(folder))[0]
    maker, _ = calling_module()
    if maker not in {"", "__main__"} and _is_installed(file) and maker.partition(".")[0] != name.replace("-", "_"):
        name = maker.removesuffix(".__main__").rpartition(".")[2]
    return FoundName(name or "python")


def calling_module() -> tuple[str, int]:
    """Return the innermost module that is no library's part of this, and how many frames the caller is above it."""
    frame, depth = sys._getframe(1), 0  # noqa: SLF001  # the documented way to one's own stack
    while _module_of(frame).partition(".")[0] in _LIBRARIES and frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return _module_of(frame), depth


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_installed(file: str) -> bool:
    """Return whether the program *file* is one of the environment's: a command, or a module of a package."""
    folder = os.path.dirname(os.path.abspath(file)) if os.path.isabs(file) else os.path.dirname(file)
    commands = os.path.join(sys.prefix, "Scripts" if os.name == "nt" else "bin")
    parts = folder.replace(os.sep, "/").split("/")
    return folder == commands or "site-packages" in parts or "dist-packages" in parts or _is_hostkit(folder)


def _is_hostkit(folder: str) -> bool:
    return folder == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def default_dump_signal() -> str | None:
    """Return SIGUSR1 where the platform has it."""
    return None if sys.platform == "win32" else "SIGUSR1"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HostOptions(Value):
    """How a host behaves. `HostSettings` has the same fields and reads them from outside.

    Durations are given in seconds or as a `timedelta`, and kept in seconds.

    Attributes:
        application_name: Shown in log lines and in the status; the main module's name if not given.
        environment: Free text, for example ``"development"``.
        startup_timeout: How long the start of all services may take; None for no limit.
        stop_delay: How long, after the first signal, the host still runs before its stop begins, not ready any more:
            a load balancer takes the process out meanwhile. A second signal ends the delay. Other requests have none.
        shutdown_timeout: How long, from the stop's first instant, services may take to end by themselves: one
            budget for the whole host.
        cancellation_timeout: How long, after that, cancelled services may take to end: one budget for the whole host.
        hang_timeout: Leave the process with exit code 1 when the event loop has not turned for this long; `Host.run`
            and `Host.run_async` only. A process that was paused for so long is left when it goes on. None for never.
        lag_warning: Name in the log the line that blocks the event loop for longer than this. None for never.
        dump_signal: The signal that prints the status to standard error; `Host.run` and `Host.run_async` only. None
            for none.
        terminate_on_failure: Send the own process SIGTERM after an embedded host has failed and stopped.
        log_level: hostkit makes no log line below this level.
        log_format: ``"text"`` or ``"json"``, one object a line.
        logging: Where hostkit's own lines go: ``"auto"`` for loguru once the app has configured it, else the standard
            library's `logging` (loggers ``hostkit`` and ``hostkit.<service>``); ``"loguru"`` or ``"standard"`` for
            one of them in any case. `Host.run` and `Host.run_async` configure loguru.
        backend: ``"asyncio"``, ``"uvloop"`` or ``"trio"``; `Host.run` only.

    Raises:
        ValueError: Values are wrong; the message names all of them.
    """

    application_name: str = field(default_factory=main_module_name)
    environment: str = "production"
    startup_timeout: float | None = 60.0
    stop_delay: float = 0.0
    shutdown_timeout: float = 20.0
    cancellation_timeout: float = 5.0
    hang_timeout: float | None = None
    lag_warning: float | None = None
    dump_signal: str | None = field(default_factory=default_dump_signal)
    terminate_on_failure: bool = False
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    logging: Literal["auto", "loguru", "standard"] = "auto"
    backend: Literal["asyncio", "uvloop", "trio"] = "asyncio"

    def __post_init__(self) -> None:
        """Check and normalize the values, and report the wrong ones together."""
        problems = []
        for name, check in CHECKS.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except ValueError as error:
                problems.append(f"{name} {error}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def is_development(self) -> bool:
        """Whether the environment is ``development``, in any case."""
        return self.environment.casefold() == "development"

    @property
    def is_production(self) -> bool:
        """Whether the environment is ``production``, in any case."""
        return self.environment.casefold() == "production"


class WrongSettingsError(ValueError):
    """Raised when settings from outside are wrong; the message names each variable and its value on a line."""


def _check_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        message = f"must be a str that is not empty, got {value!r}"
        raise ValueError(message)
    return value


def _check_flag(value: object) -> bool:
    if not isinstance(value, bool):
        message = f"must be true or false, got {value!r}"
        raise ValueError(message)  # noqa: TRY004  # wrong values are reported together, as one error
    return value


def _check_budget(value: object) -> float:
    try:
        seconds = to_seconds(value)
    except (TypeError, ValueError):
        seconds = math.inf
    if seconds == math.inf:
        message = f"must be a number of seconds, 0 or more, got {value!r}"
        raise ValueError(message)
    return seconds


def _check_limit(value: object) -> float | None:
    if value is None:
        return None
    seconds = _check_budget(value)
    if not seconds:
        message = f"must be more than 0 seconds, or None, got {value!r}"
        raise ValueError(message)
    return seconds


def _one_of(choices: tuple[str, ...], *, optional: bool = False) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if value is None and optional:
            return None
        for choice in choices:
            if isinstance(value, str) and value.casefold() == choice.casefold():
                return choice
        message = f"must be one of {', '.join(choices)}, got {value!r}"
        raise ValueError(message)

    return check


CHECKS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "application_name": _check_text,
        "environment": _check_text,
        "startup_timeout": _check_limit,
        "stop_delay": _check_budget,
        "shutdown_timeout": _check_budget,
        "cancellation_timeout": _check_budget,
        "hang_timeout": _check_limit,
        "lag_warning": _check_limit,
        "dump_signal": _one_of(DUMP_SIGNALS, optional=True),
        "terminate_on_failure": _check_flag,
        "log_level": _one_of(LOG_LEVELS),
        "log_format": _one_of(LOG_FORMATS),
        "logging": _one_of(DESTINATIONS),
        "backend": _one_of(BACKENDS),
    }
)
"""For each field, what returns the normalized value, or raises a ValueError with words that follow the field's name."""

OPTION_NAMES = tuple(option.name for option in fields(HostOptions))
_TRUE, _FALSE = frozenset({"1", "true", "t", "yes", "y", "on"}), frozenset({"0", "false", "f", "no", "n", "off"})


def from_text(name: str, text: str) -> object:
    """Return what *text* from outside stands for as the value of the option *name*; wrong text as it is."""
    if text == "none":
        return None
    check = CHECKS[name]
    if check is _check_flag:
        return True if text.casefold() in _TRUE else False if text.casefold() in _FALSE else text
    if check in (_check_limit, _check_budget):
        with suppress(ValueError):
            return float(text)
    return text
