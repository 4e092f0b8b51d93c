"""The dashboard as a service, over real connections: from the first service's start to the last one's stop."""

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from children import PATIENCE, PYTHON, Child
from crowd import most_accepted_in_a_turn
from dashboard_host import TOKEN, fail
from puppet import Puppet

from hostkit import Host, HostBuilder, HostFailedError, HostOptions, HostState, HostStateError, StoppingToken
from hostkit.ext.dashboard import Dashboard
from hostkit.jobs import JobQueue

pytestmark = [pytest.mark.needs("starlette", "prometheus_client", "uvicorn"), pytest.mark.real_time]
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
Get = Callable[[str], tuple[int, str]]
Delayed = Callable[[float], AbstractContextManager[tuple[Child, Get]]]
QUIET = HostOptions(log_level="CRITICAL", shutdown_timeout=20, cancellation_timeout=5)


class Server:
    """A host with a dashboard on a free port, and clients of it."""

    def __init__(self, host_options: HostOptions = QUIET, **options: Any) -> None:  # noqa: ANN401  # of Dashboard
        self.builder = HostBuilder(host_options)
        self.dashboard = self.builder.add_service(Dashboard(self.builder, port=0, **options))

    def build(self) -> Host:
        return self.builder.build()

    async def connect(self) -> ByteStream:
        return await anyio.connect_tcp("127.0.0.1", self.dashboard.port)

    async def open(self, path: str) -> ByteStream:
        """Send a request, and leave the connection open."""
        stream = await self.connect()
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return stream

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and body."""
        stream = await self.connect()
        answer = b""
        async with stream:
            await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            async for data in stream:
                answer += data
        head, _, body = answer.decode().partition("\r\n\r\n")
        assert "\r\nserver:" not in head
        return int(head.split()[1]), body


async def buffered(server: Server) -> None:
    """Return when the server holds back what a client does not read."""
    connections = server.dashboard._server._server.server_state.connections
    with anyio.fail_after(30):
        while not any(connection.transport.get_write_buffer_size() for connection in connections):
            await anyio.sleep(0.01)


async def read_until(stream: ByteStream, end: str) -> str:
    """Return what comes up to *end*."""
    text = ""
    while end not in text:
        text += (await stream.receive()).decode()
    return text


@ONLY_ASYNCIO
class TestLife:
    async def test_shows_the_start_of_the_others_and_their_stop(self) -> None:
        """Added first, it answers before the others are ready, and until they have stopped."""
        server = Server()
        may_start, may_stop = anyio.Event(), anyio.Event()

        class Slow(Puppet):
            async def start(self) -> None:
                await may_start.wait()

            async def stop(self) -> None:
                await may_stop.wait()

        server.builder.add_service(Slow(), name="slow")
        host = server.build()
        async with anyio.create_task_group() as group:
            group.start_soon(host.start)
            while server.dashboard.port == 0:
                await anyio.sleep(0.01)
            starting = await server.get("/startupz")
            may_start.set()
            await host.lifetime.wait_started()
            started = await server.get("/startupz")
            group.start_soon(host.stop, "signal SIGTERM")
            await host.lifetime.wait_stopping()
            stopping = await server.get("/readyz")
            may_stop.set()

        assert starting[0] == 503
        assert starting[1].startswith("starting: waiting for slow")
        assert started == (200, "ok\n")
        assert stopping == (503, "stopping: signal SIGTERM\n")
        assert host.lifetime.exit_code == 0
        assert host.status().services[0].details == {"port": server.dashboard.port}

    async def test_tells_open_pages_that_the_host_ends(self) -> None:
        """Streams end by themselves, and do not hold the stop."""
        server = Server()
        server.builder.add_service(Puppet(), name="only")
        host = server.build()

        async with host:
            stream = await server.open("/events")
            begin = await read_until(stream, "event: status")
            host.lifetime.request_stop("signal SIGTERM")
            async with stream:
                end = "".join([part.decode() async for part in stream])

        assert begin.startswith("HTTP/1.1 200 OK")
        assert '{"reason": "signal SIGTERM", "exit_code": 0}' in end
        assert host.lifetime.exit_code == 0

    async def test_tells_it_also_from_among_the_services_of_a_step(self) -> None:
        """The others of its step are waited for as well, and keep nothing from the pages."""
        server = Server()
        builder = HostBuilder(QUIET)
        server.dashboard = Dashboard(builder, port=0)
        builder.add_services(Puppet(), server.dashboard)

        async with builder.build() as host:
            stream = await server.open("/events")
            await read_until(stream, "event: status")
            host.lifetime.request_stop("signal SIGTERM")
            async with stream:
                end = "".join([part.decode() async for part in stream])

        assert '{"reason": "signal SIGTERM", "exit_code": 0}' in end

    async def test_its_own_restart_is_no_end_of_the_host(self) -> None:
        """Streams end, and those that come back are not told that the host has ended."""
        server = Server()
        server.builder.add_service(Puppet(), name="only")

        async with server.build() as host:
            stream = await server.open("/events")
            begin = await read_until(stream, "event: status")
            await host.restart("dashboard")
            async with stream:
                end = "".join([part.decode() async for part in stream])
            async with await server.open("/events") as again:
                await read_until(again, "event: status")
                host.lifetime.request_stop("signal SIGTERM")
                rest = "".join([part.decode() async for part in again])

        assert "event: end" not in begin + end
        assert rest.count("event: end") == 1
        assert '{"reason": "signal SIGTERM", "exit_code": 0}' in rest

    @pytest.mark.parametrize("deaf", [False, True])
    async def test_tells_it_also_after_a_stop_that_took_too_long(self, *, deaf: bool) -> None:
        """Unless a service ignores its cancellation: then the end is not there yet, and how it will be is not known."""
        options = HostOptions(log_level="CRITICAL", shutdown_timeout=0.01, cancellation_timeout=0.2 if deaf else 3)
        server = Server(options)
        until = anyio.Event()

        @server.builder.service(name="slow")
        async def slow(stopping_token: StoppingToken) -> None:
            await stopping_token.wait()
            with anyio.CancelScope(shield=deaf):
                await until.wait()

        host = server.build()
        with suppress(HostFailedError):
            async with host:
                stream = await server.open("/events")
                await read_until(stream, "event: status")
                host.lifetime.request_stop("signal SIGTERM")
                async with stream:
                    end = "".join([part.decode() async for part in stream])
                until.set()

        assert ('{"reason": "signal SIGTERM", "exit_code": 1}' in end) is not deaf

    async def test_a_client_that_reads_nothing_does_not_hold_the_stop(self) -> None:
        """Its connection is cut after two seconds; that is no failure."""
        server = Server()
        queue = server.builder.add_service(JobQueue(history=200), name="mail")
        host = server.build()

        async with host:
            stream = await server.connect()
            raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # not Django's
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            for _ in range(100):
                await queue.with_options(name="n" * 150).enqueue(fail, "e" * 1900)
            await queue.join()
            request = b"GET /history.json?kind=queue&name=mail&limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await stream.send(request * 50)
            await buffered(server)
        await stream.aclose()

        assert host.lifetime.exit_code == 0

    async def test_serves_a_second_life(self) -> None:
        """A host that is started again has its page again, streams too."""
        server = Server()
        server.builder.add_service(Puppet(), name="only")
        host = server.build()

        for _ in range(2):
            async with host:
                status = json.loads((await server.get("/status.json"))[1])
                stream = await server.open("/events")
                await read_until(stream, "event: status")
                await stream.aclose()

        assert status["host"]["state"] == HostState.STARTED

    async def test_asks_for_its_token(self) -> None:
        """A page that others may reach asks everyone."""
        server = Server(host="0.0.0.0", token=TOKEN)  # noqa: S104  # that is the point
        host = server.build()

        async with host:
            status, body = await server.get("/status.json")
            page = await server.get("/")

        assert (status, json.loads(body)) == (401, {"error": "sign in, or send the token"})
        assert page[0] == 303

    async def test_of_a_host_that_is_built_already(self) -> None:
        """Where a host is given, it is that one which is shown."""
        builder = HostBuilder(QUIET)
        builder.add_service(Puppet(), name="other")
        shown = builder.build()
        own = HostBuilder(QUIET)
        dashboard = own.add_service(Dashboard(shown, port=0))

        async with shown, own.build():
            server = Server.__new__(Server)
            server.dashboard = dashboard
            status = json.loads((await server.get("/status.json"))[1])

        assert [row["name"] for row in status["services"]] == ["other"]


@ONLY_ASYNCIO
class TestLoad:
    async def test_a_thousand_streams_are_bounded(self) -> None:
        """Fifty are served, the others are sent away, and the services of the host have their turns all the same."""
        server = Server()
        ticks: list[float] = []

        @server.builder.service(name="ticker")
        async def ticker(stopping_token: StoppingToken) -> None:
            while not await stopping_token.sleep(0.05):
                ticks.append(anyio.current_time())

        host = server.build()
        streams: list[ByteStream] = []
        async with host:

            async def open_one() -> None:
                with suppress(anyio.BrokenResourceError):  # room was needed for another one
                    streams.append(await server.open("/events"))

            for _ in range(10):
                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        group.start_soon(open_one)
            probe = await server.get("/livez")
            before = len(ticks)
            while len(ticks) < before + 5:
                await anyio.sleep(0.01)
            answer = await server.get("/status.json")
            for stream in streams:
                await stream.aclose()

        assert probe == (200, "ok\n")
        assert answer[0] == 200
        assert host.lifetime.exit_code == 0

    async def test_a_crowd_is_let_in_one_by_one(self) -> None:
        """A service has its turn between any two of them."""
        server = Server()

        async with server.build():
            assert await most_accepted_in_a_turn(server.dashboard._server) == 1

    async def test_a_head_without_end_is_refused(self) -> None:
        """A client that sends one header after the other fills no memory, whatever parsers are installed."""
        server = Server()
        answer = b""

        async with server.build():
            stream = await server.connect()
            with suppress(anyio.BrokenResourceError):
                await stream.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
                for _ in range(100):
                    await stream.send(b"X-Filler: " + b"x" * 8_000 + b"\r\n")
                await stream.send(b"\r\n")
                answer = await stream.receive()
            await stream.aclose()

        assert answer.partition(b" ")[2][:3] in {b"", b"400"}

    async def test_slow_clients_do_not_keep_others_out(self) -> None:
        """Three hundred connections that send half a head: the oldest are closed, and a further one is answered."""
        server = Server()
        server.builder.add_service(Puppet(), name="only")
        host = server.build()

        async with host:
            streams = []
            for _ in range(300):
                stream = await server.connect()
                await stream.send(b"GET / HTTP/1.1\r\nHost: loc")
                streams.append(stream)
            answer = await server.get("/livez")
            closed = await _is_closed(streams[0])
            for stream in streams:
                await stream.aclose()

        assert answer == (200, "ok\n")
        assert closed


async def _is_closed(stream: ByteStream) -> bool:
    try:
        await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return True
    return False


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_needs_asyncio() -> None:
    """On trio the start fails, and says what to do."""
    server = Server()

    with pytest.RaisesGroup(pytest.RaisesExc(HostStateError, match="uvicorn needs asyncio or uvloop, not trio")):
        await server.build().start()


@ONLY_ASYNCIO
async def test_a_port_that_is_taken_is_a_failed_start() -> None:
    """As it is for every web server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        builder = HostBuilder(QUIET)
        builder.add_service(Dashboard(builder, port=taken.getsockname()[1]))
        with pytest.raises(HostFailedError, match="cannot listen on"):
            await builder.build().start()


