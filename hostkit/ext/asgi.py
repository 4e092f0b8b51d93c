"""A host for ASGI apps that have no lifespan of their own, such as Django and Quart behind any server.

An app with a lifespan takes the host there: ``FastAPI(lifespan=host.lifespan)``.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hostkit import Host

__all__ = ["with_host"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
# Each framework has types of its own for what an app is called with.
AnyASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


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
