"""The ASGI app: the response to each path."""

import json
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hostkit import Host, HostBuilder, HostState
from hostkit._config.logging import bounded_log
from hostkit.ext._request import header
from hostkit.ext.asgi import Message, Receive, Send
from hostkit.ext.dashboard._actions import ActionError, Actions
from hostkit.ext.dashboard._guard import Guard, RefusedError
from hostkit.ext.dashboard._history import history
from hostkit.ext.dashboard._http import CLOSE, EventStream, Probe, error_response, peer_of, read_body, refuse
from hostkit.ext.dashboard._page import Page
from hostkit.ext.dashboard._plain import plain_status
from hostkit.ext.dashboard._snapshot import Pause, Snapshot, take
from hostkit.ext.dashboard._view import MOST_ITEMS, HostView
from hostkit.ext.dashboard._viewers import LoopLag, Viewers
from hostkit.ext.health import PROBE_PATHS, Probes, listen

AT_ONCE = 100
KEPT_FOR_PROBES = 10
PATIENCE = 10.0
"""Seconds that a client has to receive a message."""


class SlowClientError(OSError):
    """Raised for a client that does not receive its response in time, as if it had disconnected."""


class DashboardApp:
    """The routes, behind the guard.

    Attributes:
        view: What it shows.
        viewers: The open streams.
        lag: How late the event loop is.
    """

    def __init__(self, source: HostBuilder | Host, guard: Guard, *, ready_checks: bool, longest_stream: float) -> None:
        """Show *source*."""
        self._guard = guard
        self.view = HostView(source)
        self._actions = Actions(self.view)
        self._probes = Probes(source, checks=ready_checks)
        self._page = Page()
        self._metrics: Any = None
        self._at_once = 0
        self.lag = LoopLag()
        self.viewers = Viewers(self._read, self._refresh, self.lag, longest=longest_stream)
        listen(source, self.viewers.on_event)
        handlers: Any = {HTTPException: refuse, RefusedError: refuse, Exception: refuse}
        self._routes = Starlette(routes=self._table(), exception_handlers=handlers)
        self._routes.router.redirect_slashes = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # ASGI's
        """Answer one request."""
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        # Some frameworks append a slash to the paths of a mounted app.
        root = str(scope.get("root_path", ""))
        path = str(scope["path"]).removeprefix(root).removesuffix("/") or "/"
        scope = {**scope, "path": f"{root}{path}"}
        try:
            await self._answer(scope, receive, self._with_headers(_in_time(send)), path)
        except SlowClientError:
            return  # its place is for others; the server closes the connection

    async def _answer(self, scope: Any, receive: Receive, send: Send, path: str) -> None:  # noqa: ANN401
        kept = path in PROBE_PATHS or path == "/metrics"
        if self._at_once >= (AT_ONCE if kept else AT_ONCE - KEPT_FOR_PROBES):
            await error_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", [("Retry-After", "5")])(
                scope, receive, send
            )
            return
        self._at_once += 1
        try:
            self._guard.check_request(scope, path)
            if path not in PROBE_PATHS and path != "/sign-in":
                self._check_signed_in(scope, path)
            await self._routes(scope, receive, send)
        except RefusedError as refused:
            await error_response(refused.status, refused.words, refused.headers)(scope, receive, send)
        finally:
            self._at_once -= 1

    def _table(self) -> list[Route]:
        probes = [Route(path, self._probe) for path in sorted(PROBE_PATHS)]
        return [
            Route("/", self._document),
            Route("/status.json", self._status),
            Route("/status.txt", self._plain_status),
            Route("/history.json", self._history),
            Route("/events", self._events),
            Route("/metrics", self._scrape),
            Route("/actions/{verb}", self._act, methods=["POST"]),
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            *probes,
        ]

    def _check_signed_in(self, scope: Any, path: str) -> None:  # noqa: ANN401
        try:
            self._guard.check_signed_in(scope)
        except RefusedError as refused:
            # A person opens the page in a browser.
            if path == "/" and refused.status is HTTPStatus.UNAUTHORIZED and not header(scope, b"authorization"):
                raise RefusedError(HTTPStatus.SEE_OTHER, "sign in", (("Location", "sign-in"),)) from None
            raise

    def _with_headers(self, send: Send) -> Send:
        headers = [
            (b"cache-control", b"no-store"),
            (b"content-security-policy", self._page.policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        return send_with_headers

    # What a snapshot is made of.

    async def _read(self, pause: Pause) -> Snapshot | None:
        return await take(
            self.view,
            pause,
            token=self._guard.asks_token,
            actions=self._guard.allows_actions,
            checks=self._probes.checks.results,
            loop_lag=self.lag.largest(),
        )

    async def _refresh(self) -> None:
        host = self.view.host
        if host is not None:
            await self.view.refresh_durable()
            if host.lifetime.state is HostState.STARTED:
                await self._probes.checks.ask(host)

    # The paths.

    async def _document(self, request: Request) -> Response:
        address = request.scope.get("raw_path", b"/").decode("latin-1")
        if not address.endswith("/"):  # the links of the page are relative
            return RedirectResponse(f"{address.rpartition('/')[2]}/")
        headers = {"ETag": self._page.etag, "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == self._page.etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = self._page.compressed, "gzip"
        else:
            body = self._page.document
        return Response(body, headers=headers, media_type="text/html")

    async def _status(self, request: Request) -> Response:
        await self._refresh()
        latest = await self.viewers.latest()
        if latest is None:
            return error_response(HTTPStatus.SERVICE_UNAVAILABLE, "the host has not been built yet")
        etag = f'"{sha256(latest.changing.encode()).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
        return Response(latest.text, headers={"ETag": etag}, media_type="application/json")

    async def _plain_status(self, request: Request) -> Response:  # noqa: ARG002
        await self._refresh()
        latest = await self.viewers.latest()
        text = "not started\n" if latest is None else plain_status(json.loads(latest.text))
        return PlainTextResponse(text, headers={"Refresh": "5"})

    async def _history(self, request: Request) -> Response:
        asked = dict(request.query_params)
        limit = asked.get("limit", "50")
        if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MOST_ITEMS):
            return error_response(HTTPStatus.BAD_REQUEST, f"limit is a number from 1 to {MOST_ITEMS}")
        if asked.get("kind") == "durable":
            await self.view.refresh_durable()
        found = history(self.view, asked, int(limit))
        if found is None:
            return error_response(HTTPStatus.NOT_FOUND, "there is nothing of that kind and name")
        return Response(json.dumps(found, allow_nan=False), media_type="application/json")

    async def _events(self, request: Request) -> Response:  # noqa: ARG002
        if self.viewers.full:
            headers = [("Retry-After", "5"), *CLOSE]  # a crowd is not kept, to be closed together later
            return error_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers", headers)
        return EventStream(self.viewers)

    async def _probe(self, request: Request) -> Response:
        trusted = self._guard.is_trusted(request.scope)
        status, text = await self._probes.answer(
            f"/{request.url.path.rpartition('/')[2]}", request.scope, trusted=trusted
        )
        return Probe(status, text)

    async def _scrape(self, request: Request) -> Response:
        from hostkit.ext.dashboard._metrics import Metrics

        if self._metrics is None:
            self._metrics = Metrics(self.view, self.lag)
        self.lag.expect_scrapes()
        await self.view.refresh_durable()
        body, media_type = await self._metrics.scrape(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type})

    async def _act(self, request: Request) -> Response:
        self._guard.check_action(request.scope)
        try:
            asked = json.loads(await read_body(request))
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return error_response(HTTPStatus.BAD_REQUEST, "the body is a JSON object with kind, name and id")
        try:
            done = await self._actions.perform(request.path_params["verb"], asked, peer_of(request))
        except ActionError as error:
            return error_response(error.status, str(error))
        return Response(json.dumps({"done": done}), media_type="application/json")  # ASCII, whatever is in a name

    async def _sign_in(self, request: Request) -> Response:
        if not self._guard.asks_token:
            return RedirectResponse("./", HTTPStatus.SEE_OTHER)
        if request.method != "POST":
            return self._sign_in_page(HTTPStatus.OK, "")
        fields = parse_qs((await read_body(request)).decode(errors="replace"))
        try:
            self._guard.check_token(fields.get("token", [""])[0])
        except RefusedError as refused:
            log = bounded_log(self.view.source.options)
            log("WARNING", "dashboard: a sign-in from {} failed: {}", peer_of(request), refused.words)
            response = self._sign_in_page(refused.status, f"{refused.words[0].upper()}{refused.words[1:]}.")
            response.headers.update(dict(refused.headers))
            return response
        cookie = {"Set-Cookie": self._guard.session_cookie(request.scope)}
        return RedirectResponse("./", HTTPStatus.SEE_OTHER, headers=cookie)

    async def _sign_out(self, request: Request) -> Response:
        cookie = {"Set-Cookie": self._guard.expired_cookie(request.scope)}
        return RedirectResponse("sign-in", HTTPStatus.SEE_OTHER, headers=cookie)

    def _sign_in_page(self, status: HTTPStatus, wrong: str) -> Response:
        application = self.view.source.options.application_name
        return Response(self._page.sign_in(application, wrong), status, media_type="text/html")


def _in_time(send: Send) -> Send:
    async def send_in_time(message: Message) -> None:
        with anyio.move_on_after(PATIENCE):
            await send(message)
            return
        raise SlowClientError

    return send_in_time
