"""Calls an ASGI app without a server, on any event loop and clock."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio

from hostkit.ext.asgi import AnyASGIApp, Message

LOCAL = ("127.0.0.1", 50_000)
STRANGER = ("203.0.113.7", 50_000)


class Answer(NamedTuple):
    """What an app has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.body)


class Client:
    """A client of an app, with headers that it always sends."""

    def __init__(
        self,
        app: AnyASGIApp,
        *,
        peer: tuple[str, int] | None = LOCAL,
        scheme: str = "http",
        root_path: str = "",
        **headers: str,
    ) -> None:
        self.app = app
        self.peer = peer
        self.scheme = scheme
        self.root_path = root_path
        self.headers = {"host": "localhost:9000", **headers}

    def scope(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        path, _, query = url.partition("?")
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "path": self.root_path + path,
            "raw_path": (self.root_path + path).encode(errors="surrogateescape"),
            "query_string": query.encode(),
            "root_path": self.root_path,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": self.peer,
            "server": ("127.0.0.1", 9000),
        }

    async def request(self, method: str, url: str, body: bytes | Sequence[bytes] = b"", **headers: str) -> Answer:
        """Send a request, its body in the parts that are given, and return the answer."""
        parts = [body] if isinstance(body, bytes) else list(body)
        messages = [
            {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
            for place, part in enumerate(parts)
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            await anyio.lowlevel.checkpoint()
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()
            sent.append(message)

        await self.app(self.scope(method, url, headers), receive, send)
        start, *rest = sent
        fields = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], fields, b"".join(part.get("body", b"") for part in rest))

    async def get(self, url: str, **headers: str) -> Answer:
        return await self.request("GET", url, b"", **headers)

    async def act(self, verb: str, **target: object) -> Answer:
        """Do what a button of the page does."""
        body = json.dumps(target).encode()
        return await self.request(
            "POST", f"/actions/{verb}", body, content_type="application/json", origin="http://localhost:9000"
        )


class Events:
    """An open stream of events: ``async with Events(client) as events: await events.next("status")``."""

    def __init__(self, client: Client, *, takes: float = math.inf) -> None:
        """Open it; the client stops reading after *takes* messages."""
        self._client = client
        self._takes = takes
        self._left = anyio.Event()
        self._arrived = anyio.Event()
        self._text = ""
        self.taken = 0
        self.status = 0
        self.ended = anyio.Event()

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._run)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self.leave()
        return await self._group.__aexit__(exc_type, exc, traceback)

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def next(self, event: str) -> Any:  # noqa: ANN401  # JSON
        """Wait for the next *event* and return its data."""
        while True:
            while "\n\n" not in self._text:
                assert not self.ended.is_set(), f"the stream has ended without {event!r}"
                self._arrived = anyio.Event()
                await self._arrived.wait()
            message, _, self._text = self._text.partition("\n\n")
            fields = dict(line.split(": ", 1) for line in message.splitlines() if ": " in line)
            if fields.get("event") == event:
                with suppress(json.JSONDecodeError):
                    return json.loads(fields.get("data", ""))
                return None

    async def _run(self) -> None:
        async def receive() -> Message:
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                self.status = message["status"]
                return
            self.taken += 1
            if self.taken > self._takes:
                await anyio.sleep_forever()
            self._text += message.get("body", b"").decode()
            self._arrived.set()

        try:
            await self._client.app(self._client.scope("GET", "/events", {}), receive, send)
        finally:
            self.ended.set()
            self._arrived.set()
