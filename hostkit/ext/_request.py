"""Where a request comes from, and by which name it calls the server: what the probes and the dashboard decide by."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})


def is_local(scope: Mapping[str, Any]) -> bool:
    """Return whether a request comes from this machine, and not through a proxy that says so."""
    if FORWARDED & {name for name, _ in scope["headers"]}:
        return False
    client = scope.get("client")
    return not client or not client[0] or is_loopback_address(client[0])  # a socket file has none


def is_loopback_address(text: str) -> bool:
    """Return whether *text* is an IP address that is this machine's own."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """Return the value of a header; the first one if it is repeated, an empty str if it is missing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def host_name(scope: Mapping[str, Any]) -> str:
    """Return the header Host without the port, in lower case."""
    host = header(scope, b"host").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def calls_loopback(scope: Mapping[str, Any]) -> bool:
    """Return whether a request names this machine; by another name, it may come from a page of another site."""
    return host_name(scope) in LOOPBACK_NAMES