DELAYED = """
import sys
from hostkit import HostBuilder, HostOptions
from hostkit.events import StopAnnounced, StopRequested
from hostkit.ext.dashboard import Dashboard

builder = HostBuilder(HostOptions(stop_delay=float(sys.argv.pop())))
builder.add_service(Dashboard(builder, port=0))

@builder.service()
async def worker(stopping_token):
    await stopping_token.wait()
    print("worker is told", flush=True)

@builder.on_event
def watch(event, instants=[]):
    if isinstance(event, StopAnnounced | StopRequested):
        instants.append(event.at)
        print(type(event).__name__, f"after {instants[-1] - instants[0]} s", flush=True)

builder.build().run()
"""


@pytest.fixture
def delayed(tmp_path: Path) -> Delayed:
    """Runs a host with a stop delay in a process of its own, and asks it."""

    @contextmanager
    def run(delay: float) -> Iterator[tuple[Child, Get]]:
        with Child(*PYTHON, "-c", DELAYED, str(delay), cwd=tmp_path) as child:
            listening = child.wait_for(lambda line: "listening on " in line)
            assert listening, child.text
            assert child.wait_for(lambda line: "| started " in line), child.text

            def get(path: str) -> tuple[int, str]:
                connection = HTTPConnection(listening.rpartition("/")[2], timeout=PATIENCE)
                with closing(connection):
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    return answer.status, answer.read().decode()

            yield child, get

    return run


