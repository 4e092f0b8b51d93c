"""A host for ASGI apps that have no lifespan of their own, such as Django and Quart behind any server.

An app with a lifespan takes the host there: ``FastAPI(lifespan=host.lifespan)``.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hostkit import Host, HostFailedError

__all__ = ["with_host"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def with_host(app: ASGIApp, host: Host) -> ASGIApp:
    """Return an app that starts *host* with the server and stops it with the server, and is *app* otherwise.

    The server must speak the lifespan protocol (``uvicorn --lifespan on``); *app* itself is not asked about it. A host
    that fails to start keeps the server from starting; one that fails later is told to the server at the stop.
    """

    async def with_lifespan(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(host, receive, send)
        else:
            await app(scope, receive, send)

    return with_lifespan


async def _live(host: Host, receive: Receive, send: Send) -> None:
    step = "startup"
    try:
        await receive()
        await host.start()
        await send({"type": "lifespan.startup.complete"})
        step = "shutdown"
        await receive()
        await host.stop("the server stops")
        await send({"type": "lifespan.shutdown.complete"})
    except HostFailedError as error:
        await send({"type": f"lifespan.{step}.failed", "message": str(error)})
        raise
