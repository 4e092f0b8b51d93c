"""The command line: ``hostkit run TARGET`` and ``hostkit show TARGET``."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from hostkit import Host
from hostkit._command.target import Target, load, make_host
from hostkit._config.options import WrongSettingsError
from hostkit._process.owner import require_backend
from hostkit._process.owner import run as run_process
from hostkit._process.signals import Signals, write_error
from hostkit._values.errors import HostStateError, LoadError

__all__ = ["main", "run"]

USAGE = """\
usage: hostkit run TARGET [flags]     run a host until it is stopped
       hostkit show TARGET [--json]   show its services without starting anything
       hostkit run TARGET --help      show the flags of a target
       hostkit --version

TARGET is package.module, package.module:name or path/to/file.py[:name]; the name defaults to host, then builder, then
build. It is a Host, a HostBuilder, or a function that returns either; a function with one parameter annotated with a
HostSettings subclass gets those settings, and their fields are the flags.
"""

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
    elif command == "run" and rest:
        _run(rest[0], rest[1:], f"hostkit run {rest[0]}")
    elif command == "show" and rest:
        _show(rest[0], rest[1:])
    else:
        _refuse(
            f"no target: hostkit {command} TARGET" if command in ("run", "show") else f"no such command: {command!r}"
        )


def run(target: object, argv: Sequence[str] | None = None) -> None:
    """Run *target* as ``hostkit run`` does, with the object in hand: for ``python app.py`` and console scripts.

    Args:
        target: A `Host`, a `HostBuilder`, or a function that returns either.
        argv: The flags; the process's own arguments if not given.

    Raises:
        SystemExit: As for `main`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _run(Target(target, None), arguments, sys.argv[0])


def _run(target: str | Target, arguments: Sequence[str], program: str) -> None:
    # Before the user's module is imported, which may take long: PID 1 would lose a signal without a handler.
    with Signals() as signals:
        host = _host_of(target, arguments, program)
        try:
            require_backend(host.options.backend)
        except HostStateError as error:
            _refuse(str(error))
        run_process(host, configure_logging=True, signals=signals)


def _show(name: str, arguments: Sequence[str]) -> None:
    if list(arguments) not in ([], ["--json"]):
        _refuse(f"hostkit show takes --json and nothing else, got {' '.join(arguments)!r}")
    host = _host_of(name, (), f"hostkit show {name}")
    from hostkit._command.show import overview, overview_json

    sys.stdout.write(overview_json(host) if arguments else overview(host))


def _host_of(target: str | Target, arguments: Sequence[str], program: str) -> Host:
    try:
        loaded = load(target) if isinstance(target, str) else target
        return make_host(loaded, arguments, program)
    except (LoadError, WrongSettingsError) as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    write_error("".join(f"hostkit: {line}\n" for line in message.splitlines()))
    raise SystemExit(WRONG_USAGE)