class TestStopDelay:
    def test_a_signal_makes_it_unready_and_it_serves_on(self, delayed: Delayed) -> None:
        """From SIGTERM on new requests are to go elsewhere; what comes is answered, and no service is told yet."""
        with delayed(3600) as (child, get):
            before = get("/readyz")
            child.send(signal.SIGTERM)
            announced = child.wait_for(lambda line: line.startswith("StopAnnounced "))
            ready, alive, page = get("/readyz"), get("/livez"), get("/")
            status, metrics = json.loads(get("/status.json")[1]), get("/metrics")[1]

        assert announced
        assert before == (200, "ok\n")
        assert ready[0] == 503
        assert re.fullmatch(r"stopping in (3600|35\d\d) s: signal SIGTERM\n", ready[1])
        assert alive == (200, "ok\n")
        assert page[0] == 200
        assert [status["host"][name] for name in ("state", "ready", "healthy")] == ["started", False, True]
        assert [service["state"] for service in status["services"]] == ["started", "started"]
        assert "\nhostkit_host_ready 0.0\n" in metrics
        assert '\nhostkit_host_state{state="started"} 1.0\n' in metrics

    def test_when_it_is_over_the_host_stops(self, delayed: Delayed) -> None:
        """Not before, and by itself."""
        with delayed(0.5) as (child, _):
            child.send(signal.SIGTERM)
            code = child.end()

        assert code == 0
        said = [line for line in child.lines if line.startswith(("Stop", "worker "))]
        assert [line.partition(" after ")[0] for line in said] == ["StopAnnounced", "StopRequested", "worker is told"]
        assert float(said[1].split()[2]) >= 0.5
