"""The host's options: complete, in code, read from nowhere."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from hostkit._values.durations import to_seconds
from hostkit._values.frozen import Value

PREFIX = "HOSTKIT_"
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("text", "json")
BACKENDS = ("asyncio", "uvloop", "trio")
# Those that neither stop a process, nor tell of a fault in it, nor mean something to the interpreter.
DUMP_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGHUP")


def main_module_name() -> str:
    """Return the name of the program: its module's, or its file's without the ending."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return os.path.splitext(os.path.basename(getattr(main, "__file__", None) or "python"))[0]


def default_dump_signal() -> str | None:
    """Return SIGUSR1 where the platform has it."""
    return None if sys.platform == "win32" else "SIGUSR1"


def set_outside() -> bool:
    """Return whether the environment, or a ``.env`` file in the working directory, says something to the host."""
    if any(name.upper().startswith(PREFIX) for name in os.environ):
        return True
    try:
        with open(".env", encoding="utf-8", errors="replace") as file:
            return PREFIX in file.read().upper()
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HostOptions(Value):
    """How a host behaves. `HostSettings` has the same fields and reads them from outside.

    Durations are given in seconds or as a `timedelta`, and kept in seconds.

    Attributes:
        application_name: Shown in log lines and in the status; the main module's name if not given.
        environment: Free text, for example ``"development"``.
        startup_timeout: How long the start of all services may take; None for no limit.
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
        backend: ``"asyncio"``, ``"uvloop"`` or ``"trio"``; `Host.run` only.

    Raises:
        ValueError: Values are wrong; the message names all of them.
    """

    application_name: str = field(default_factory=main_module_name)
    environment: str = "production"
    startup_timeout: float | None = 60.0
    shutdown_timeout: float = 20.0
    cancellation_timeout: float = 5.0
    hang_timeout: float | None = None
    lag_warning: float | None = None
    dump_signal: str | None = field(default_factory=default_dump_signal)
    terminate_on_failure: bool = False
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
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
        message = f"must be a text that is not empty, got {value!r}"
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
        "shutdown_timeout": _check_budget,
        "cancellation_timeout": _check_budget,
        "hang_timeout": _check_limit,
        "lag_warning": _check_limit,
        "dump_signal": _one_of(DUMP_SIGNALS, optional=True),
        "terminate_on_failure": _check_flag,
        "log_level": _one_of(LOG_LEVELS),
        "log_format": _one_of(LOG_FORMATS),
        "backend": _one_of(BACKENDS),
    }
)
"""For each field, what returns the normalized value, or raises a ValueError with words that follow the field's name."""

OPTION_NAMES = tuple(option.name for option in fields(HostOptions))
