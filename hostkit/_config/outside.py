"""The host's options from outside, without pydantic: variables, ``.env`` and flags, and the text of ``--help``.

Most programs have no settings of their own, and pydantic takes longer to import than all the rest.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hostkit._config.options import (
    CHECKS,
    OPTION_NAMES,
    PREFIX,
    FoundName,
    HostOptions,
    WrongSettingsError,
    calling_module,
    from_text,
)

# For a terminal of 80 columns.
WIDTH, INDENT = 79, 32


class Flag(NamedTuple):
    """What ``--help`` says of one flag.

    Attributes:
        name: The name of the field.
        value: The value as it is to be given; empty for a switch.
        description: What it is for, in words.
        default: What holds without it, as it would be given; None where it is required.
    """

    name: str
    value: str
    description: str
    default: str | None


DESCRIPTIONS: Mapping[str, tuple[str, str]] = {
    "application_name": ("TEXT", "shown in log lines and in the status"),
    "environment": ("TEXT", "free text, for example development"),
    "startup_timeout": ("SECONDS|none", "for the start of all services"),
    "stop_delay": ("SECONDS", "from the first signal until the stop begins"),
    "shutdown_timeout": ("SECONDS", "for services to end by themselves"),
    "cancellation_timeout": ("SECONDS", "for cancelled services to end"),
    "hang_timeout": ("SECONDS|none", "leave when the event loop has not turned for so long"),
    "lag_warning": ("SECONDS|none", "name the line that blocks the event loop for so long"),
    "dump_signal": ("SIGNAL|none", "prints the status; SIGUSR1, SIGUSR2, SIGQUIT or SIGHUP"),
    "terminate_on_failure": ("", "embedded: send the own process SIGTERM after a failure"),
    "log_level": ("LEVEL", "TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL"),
    "log_format": ("text|json", "one object a line, or text"),
    "logging": ("auto|loguru|standard", "where an embedded host's own lines go"),
    "backend": ("asyncio|uvloop|trio", "the event loop"),
}
"""For each of the host's options, its value as it is to be given, and what it is for."""


def set_outside() -> bool:
    """Return whether the environment, or a ``.env`` file in the working directory, says something to the host."""
    if any(name.upper().startswith(PREFIX) for name in os.environ):
        return True
    try:
        with open(".env", encoding="utf-8", errors="replace") as file:
            return PREFIX in file.read().upper()
    except OSError:
        return False


def read_variables() -> HostOptions:
    """Return the options as the environment and ``.env`` have them.

    Raises:
        WrongSettingsError: Values are wrong; all of them are named, with their variables.
    """
    variables = {**_dotenv(), **{name.upper(): value for name, value in os.environ.items()}}
    warn_of_slips(variables, PREFIX, OPTION_NAMES)
    full = {name: f"{PREFIX}{name.upper()}" for name in OPTION_NAMES}
    given = {name: variables[variable] for name, variable in full.items() if variable in variables}
    return HostOptions(**_checked(given, lambda name: f"{PREFIX}{name.upper()}="))


def read_flags(options: HostOptions, arguments: Sequence[str]) -> HostOptions:
    """Return *options* with what *arguments* give.

    Raises:
        WrongSettingsError: A flag is unknown, or a value is wrong.
    """
    given: dict[str, str] = {}
    unknown = []
    left = iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        switch = name.removeprefix("no_")
        if flag.startswith("--") and switch in OPTION_NAMES and not DESCRIPTIONS[switch][0] and not equals:
            given[switch] = "true" if name == switch else "false"
        elif flag.startswith("--") and name in OPTION_NAMES and DESCRIPTIONS[name][0]:
            given[name] = value if equals else _value(flag, left)
        else:
            unknown.append(argument)
    if unknown:
        raise WrongSettingsError(unrecognized(unknown, map(flag_of, OPTION_NAMES)))
    return replace(options, **_checked(given, lambda name: f"{flag_of(name)} "))


def flag_of(name: str) -> str:
    """Return the flag of the field *name*."""
    return "--" + name.replace("_", "-")


