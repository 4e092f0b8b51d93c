"""A web server as a service: uvicorn inside the host, over real connections."""

import errno
import logging
import re
import signal
import socket
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from loguru import logger
from puppet import QUIET, Puppet, PuppetError, build, trace

from hostkit import Host, HostFailedError, HostOptions, HostState, HostStateError, StopTimeoutError
from hostkit.events import HostEvent
from hostkit.ext.asgi import ASGIApp, Receive, Send

if TYPE_CHECKING:
    from hostkit.ext.uvicorn import WebServer

pytestmark = [pytest.mark.needs("uvicorn"), pytest.mark.real_time]
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
HASTY = HostOptions(log_level="CRITICAL", shutdown_timeout=0.2, cancellation_timeout=1)
ORDERLY = ["stopping b", "stopped b", "stopping a", "stopped a"]


class App:
    """An app that answers when it is allowed to, and takes part in the lifespan as it is told."""

    def __init__(self, *, lifespan: str = "yes") -> None:
        self.lifespan = lifespan
        self.steps: list[str] = []
        self.entered = anyio.Event()
        self.may_answer = anyio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["path"] == "/slow":
            self.entered.set()
            try:
                await self.may_answer.wait()
            finally:
                self.steps.append("request ended")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})

    async def _live(self, receive: Receive, send: Send) -> None:
        assert self.lifespan != "none"
        await receive()
        if self.lifespan == "hangs":
            self.entered.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.steps.append("lifespan ended")
        if self.lifespan.startswith("startup fails"):
            await send({"type": "lifespan.startup.failed"})
            if self.lifespan == "startup fails and raises":
                raise PuppetError
            return
        self.steps.append("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.steps.append("shutdown")
        if self.lifespan == "shutdown fails":
            raise PuppetError
        await send({"type": "lifespan.shutdown.complete"})


def hosted(
    app: ASGIApp, *before: Puppet, options: HostOptions = QUIET, **server: object
) -> tuple[Host, "WebServer", list[HostEvent]]:
    """Return a host of services a, b, c …, and a web server behind them; its port is free."""
    from hostkit.ext.uvicorn import WebServer

    web = WebServer(app, **{"port": 0, **server})  # type: ignore[arg-type]
    host, events = build(*before, web, options=options)
    return host, web, events


async def get(port: int, path: str = "/") -> str:
    """Ask for *path* and return the whole answer, as far as it came."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        async for data in stream:
            answer += data
    return answer.decode()


async def refusing(port: int) -> None:
    """Return when nobody accepts connections to *port* any more."""
    while True:
        try:
            await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
        except OSError:
            return


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged through loguru, with the name of the service."""
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(line.rstrip()), format="{extra[service]}: {message}", level="INFO")
    yield logged
    logger.remove(sink)


