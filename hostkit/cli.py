"""The command line: ``hostkit run TARGET`` and ``hostkit show TARGET``."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from hostkit import Host
from hostkit._command.target import Target, load, make_host
from hostkit._config.options import WrongSettingsError, default_dump_signal
from hostkit._config.outside import asks_for_help
from hostkit._core.host import runner_of
from hostkit._execution.event_loop import require_backend
from hostkit._process.owner import loading_target, refuse_while_loading
from hostkit._process.owner import run as run_process
from hostkit._process.signals import Signals
from hostkit._values.errors import HostStateError, LoadError
from hostkit._values.standard_error import write_error
from hostkit._values.text import printable
from hostkit.ext._additions import HELP, add_to, split_flags

__all__ = ["main", "run"]

USAGE = f"""\
usage: hostkit run TARGET [flags]            run a host until it is stopped
       hostkit show TARGET [flags] [--json]  show its services without starting anything
       hostkit run TARGET --help             show the flags of a target
       hostkit --version

TARGET is package.module[:name], path/to/file.py[:name] or app.pyz; the name defaults to host, then builder, then build.
It is a Host, a HostBuilder, or a function that returns either; a function with one parameter annotated with a
HostSettings subclass gets those settings, and their fields are the flags.
{HELP}"""

WRONG_USAGE = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line with *argv*, or with the process's own arguments.

    Raises:
        SystemExit: With the host's exit code if it is not 0; with 2 and a line on standard error for a wrong command,
            target, flag or setting, or for an event loop that is not installed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help") or (command in ("run", "show") and rest[:1] in (["-h"], ["--help"])):
        sys.stdout.write(USAGE)
    elif command == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"hostkit {version('hostkit-py')}\n")
    elif command not in ("run", "show"):
        _refuse(f"no such command: {command!r}")
    elif not rest or rest[0].startswith("-"):
        _refuse(f"no target: hostkit {command} TARGET [flags]")
    elif command == "run":
        _run(rest[0], rest[1:], f"hostkit run {rest[0]}")
    else:
        _show(rest[0], rest[1:])


def run(target: object, argv: Sequence[str] | None = None) -> None:
    """Run *target* as ``hostkit run`` does, with the object in hand: for ``python app.py`` and console scripts.

    Args:
        target: A `Host`, a `HostBuilder`, or a function that returns either.
        argv: The flags; the process's own arguments if not given.

    Raises:
        SystemExit: As for `main`.
        LoadError: It is called in a module that the command line loads as its target.
    """
    refuse_while_loading()
    arguments = list(sys.argv[1:] if argv is None else argv)
    _run(Target(target, None), arguments, sys.argv[0] if sys.argv else "python")


def _run(target: str | Target, arguments: Sequence[str], program: str) -> None:
    # Before the user's module is imported, which may take long: PID 1 would lose a signal without a handler.
    # The command ends with its host; a script that has called run() may go on.
    with Signals(to_the_end=isinstance(target, str)) as signals:
        signals.on_dump(default_dump_signal(), _show_loading)
        host = _host_of(target, arguments, program)
        run_process(runner_of(host), configure_logging=True, signals=signals)


def _show(name: str, arguments: Sequence[str]) -> None:
    flags = [argument for argument in arguments if argument != "--json"]
    host = _host_of(name, flags, f"hostkit show {name}")
    from hostkit._command.show import overview, overview_json

    sys.stdout.write(overview_json(host) if len(flags) < len(arguments) else overview(host))


def _host_of(target: str | Target, arguments: Sequence[str], program: str) -> Host:
    try:
        flags, arguments = split_flags(arguments)
        with loading_target():
            loaded = load(target) if isinstance(target, str) else target
            host = make_host(loaded, arguments, program)
        require_backend(host.options.backend)
        add_to(host, flags)
    except SystemExit as leaving:
        if not leaving.code and asks_for_help(arguments):  # the flags of the target have been shown
            sys.stdout.write(HELP)
        raise
    except (HostStateError, LoadError, WrongSettingsError) as error:
        _refuse(str(error))
    return host


def _show_loading() -> None:
    write_error("hostkit: no status yet: the target is being loaded\n", 5)


def _refuse(message: str) -> NoReturn:
    write_error("".join(f"hostkit: {printable(line)}\n" for line in message.split("\n")))
    raise SystemExit(WRONG_USAGE)
