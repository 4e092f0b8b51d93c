"""A host round an ASGI app that has no lifespan, driven as a server would, without one."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
from puppet import Puppet, build, trace

from hostkit import Host, HostFailedError, HostState, HostStateError, StoppingToken
from hostkit.ext.asgi import Message, Receive, Send, with_host


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer as Django does: it can handle requests, and nothing else."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})


class Server:
    """A server that speaks the lifespan protocol."""

    def __init__(self, host: Host) -> None:
        self.app = with_host(app, host)
        self.sent: list[Message] = []
        self.error: BaseException | None = None
        self.scope = anyio.CancelScope()
        self._tell, self._told = anyio.create_memory_object_stream[Message](2)
        self._answer, self._answers = anyio.create_memory_object_stream[Message](2)

    async def ask(self, step: str) -> Message:
        self._tell.send_nowait({"type": f"lifespan.{step}"})
        return await self._answers.receive()

    async def _live(self) -> None:
        with self.scope, self._told, self._answer:
            try:
                await self.app({"type": "lifespan"}, self._told.receive, self._send)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # what a server does with any app
                self.error = error

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        await self._answer.send(message)

    @classmethod
    @asynccontextmanager
    async def round(cls, host: Host) -> AsyncIterator[Self]:
        """Serve from here to where the app has ended."""
        server = cls(host)
        with server._tell, server._answers:
            async with anyio.create_task_group() as group:
                group.start_soon(server._live)
                yield server


def types(server: Server) -> list[str]:
    """Return what the app has told the server."""
    return [message["type"] for message in server.sent]


async def test_the_host_lives_as_long_as_the_server() -> None:
    """The server may serve when every service is ready, and may end when every service has stopped."""
    first, second = Puppet(start=2, drain=3), Puppet(start=1)
    host, events = build(first, second)

    async with Server.round(host) as server:
        assert (await server.ask("startup"))["type"] == "lifespan.startup.complete"
        assert anyio.current_time() == 3
        assert host.status().ready
        await anyio.sleep(10)
        assert (await server.ask("shutdown"))["type"] == "lifespan.shutdown.complete"
        assert anyio.current_time() == 16

    assert server.error is None
    assert trace(events)[-4:] == ["stopping b", "stopped b", "stopping a", "stopped a"]
    assert host.lifetime.stop_reason == "the server stops"


async def test_requests_go_to_the_app() -> None:
    """Everything but the lifespan is the app's."""
    host, _ = build(Puppet())
    sent: list[Message] = []

    async def receive() -> Message:
        raise NotImplementedError

    async def send(message: Message) -> None:
        sent.append(message)

    await with_host(app, host)({"type": "http"}, receive, send)

    assert sent == [{"type": "http.response.start", "status": 200}]
    assert host.lifetime.state is HostState.CREATED


async def test_a_host_that_fails_to_start_keeps_the_server_from_starting() -> None:
    """The server is told why."""
    host, _ = build(Puppet(), Puppet(fails="start"))

    async with Server.round(host) as server:
        answer = await server.ask("startup")

    assert isinstance(server.error, HostFailedError)
    assert answer == {
        "type": "lifespan.startup.failed",
        "message": "host failed: PuppetError: start (service 'b') (1 sub-exception)",
    }
    assert host.lifetime.state is HostState.STOPPED


async def test_a_host_that_fails_later_is_told_at_the_stop() -> None:
    """The server goes on after a crash, and is told when it stops."""
    host, _ = build(Puppet(run=1, fails="execute"))

    async with Server.round(host) as server:
        await server.ask("startup")
        await anyio.sleep(5)
        assert types(server) == ["lifespan.startup.complete"]
        await server.ask("shutdown")

    assert isinstance(server.error, HostFailedError)
    assert types(server) == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert "PuppetError: execute (service 'a')" in server.sent[1]["message"]


async def test_a_host_that_runs_already_keeps_the_server_from_starting() -> None:
    """No error of the start is left unsaid: a server takes an app that only raises for one without a lifespan."""
    host, _ = build(Puppet())

    async with host:
        async with Server.round(host) as server:
            answer = await server.ask("startup")
        assert host.status().ready

    assert isinstance(server.error, HostStateError)
    assert answer["type"] == "lifespan.startup.failed"
    assert "the host is started" in answer["message"]


async def test_a_service_that_exits_at_the_start_keeps_the_server_from_starting() -> None:
    """A SystemExit of a service is told too."""

    async def leave(stopping_token: StoppingToken) -> None:
        raise SystemExit(4)

    host, _ = build(leave, Puppet(start=1))

    async with Server.round(host) as server:
        answer = await server.ask("startup")

    assert isinstance(server.error, SystemExit)
    assert answer == {"type": "lifespan.startup.failed", "message": "4"}


async def test_a_cancelled_server_gets_an_ordered_stop() -> None:
    """A server that cancels the lifespan instead of ending it leaves no service behind."""
    host, events = build(Puppet(drain=2), Puppet(drain=3))

    async with Server.round(host) as server:
        await server.ask("startup")
        server.scope.cancel()

    assert trace(events)[-4:] == ["stopping b", "stopped b", "stopping a", "stopped a"]
    assert anyio.current_time() == 5
    assert types(server) == ["lifespan.startup.complete"]


async def test_an_app_is_entered_many_times() -> None:
    """One module-level app, ten servers in a row, as tests do it."""
    puppet = Puppet()
    host, _ = build(puppet)

    for _ in range(10):
        async with Server.round(host) as server:
            await server.ask("startup")
            await server.ask("shutdown")

    assert puppet.calls == ["start", "execute", "stop"] * 10