@ONLY_ASYNCIO
class TestServing:
    async def test_serves_as_long_as_the_host_lives(self) -> None:
        """The server is ready when it can be asked, and stops before what was added before it."""
        app = App()
        host, web, events = hosted(app, Puppet())

        async with host:
            answer = await get(web.port)

        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert answer.endswith("hello\r\n0\r\n\r\n")
        assert app.steps == ["startup", "shutdown"]
        assert trace(events)[-4:] == ORDERLY
        with pytest.raises(OSError, match="All connection attempts failed"):
            await get(web.port)

    async def test_finishes_requests_before_the_services_stop(self) -> None:
        """At the stop no connection is accepted any more, and what has begun is finished while the services live."""
        app, puppet = App(), Puppet()
        host, web, _ = hosted(app, puppet)
        answers = []

        async def ask() -> None:
            answers.append(await get(web.port, "/slow"))

        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(ask)
            await app.entered.wait()
            group.start_soon(host.stop)
            await host.lifetime.wait_stopping()
            await refusing(web.port)
            calls = list(puppet.calls)
            app.may_answer.set()

        assert answers[0].startswith("HTTP/1.1 200 OK")
        assert calls == ["start", "execute"]
        assert app.steps == ["startup", "request ended", "shutdown"]
        assert host.lifetime.exit_code == 0

    async def test_cancels_requests_that_are_not_finished_in_time(self) -> None:
        """Past the deadline requests are cancelled, and the app's lifespan still ends."""
        app = App()
        host, web, _ = hosted(app, options=HASTY)
        answers = []

        async def ask() -> None:
            answers.append(await get(web.port, "/slow"))

        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(ask)
            await app.entered.wait()
            with pytest.RaisesGroup(StopTimeoutError):
                await host.stop()

        assert answers[0].startswith("HTTP/1.1 500 ")
        assert app.steps == ["startup", "request ended", "shutdown"]
        assert host.lifetime.exit_code == 1

    async def test_cuts_the_connections_of_what_ignores_that(self) -> None:
        """A request that ignores its cancellation is left behind without its connection; the host ends."""
        app = App()
        left = anyio.Event()

        async def deaf(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                with anyio.CancelScope(shield=True):
                    while not app.may_answer.is_set():
                        try:
                            app.entered.set()
                            await app.may_answer.wait()
                        except anyio.get_cancelled_exc_class():
                            continue
                left.set()

        host, web, _ = hosted(deaf, options=HASTY)
        answers = []

        async def ask() -> None:
            answers.append(await get(web.port, "/slow"))

        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(ask)
            await app.entered.wait()
            with pytest.raises(HostFailedError):
                await host.stop()
        app.may_answer.set()
        await left.wait()

        assert answers == [""]

    async def test_starts_again(self) -> None:
        """A second life, and a restart, binds anew and starts the app's lifespan anew."""
        app = App()
        host, web, _ = hosted(app)

        for _ in range(2):
            async with host:
                assert "hello" in await get(web.port)

        assert app.steps == ["startup", "shutdown"] * 2

    async def test_serves_an_app_without_a_lifespan(self) -> None:
        """An app that knows no lifespan is served all the same."""
        host, web, _ = hosted(App(lifespan="none"))

        async with host:
            assert "hello" in await get(web.port)

        assert host.lifetime.failure is None

    async def test_touches_no_signal_handler(self) -> None:
        """The signals are the host's, or the embedder's."""
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        host, _, _ = hosted(App())

        async with host:
            during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

        assert during == before

    async def test_logs_where_the_app_logs(self, lines: list[str]) -> None:
        """Its own line tells where it listens, in the service's name; uvicorn's loggers are left as they are."""
        host, web, _ = hosted(App())

        async with host:
            await get(web.port)
            handlers = [logging.getLogger(name).handlers for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]

        assert lines == [f"a: listening on http://127.0.0.1:{web.port}"]
        assert handlers == [[], [], []]

    async def test_tells_an_ipv6_address_as_one_writes_it(self, lines: list[str]) -> None:
        """An IPv6 address stands in brackets."""
        try:
            host, web, _ = hosted(App(), host="::1")
            await host.start()
        except HostFailedError:
            pytest.skip("this machine has no IPv6")
        await host.stop()

        assert lines == [f"a: listening on http://[::1]:{web.port}"]


@ONLY_ASYNCIO
class TestFailedStart:
    async def test_a_port_that_is_taken_is_a_failed_start(self) -> None:
        """The error names the address; the app was not even started, and what had started has stopped."""
        app, puppet = App(), Puppet()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            host, _, _ = hosted(app, puppet, port=port)

            with pytest.raises(HostFailedError) as caught:
                await host.start()

        (error,) = caught.value.exceptions
        assert isinstance(error, OSError)
        assert error.errno == errno.EADDRINUSE
        assert re.fullmatch(rf".*cannot listen on 127\.0\.0\.1:{port}: .*in use", str(error))
        assert app.steps == []
        assert puppet.calls == ["start", "execute", "stop"]

    async def test_an_error_of_the_lifespan_comes_out_as_it_is(self) -> None:
        """The app's own error is the failure of the service."""
        host, _, _ = hosted(App(lifespan="startup fails and raises"))

        with pytest.RaisesGroup(PuppetError):
            await host.start()

    async def test_a_lifespan_that_only_tells_of_its_failure(self) -> None:
        """A startup that failed without an error is a failure too."""
        host, _, _ = hosted(App(lifespan="startup fails"))

        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="told of a failed startup, and raised no error")):
            await host.start()

    async def test_a_stop_during_the_lifespans_start_ends_it(self) -> None:
        """A pending start is cancelled, and the app's lifespan with it."""
        app = App(lifespan="hangs")
        host, _, _ = hosted(app)

        async with anyio.create_task_group() as group:
            group.start_soon(host.start)
            await app.entered.wait()
            await host.stop()

        assert host.lifetime.state is HostState.STOPPED

        assert app.steps == ["lifespan ended"]


@ONLY_ASYNCIO
async def test_an_error_of_the_lifespans_end_is_a_failure() -> None:
    """What the app raises at its end is not lost, also where uvicorn would take it for an app without a lifespan."""
    host, _, _ = hosted(App(lifespan="shutdown fails"))

    with pytest.RaisesGroup(PuppetError):
        async with host:
            pass


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_needs_asyncio() -> None:
    """On trio the start fails, and says what to do."""
    host, _, _ = hosted(App())

    with pytest.RaisesGroup(pytest.RaisesExc(HostStateError, match="uvicorn needs asyncio or uvloop, not trio")):
        await host.start()


def test_refuses_what_is_no_app() -> None:
    """The app itself is given, not its name."""
    from hostkit.ext.uvicorn import WebServer

    with pytest.raises(TypeError, match="app must be an ASGI app, got 'app:app'"):
        WebServer("app:app")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "complaint"),
    [({"workers": 4, "loop": "uvloop"}, "^loop, workers: not for a web server inside a host"), ({"prot": 1}, "prot")],
)
def test_refuses_options_that_make_no_sense(option: dict[str, object], complaint: str) -> None:
    """Options that belong to the process, and unknown ones, are refused at the line that gives them."""
    from hostkit.ext.uvicorn import WebServer

    with pytest.raises(TypeError, match=complaint):
        WebServer(App(), **option)  # type: ignore[arg-type]
