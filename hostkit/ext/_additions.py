"""What ``hostkit run`` adds to a host: the dashboard, if it is asked for, and word to systemd."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from hostkit import Host
from hostkit._config.logging import log
from hostkit._config.options import PREFIX, WrongSettingsError
from hostkit._core.host import runner_of
from hostkit._values.frozen import Value

DASHBOARD, ACTIONS, TOKEN_FILE = "--dashboard", "--dashboard-actions", "--dashboard-token-file"
DASHBOARD_VARIABLE, SYSTEMD_VARIABLE = f"{PREFIX}DASHBOARD", f"{PREFIX}SYSTEMD"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 9000
NEEDED = ("prometheus_client", "starlette", "uvicorn")
NEXT_PORTS = 20
"""How many ports are tried in development."""
HELP = """\

options of the dashboard, or HOSTKIT_DASHBOARD and HOSTKIT_DASHBOARD_TOKEN:
  --dashboard [HOST:PORT]       a page, probes, metrics (on 127.0.0.1:9000)
  --dashboard-actions           let the page steer the host
  --dashboard-token-file PATH   a file with the token that clients must send
"""
"""What ``hostkit run TARGET --help`` shows after the flags of the target."""
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, eq=False, repr=False)
class DashboardFlags(Value):
    """What the command line says of the dashboard.

    Attributes:
        address: Where it listens; None if the command line asks for none.
        actions: Whether it may steer the host.
        token_file: The file with the token.
    """

    address: str | None = None
    actions: bool = False
    token_file: str | None = None


def split_flags(arguments: Sequence[str]) -> tuple[DashboardFlags, list[str]]:
    """Return what *arguments* say of the dashboard, and the others.

    Raises:
        WrongSettingsError: A value is missing, or one that makes no sense is given.
    """
    address, actions, token_file = None, False, None
    rest: list[str] = []
    left = list(arguments)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if flag not in (DASHBOARD, ACTIONS, TOKEN_FILE):
            rest.append(f"{flag}{equals}{value}")
            continue
        if not equals and flag != ACTIONS and left and not left[0].startswith("-"):
            value = left.pop(0)
        if flag == DASHBOARD:
            address = value or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
        elif flag == ACTIONS and not equals:
            actions = True
        elif flag == TOKEN_FILE and value:
            token_file = value
        else:
            message = f"{flag} takes {'the path of a file' if flag == TOKEN_FILE else 'no value'}"
            raise WrongSettingsError(message)
    return DashboardFlags(address, actions, token_file), rest


def add_to(host: Host, flags: DashboardFlags) -> None:
    """Add to *host* what the command line and the environment ask for.

    Raises:
        WrongSettingsError: It cannot be added as it is asked for.
    """
    address, source = flags.address, DASHBOARD
    if address is None:
        address, source = os.environ.get(DASHBOARD_VARIABLE, ""), DASHBOARD_VARIABLE
    if address.casefold() not in OFF:
        _add_dashboard(host, address, source, flags)
    elif flags.actions or flags.token_file is not None:
        message = f"{ACTIONS if flags.actions else TOKEN_FILE} needs {DASHBOARD} (or {DASHBOARD_VARIABLE})"
        raise WrongSettingsError(message)
    if os.environ.get("NOTIFY_SOCKET") and os.environ.get(SYSTEMD_VARIABLE, "true").casefold() not in OFF:
        from hostkit.ext.systemd import SystemdNotifier

        if not any(isinstance(service, SystemdNotifier) for service in host.services.values()):
            runner_of(host).put_first(SystemdNotifier(host), "systemd-notifier")


def _add_dashboard(host: Host, address: str, source: str, flags: DashboardFlags) -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        message = f"{source} needs hostkit-py[dashboard] (not installed: {', '.join(missing)})"
        raise WrongSettingsError(message)
    if host.options.backend == "trio":
        message = f"{source} needs backend asyncio or uvloop: its server, uvicorn, does not run on trio"
        raise WrongSettingsError(message)
    from hostkit.ext.dashboard import Dashboard

    name, port = _split_address(address, source)
    token = None if flags.token_file is None else _read_token(flags.token_file)
    listens_on = _free_port(name, port) if host.options.is_development else port
    try:
        dashboard = Dashboard(host, host=name, port=listens_on, token=token, actions=flags.actions)
    except ValueError as error:
        message = f"{source} {address}: {error}"
        raise WrongSettingsError(message) from None
    if listens_on != port:
        host.lifetime.on_started(
            lambda: log("WARNING", "port {} is taken; the dashboard listens on port {}", port, listens_on)
        )
    runner_of(host).put_first(dashboard, "dashboard")


def _split_address(address: str, source: str) -> tuple[str, int]:
    if address.startswith("unix:"):
        return address, DEFAULT_PORT
    if address.casefold() in ON:
        return DEFAULT_HOST, DEFAULT_PORT
    name, colon, port = f":{address}".rpartition(":") if address.isdigit() else address.rpartition(":")
    if not colon or address.endswith("]"):  # an IPv6 address ends with a bracket
        name, port = address, str(DEFAULT_PORT)
    bare = name.removeprefix("[").removesuffix("]")
    if (":" in bare and bare == name) or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        message = f"{source} {address}: must be HOST:PORT, PORT, [IPV6]:PORT or unix:/path/of.sock"
        raise WrongSettingsError(message)
    return bare or DEFAULT_HOST, int(port)


def _read_token(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib is slow to import
            token = file.read().strip()
    except (OSError, ValueError) as error:
        message = f"{TOKEN_FILE} {path}: cannot be read: {error}"
        raise WrongSettingsError(message) from None
    if not token:
        message = f"{TOKEN_FILE} {path}: the file is empty"
        raise WrongSettingsError(message)
    return token


def _free_port(name: str, port: int) -> int:
    """Return *port*, or the next one that is free, if one of the next few is."""
    for candidate in range(port, port + NEXT_PORTS) if port and not name.startswith("unix:") else ():
        with (
            suppress(OSError, OverflowError),
            socket.create_server((name, candidate), family=socket.AF_INET6 if ":" in name else socket.AF_INET),
        ):
            return candidate
    return port
