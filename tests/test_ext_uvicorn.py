"""A web server as a service: uvicorn inside the host, over real connections."""

import asyncio
import errno
import logging
import math
import re
import signal
import socket
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import ByteStream
from crowd import most_accepted_in_a_turn
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
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LAST_REQUEST = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
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
    stream = await anyio.connect_tcp("127.0.0.1", port)
    return await read_all(stream, f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")


async def read_all(stream: ByteStream, request: str = "") -> str:
    """Send *request* and return what comes until the connection is closed, in whichever way."""
    answer = b""
    async with stream:
        with suppress(anyio.BrokenResourceError):
            await stream.send(request.encode())
            async for data in stream:
                answer += data
    return answer.decode()


async def receive_until(stream: ByteStream, end: bytes) -> bytes:
    """Return what comes up to *end*."""
    answer = b""
    while end not in answer:
        answer += await stream.receive()
    return answer


async def refusing(port: int) -> None:
    """Return when connections to *port* are no longer accepted."""
    while True:
        try:
            await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
        except OSError:
            return


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged through loguru in the name of a service."""
    logged: list[str] = []
    sink = logger.add(
        lambda line: logged.append(line.rstrip()),
        format="{extra[service]}: {message}",
        filter=lambda record: "service" in record["extra"],
    )
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
        """A second lifecycle, and a restart, binds anew and starts the app's lifespan anew."""
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

    async def test_every_answer_has_its_date(self) -> None:
        """The header is that of the request's second, though nothing renews it meanwhile."""
        host, web, _ = hosted(App())

        async with host:
            before = datetime.now(UTC).replace(microsecond=0)
            answer = await get(web.port)
            after = datetime.now(UTC)

        date = re.search(r"\r\ndate: (.*)\r\n", answer)
        assert date
        assert before <= parsedate_to_datetime(date[1]) <= after

    async def test_leaves_the_date_out_when_told(self) -> None:
        """The options of uvicorn about headers hold."""
        host, web, _ = hosted(App(), date_header=False, server_header=False, headers=[("x-here", "yes")])

        async with host:
            answer = await get(web.port)

        assert "\r\nx-here: yes\r\n" in answer
        assert "date:" not in answer
        assert "server:" not in answer

    async def test_does_not_wake_the_loop_between_requests(self) -> None:
        """Nothing waits for a time to come: the next thing to happen is a connection."""
        host, web, _ = hosted(App())

        async with host:
            await get(web.port)
            timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            waits = [timer for timer in timers if not timer.cancelled() and timer.when() < math.inf]

        assert waits == []

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no socket files")
    async def test_listens_on_a_socket_file(
        self, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file is for this user alone, and goes with the server."""
        monkeypatch.chdir(tmp_path)  # the path of a socket has 107 bytes at most, that of the folder may have them all
        file = tmp_path / "app.sock"
        host, _, _ = hosted(App(), host="unix:app.sock", options=HostOptions())

        async with host:
            mode = file.stat().st_mode
            answer = await read_all(await anyio.connect_unix("app.sock"), "GET / HTTP/1.0\r\n\r\n")

        assert "\r\nhello\r\n" in answer
        assert stat.S_IMODE(mode) == 0o600
        assert lines == ["a: listening on unix:app.sock"]
        assert not file.exists()

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no socket files")
    async def test_leaves_a_socket_file_to_the_server_that_has_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second server fails to start, as on a port that is taken; the file of one that has died is replaced."""
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as died:
            died.bind("app.sock")
        first, _, _ = hosted(App(), host="unix:app.sock")
        second, _, _ = hosted(App(), host="unix:app.sock")

        async with first:
            with pytest.raises(HostFailedError) as caught:
                await second.start()
            answer = await read_all(await anyio.connect_unix("app.sock"), "GET / HTTP/1.0\r\n\r\n")

        (error,) = caught.value.exceptions
        assert isinstance(error, OSError)
        assert (error.errno, str(error.strerror)) == (
            errno.EADDRINUSE,
            "cannot listen on unix:app.sock: another server listens there",
        )
        assert "\r\nhello\r\n" in answer

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no socket files")
    async def test_names_a_socket_file_that_cannot_be(self, tmp_path: Path) -> None:
        """A path that is too long for a socket has no number of the system's; the words are all there is."""
        host, _, _ = hosted(App(), host=f"unix:{tmp_path}/{200 * 'x'}")

        with pytest.raises(HostFailedError) as caught:
            await host.start()

        (error,) = caught.value.exceptions
        assert str(error) == f"cannot listen on unix:{tmp_path}/{200 * 'x'}: AF_UNIX path too long"

    async def test_touches_no_signal_handler(self) -> None:
        """The signals are the host's, or the embedder's."""
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        host, _, _ = hosted(App())

        async with host:
            during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

        assert during == before

    async def test_logs_where_the_app_logs(self, lines: list[str]) -> None:
        """Its own line tells where it listens, in the service's name; uvicorn's loggers are left as they are."""
        host, web, _ = hosted(App(), options=HostOptions())

        async with host:
            await get(web.port)
            handlers = [logging.getLogger(name).handlers for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]

        assert lines == [f"a: listening on http://127.0.0.1:{web.port}"]
        assert handlers == [[], [], []]

    @pytest.mark.parametrize(("level", "names"), [("INFO", ["hostkit.a"]), ("WARNING", [])])
    async def test_its_own_lines_are_lines_of_the_host(
        self, level: str, names: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """They go where the host's lines go, and none is below the host's level."""
        caplog.set_level("INFO")
        host, _, _ = hosted(App(), options=HostOptions(log_level=level, logging="standard"))

        async with host:
            pass

        assert [record.name for record in caplog.records if "listening on" in record.getMessage()] == names

    async def test_an_access_log_is_of_one_server(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where it is switched off, that of another server of the process goes on."""
        caplog.set_level("INFO", "uvicorn.access")
        first, silent, _ = hosted(App(), access_log=False)
        second, talking, _ = hosted(App())

        async with first, second:
            await get(silent.port, "/silent")
            await get(talking.port, "/talking")

        lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
        assert len(lines) == 1
        assert "/talking" in lines[0]

    async def test_tells_an_ipv6_address_as_one_writes_it(self, lines: list[str]) -> None:
        """An IPv6 address stands in brackets."""
        try:
            host, web, _ = hosted(App(), host="::1", options=HostOptions())
            await host.start()
        except HostFailedError:
            pytest.skip("this machine has no IPv6")
        await host.stop()

        assert lines == [f"a: listening on http://[::1]:{web.port}"]


@pytest.fixture(params=["h11", "httptools"])
def http(request: pytest.FixtureRequest) -> str:
    """The implementation of the protocol, which the user may choose."""
    return str(request.param)


@ONLY_ASYNCIO
class TestConnections:
    @pytest.mark.parametrize("sent", ["", "GET / HTT", "GET / HTTP/1.1\r\nHost: test\r\n"])
    async def test_closes_one_that_sends_no_complete_head(self, http: str, sent: str) -> None:
        """A client that says nothing, or half of what it has to say, does not keep its connection."""
        host, web, _ = hosted(App(), head_timeout=0.05, http=http)

        async with host:
            answer = await read_all(await anyio.connect_tcp("127.0.0.1", web.port), sent)

        assert answer == ""

    async def test_closes_one_that_stops_in_a_further_head(self, http: str) -> None:
        """The second request of a connection has the same time."""
        host, web, _ = hosted(App(), head_timeout=0.3, http=http)

        async with host:
            stream = await anyio.connect_tcp("127.0.0.1", web.port)
            await stream.send(REQUEST)
            await receive_until(stream, b"0\r\n\r\n")
            answer = await read_all(stream, "GET / HT")

        assert answer == ""

    @pytest.mark.parametrize(("options", "most"), [({}, 4), ({"accepted_at_once": 1}, 1)])
    async def test_many_new_ones_do_not_block_the_loop(self, options: dict[str, Any], most: int) -> None:
        """They are accepted a few at a time; none of them has to knock again, as they may wait for that."""
        host, web, _ = hosted(App(), **options)

        async with host:
            assert await most_accepted_in_a_turn(web) == most

    async def test_waits_for_what_the_app_has_to_do(self, http: str) -> None:
        """The time is for the head of a request, not for its answer, and begins anew with the next head."""
        app = App()
        host, web, _ = hosted(app, head_timeout=0.3, http=http)

        async with host:
            stream = await anyio.connect_tcp("127.0.0.1", web.port)
            await stream.send(REQUEST.replace(b"/", b"/slow", 1))
            await app.entered.wait()
            await read_all(await anyio.connect_tcp("127.0.0.1", web.port))  # closed later than the first would be
            app.may_answer.set()
            slow = await receive_until(stream, b"0\r\n\r\n")
            await stream.send(REQUEST)
            quick = await receive_until(stream, b"0\r\n\r\n")
            await stream.aclose()

        assert b"hello" in slow
        assert b"hello" in quick

    async def test_answers_requests_that_came_together(self, http: str) -> None:
        """A connection is busy until the last of them has its answer."""
        host, web, _ = hosted(App(), head_timeout=0.3, http=http)

        async with host:
            answer = await read_all(
                await anyio.connect_tcp("127.0.0.1", web.port), (REQUEST * 2).decode() + LAST_REQUEST
            )

        assert answer.count("hello") == 3

    async def test_leaves_a_websocket_alone(self) -> None:
        """A connection that was upgraded has no head to send any more."""
        ended = anyio.Event()

        async def echo(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                await ended.wait()
                await send({"type": "websocket.send", "text": "still here"})
                await send({"type": "websocket.close"})

        host, web, _ = hosted(echo, head_timeout=0.3, ws="wsproto")

        async with host:
            stream = await anyio.connect_tcp("127.0.0.1", web.port)
            await stream.send(
                REQUEST.replace(b"\r\n\r\n", b"\r\n") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
            )
            accepted = await receive_until(stream, b"\r\n\r\n")
            await read_all(await anyio.connect_tcp("127.0.0.1", web.port))
            ended.set()
            said = await receive_until(stream, b"still here")
            await stream.aclose()

        assert accepted.startswith(b"HTTP/1.1 101")
        assert said

    async def test_closes_the_idlest_when_there_are_too_many(self, http: str) -> None:
        """A client with a request under way keeps its connection, whatever others open."""
        app = App()
        host, web, _ = hosted(app, max_connections=3, http=http)

        async with host:
            busy, idle, silent, newest = [await anyio.connect_tcp("127.0.0.1", web.port) for _ in range(4)]
            # The first was the idlest, and made room for the fourth.
            assert await read_all(busy) == ""
            await idle.send(REQUEST.replace(b"/", b"/slow", 1))
            await app.entered.wait()
            further = await anyio.connect_tcp("127.0.0.1", web.port)
            assert await read_all(silent) == ""
            app.may_answer.set()
            answer = await receive_until(idle, b"0\r\n\r\n")
            for stream in (idle, newest, further):
                await stream.aclose()

        assert b"hello" in answer

    async def test_refuses_a_new_one_when_all_are_busy(self) -> None:
        """What is under way is not cut for a client that has just come."""
        app = App()
        host, web, _ = hosted(app, max_connections=1)

        async with host:
            stream = await anyio.connect_tcp("127.0.0.1", web.port)
            await stream.send(REQUEST.replace(b"/", b"/slow", 1))
            await app.entered.wait()
            refused = await read_all(await anyio.connect_tcp("127.0.0.1", web.port))
            app.may_answer.set()
            answer = await receive_until(stream, b"0\r\n\r\n")
            await stream.aclose()

        assert refused == ""
        assert b"hello" in answer

    async def test_makes_room_by_one_that_is_only_being_closed(self) -> None:
        """A client that reads nothing keeps its connection open after the app has given it up, until room is needed."""
        gave_up = anyio.Event()

        async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == "/big":
                await send({"type": "http.response.start", "status": 200})
                with anyio.move_on_after(0.05):
                    await send({"type": "http.response.body", "body": bytes(50_000_000), "more_body": True})
                gave_up.set()
            elif scope["type"] == "http":
                await App()(scope, receive, send)

        host, web, _ = hosted(app, max_connections=1)

        async with host:
            stuck = await anyio.connect_tcp("127.0.0.1", web.port)
            await stuck.send(REQUEST.replace(b"/", b"/big", 1))
            await gave_up.wait()
            answer = await get(web.port)
            await stuck.aclose()

        assert "hello" in answer

    async def test_cuts_what_its_own_deadline_does_not_wait_for(self) -> None:
        """With uvicorn's timeout_graceful_shutdown a request does not hold the stop, and leaves no connection."""
        app = App()
        host, web, _ = hosted(app, timeout_graceful_shutdown=0.05)

        async with host:
            stream = await anyio.connect_tcp("127.0.0.1", web.port)
            await stream.send(REQUEST.replace(b"/", b"/slow", 1))
            await app.entered.wait()
        answer = await read_all(stream)

        assert host.lifetime.exit_code == 0
        assert app.steps == ["startup", "request ended", "shutdown"]
        assert "hello" not in answer


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

        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="reported a failed startup, and raised no error")):
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
    [
        ({"port": "8000"}, "port must be an int from 0 to 65535, got '8000'"),
        ({"port": 65536}, "port must be an int from 0 to 65535, got 65536"),
        ({"head_timeout": 0}, "head_timeout must be a number of seconds above 0, got 0"),
        ({"head_timeout": float("nan")}, "head_timeout must be a number of seconds above 0, got nan"),
        ({"head_timeout": "10"}, "head_timeout must be a number of seconds above 0, got '10'"),
        ({"max_connections": 0}, "max_connections must be an int of 1 or more, got 0"),
        ({"max_connections": 1.5}, "max_connections must be an int of 1 or more, got 1.5"),
        ({"accepted_at_once": 0}, "accepted_at_once must be an int of 1 or more, got 0"),
    ],
)
def test_refuses_numbers_that_make_no_sense(option: dict[str, object], complaint: str) -> None:
    """A port that is none, and a limit that limits nothing, are refused at the line that gives them."""
    from hostkit.ext.uvicorn import WebServer

    with pytest.raises(ValueError, match=complaint):
        WebServer(App(), **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "complaint"),
    [({"workers": 4, "loop": "uvloop"}, "^loop, workers: not for a web server inside a host"), ({"prot": 1}, "prot")],
)
def test_refuses_options_that_make_no_sense(option: dict[str, object], complaint: str) -> None:
    """Options that belong to the process, and unknown ones, are refused at the line that gives them."""
    from hostkit.ext.uvicorn import WebServer

    with pytest.raises(TypeError, match=complaint):
        WebServer(App(), **option)  # type: ignore[arg-type]
