"""Answers and bodies, as Starlette has them."""

import json
from collections.abc import Iterable
from http import HTTPStatus

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hostkit.ext.dashboard._guard import RefusedError
from hostkit.ext.dashboard._viewers import Viewers

LONGEST_BODY = 4_096
BODY_TIMEOUT = 10.0
CLOSE = (("Connection", "close"),)


class Probe(Response):
    """The answer of a probe: a line or some, in plain text."""

    media_type = "text/plain"

    def __init__(self, status: int, text: str) -> None:
        """Take what `hostkit.ext.health` has found."""
        super().__init__(f"{text}\n".encode(errors="backslashreplace"), status)


class EventStream(Response):
    """The answer that goes on for as long as the client stays."""

    media_type = "text/event-stream"

    def __init__(self, viewers: Viewers) -> None:
        """Stream what *viewers* have to show."""
        # A proxy like nginx holds back what it buffers.
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._viewers.stream(receive, send)


def error_response(status: int, words: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return an error as JSON: what a program reads, and a person can."""
    body = json.dumps({"error": words})
    return Response(body, status, headers=dict(headers), media_type="application/json")


async def refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001  # Starlette's
    """Return the answer for what a route has raised; a stranger does not learn what it was."""
    if isinstance(error, RefusedError):
        return error_response(error.status, error.words, error.headers)
    if isinstance(error, HTTPException):
        return error_response(error.status_code, error.detail.lower(), dict(error.headers or {}).items())
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the log")


async def read_body(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: It is too long, or does not come in time.
    """
    body, more = b"", True
    with anyio.move_on_after(BODY_TIMEOUT) as patience:
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not complete")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LONGEST_BODY:
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long", CLOSE)
    if patience.cancelled_caught:
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body does not come", CLOSE)
    return body


def peer_of(request: Request) -> str:
    """Return who asks, for the log."""
    return "a local client" if request.client is None else request.client.host