def unrecognized(arguments: Sequence[str], flags: Iterable[str]) -> str:
    """Return in words that there are no such flags, and which may have been meant."""
    from difflib import get_close_matches

    known = {flag.replace("-", ""): flag for flag in flags}
    meant = []
    for argument in arguments:
        near = get_close_matches(argument.partition("=")[0].replace("-", ""), known, n=1, cutoff=0.8)
        meant += [known[flag] for flag in near if argument.startswith("-")]
    question = f"; did you mean {' '.join(meant)}?" if meant else ""
    return f"unrecognized arguments: {' '.join(arguments)}{question}"


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether *arguments* ask what the flags are."""
    return "-h" in arguments or "--help" in arguments


def help_text(program: str, own: Sequence[Flag], options: HostOptions) -> str:
    """Return what ``--help`` shows: the flags of the program's own settings, then the host's, with *options*."""
    host = []
    for name, (value, description) in DESCRIPTIONS.items():
        default = getattr(options, name)
        shown = "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
        if isinstance(default, FoundName):
            shown = "the main module's name"  # not yet known, before the host is made
        host.append(Flag(name, value, description, shown if value else "no"))
    sections = [("options", own)] if own else []
    sections.append(("options of the host; variables HOSTKIT_… say the same", host))
    body = "".join(f"\n{title}:\n" + "".join(map(_help_lines, flags)) for title, flags in sections)
    return f"usage: {program} [flags]\n{body}"


def warn_of_slips(variables: Iterable[str], prefix: str, names: Iterable[str], known: Iterable[str] = ()) -> None:
    """Warn of variables with *prefix* that nearly name one of the fields *names*, and are not *known* otherwise."""
    wanted = [name.upper() for name in names]
    others = {name.upper() for name in known}
    for variable in dict.fromkeys(map(str.upper, variables)):
        name = variable.removeprefix(prefix.upper())
        if (prefix and name == variable) or name in wanted or variable in others:
            continue
        from difflib import get_close_matches

        # Others have such variables too: Kubernetes gives HOSTKIT_SERVICE_HOST to the neighbours of a service so named.
        for meant in get_close_matches(name, wanted, n=1, cutoff=0.8):
            owner = "the host" if prefix == PREFIX else "the settings"
            message = f"{variable} is no variable of {owner} and is ignored: did you mean {prefix.upper()}{meant}?"
            warnings.warn(message, UserWarning, stacklevel=calling_module()[1] + 1)  # at the line of the app's own


def _dotenv() -> dict[str, str]:
    if not os.path.isfile(".env"):
        return {}
    from dotenv import dotenv_values

    try:
        return {name.upper(): value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        message = f".env cannot be read: {error}"
        raise WrongSettingsError(message) from None


def _checked(given: Mapping[str, str], source: Callable[[str], str]) -> dict[str, Any]:
    values, problems = {}, []
    for name, text in given.items():
        try:
            values[name] = CHECKS[name](from_text(name, text))
        except ValueError as error:
            problems.append(f"{source(name)}{text}: {str(error).partition(', got ')[0]}")
    if problems:
        raise WrongSettingsError("\n".join(problems))
    return values


def _value(flag: str, left: Iterator[str]) -> str:
    value = next(left, None)
    if value is None or (value.startswith("--") and len(value) > len("--")):
        message = f"argument {flag}: expected one argument"
        raise WrongSettingsError(message)
    return value


def _help_lines(flag: Flag) -> str:
    import textwrap

    name = flag_of(flag.name)
    head = f"  {name} {flag.value}" if flag.value else f"  {name}, --no-{name[2:]}"
    default = " (required)" if flag.default is None else f" (default: {flag.default})"
    words = textwrap.wrap(f"{flag.description}{default}".strip(), WIDTH - INDENT) or [""]
    lines = [f"{'':{INDENT}}{line}".rstrip() for line in words]
    if len(head) < INDENT - 1:
        lines[0] = f"{head:{INDENT}}{words[0]}".rstrip()
    else:
        lines.insert(0, head)
    return "".join(f"{line}\n" for line in lines)
