"""A host for ASGI apps that have no lifespan of their own, such as Django and Quart behind any server.

An app with a lifespan takes the host there: ``FastAPI(lifespan=host.lifespan)``.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any

from hostkit import Host

__all__ = ["with_host"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
# Each framework has types of its own for what an app is called with.
AnyASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})


def with_host(app: AnyASGIApp, host: Host) -> ASGIApp:
    """Return an app that starts *host* with the server and stops it with the server, and is *app* otherwise.

    The server must speak the lifespan protocol (``uvicorn --lifespan on``); *app* itself is not asked about it. A host
    that fails to start keeps the server from starting; one that fails later is reported to the server at the stop.
    """

    async def app_with_host(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(host, receive, send)
        else:
            await app(scope, receive, send)

    return app_with_host


async def _live(host: Host, receive: Receive, send: Send) -> None:
    await receive()
    step = "startup"
    try:
        async with host:
            await send({"type": "lifespan.startup.complete"})
            step = "shutdown"
            await receive()
            host.lifetime.request_stop("the server stops")
    # Whatever it is, it is reported: a server takes an app that only raises for one without a lifespan, and serves.
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        await send({"type": f"lifespan.{step}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})


def is_local(scope: Mapping[str, Any]) -> bool:
    """Return whether a request comes from this machine, and not through a proxy that says so."""
    if FORWARDED & {name for name, _ in scope["headers"]}:
        return False
    client = scope.get("client")
    if not client or not client[0]:  # a socket file
        return True
    try:
        return ip_address(client[0]).is_loopback
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
