"""The probes of a host: what each answers from before the start to after the end."""

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import anyio
import pytest
from asgi_client import STRANGER, Answer, Client
from puppet import QUIET, Puppet

from hostkit import (
    BackgroundService,
    EndAction,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostState,
    Restart,
    StoppingToken,
)
from hostkit.ext.asgi import ASGIApp
from hostkit.ext.health import health_app

PATHS = ("/startupz", "/livez", "/readyz")


async def answers(
    source: Host | HostBuilder,
    **client: Any,  # noqa: ANN401  # of Client
) -> Mapping[str, tuple[int, str]]:
    """Ask all three of an app that is made now."""
    return await answers_of(health_app(source), **client)


async def answers_of(
    app: ASGIApp,
    **client: Any,  # noqa: ANN401  # of Client
) -> Mapping[str, tuple[int, str]]:
    """Ask all three."""
    asker = Client(app, **client)
    found = {path: await asker.get(path) for path in PATHS}
    return {path: (answer.status, answer.text) for path, answer in found.items()}


class Checked(BackgroundService):
    """A service whose check fails when it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.takes = 0.0
        self.deaf = False
        self.asked = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    async def check(self) -> None:
        self.asked += 1
        with anyio.CancelScope(shield=self.deaf):
            await anyio.sleep(self.takes)
        if self.error is not None:
            raise self.error


class Failing(BackgroundService):
    """A service that fails when it is told to."""

    def __init__(self) -> None:
        self.may_fail = anyio.Event()

    async def execute(self, stopping_token: StoppingToken) -> None:
        with stopping_token.cancel_on_stop():
            await self.may_fail.wait()
            self.may_fail = anyio.Event()
            message = "no route to host"
            raise OSError(message)


async def test_before_the_host_is_built() -> None:
    """An app that was mounted early answers for a host that is to come."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet())

    assert await answers(builder) == {
        "/startupz": (503, "not started\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "not started\n"),
    }


async def test_created() -> None:
    """A host that was not started is alive, and no more."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet())
    host = builder.build()

    expected = {
        "/startupz": (503, "not started\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "not started\n"),
    }
    assert await answers(host) == await answers(builder) == expected


@pytest.mark.parametrize(("limit", "bound"), [(60, "12 s of 60"), (None, "12 s")])
async def test_starting(limit: float | None, bound: str) -> None:
    """While services start, the one that is waited for is named, and for how long it was and may be."""
    builder = HostBuilder(replace(QUIET, startup_timeout=limit))
    builder.add_service(Puppet(), name="first")
    builder.add_service(Puppet(start=30), name="orders")
    host = builder.build()

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(12)
        found = await answers(host)
        await host.stop()

    assert found == {
        "/startupz": (503, f"starting: waiting for orders ({bound})\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "starting\n"),
    }


async def test_started_and_well() -> None:
    """All is well, the check of every service too; a service that has returned is well."""
    builder = HostBuilder(QUIET)
    checked = builder.add_service(Checked(), name="orders")
    builder.add_service(Puppet(run=1), name="done")
    host = builder.build()

    async with host:
        await anyio.sleep(5)
        found = await answers(host)

    assert found == dict.fromkeys(PATHS, (200, "ok\n"))
    assert checked.asked == 1


class TestChecks:
    async def test_a_failing_check_makes_it_unready_only(self) -> None:
        """A dependency that is down takes the process out of its load balancer, and kills it not."""
        builder = HostBuilder(QUIET)
        builder.add_service(Checked(), name="orders").error = ConnectionRefusedError("port 5432")
        host = builder.build()

        async with host:
            found = await answers(host)

        assert found == {
            "/startupz": (200, "ok\n"),
            "/livez": (200, "ok\n"),
            "/readyz": (503, "orders: ConnectionRefusedError: port 5432\n"),
        }

    @pytest.mark.parametrize(
        "client",
        [
            {"peer": STRANGER},
            {"host": "evil.example:9000"},
            {"x-forwarded-for": "127.0.0.1"},
            {"forwarded": "for=127.0.0.1"},
            {"x-real-ip": "127.0.0.1"},
            {"via": "1.1 proxy"},
            {"peer": ("testclient", 1)},
        ],
    )
    async def test_strangers_are_not_told_why(self, client: dict[str, Any]) -> None:
        """What a check has raised may hold addresses and names: it is for this machine alone."""
        builder = HostBuilder(QUIET)
        builder.add_service(Checked(), name="orders").error = ConnectionRefusedError("port 5432")
        host = builder.build()

        async with host:
            found = await answers(host, **client)

        assert found["/readyz"] == (503, "orders: not well\n")

    async def test_a_socket_file_is_of_this_machine(self) -> None:
        """A client without an address has come through a file."""
        builder = HostBuilder(QUIET)
        builder.add_service(Checked(), name="orders").error = OSError("the disk is full")
        host = builder.build()

        async with host:
            found = await answers(host, peer=None)

        assert found["/readyz"] == (503, "orders: OSError: the disk is full\n")

    async def test_an_error_that_cannot_be_shown_is_told_all_the_same(self) -> None:
        """An error whose text fails does not take the answer with it."""

        class OddError(Exception):
            def __str__(self) -> str:
                raise ValueError

        builder = HostBuilder(QUIET)
        builder.add_service(Checked(), name="orders").error = OddError()
        host = builder.build()

        async with host:
            found = await answers(host, peer=None)

        assert found["/readyz"] == (503, "orders: OddError: <exception str() failed>\n")

    async def test_may_be_left_out(self) -> None:
        """Where all instances share a dependency, none of them is better than another."""
        builder = HostBuilder(QUIET)
        checked = builder.add_service(Checked())
        checked.error = OSError()
        host = builder.build()

        async with host:
            answer = await Client(health_app(host, checks=False)).get("/readyz")

        assert (answer.status, answer.text) == (200, "ok\n")
        assert checked.asked == 0

    async def test_are_shared_by_all_who_ask_within_a_second(self) -> None:
        """However many ask, a service is asked once a second."""
        builder = HostBuilder(QUIET)
        checked = builder.add_service(Checked())
        checked.takes = 0.5
        host = builder.build()
        found: list[Answer] = []

        async with host:
            client = Client(health_app(host))

            async def ask() -> None:
                found.append(await client.get("/readyz"))

            for delay in (0.0, 0.4, 0.9, 1.0):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(ask)
                await anyio.sleep(delay)

        assert [answer.status for answer in found] == [200] * 12
        assert checked.asked == 2

    async def test_are_asked_anew_in_the_next_lifecycle(self) -> None:
        """What was wrong when the host was stopped says nothing of the host that was started again."""
        service = Checked()
        builder = HostBuilder(QUIET)
        builder.add_service(service)
        host = builder.build()
        client = Client(health_app(host))

        async with host:
            service.error = OSError("the pool is closed")
            before = await client.get("/readyz")
        service.error = None
        async with host:
            after = await client.get("/readyz")

        assert (before.status, after.status) == (503, 200)

    async def test_have_two_seconds(self) -> None:
        """A check that hangs counts as failed, before the one who asks loses patience."""
        builder = HostBuilder(QUIET)
        builder.add_service(Checked(), name="orders").takes = 60
        host = builder.build()

        async with host:
            began = anyio.current_time()
            found = await Client(health_app(host)).get("/readyz")
            took = anyio.current_time() - began

        assert found.status == 503
        assert found.text.startswith("orders: TimeoutError")
        assert took == 2

    async def test_one_that_cannot_be_cancelled_is_not_asked_twice(self) -> None:
        """Those who ask meanwhile get an answer all the same."""
        builder = HostBuilder(QUIET)
        checked = builder.add_service(Checked())
        checked.takes, checked.deaf = 60, True
        host = builder.build()
        found: list[str] = []

        async with host:
            client = Client(health_app(host))

            async def ask() -> None:
                found.append((await client.get("/readyz")).text)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.sleep(10)
                await ask()

        assert found[0] == "check(): TimeoutError: checks ignore their cancellation\n"
        assert checked.asked == 1

    async def test_one_who_leaves_takes_no_answer_along(self) -> None:
        """When the client that began the checks is cancelled, the next one begins them anew."""
        builder = HostBuilder(QUIET)
        checked = builder.add_service(Checked())
        checked.takes = 1
        host = builder.build()

        async with host:
            client = Client(health_app(host))
            async with anyio.create_task_group() as group:
                with anyio.move_on_after(0.5):
                    await client.get("/readyz")
                group.start_soon(client.get, "/readyz")
                await anyio.sleep(0.1)
                answer = await client.get("/readyz")

        assert answer.status == 200
        assert checked.asked == 2


async def test_restarting() -> None:
    """A service that is between two runs makes the host unready."""
    builder = HostBuilder(QUIET)
    feed = builder.add_service(Failing(), name="feed", on_failure=Restart())
    host = builder.build()

    async with host:
        feed.may_fail.set()
        await anyio.sleep(0.1)
        found = await answers(host)
        await anyio.sleep(5)
        later = await answers(host)

    assert found == {
        "/startupz": (200, "ok\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "feed: restarting\n"),
    }
    assert later == dict.fromkeys(PATHS, (200, "ok\n"))


async def test_failed_and_ignored() -> None:
    """Whose failure is ignored is not asked about it: never to be ready again would not be ignoring it."""
    builder = HostBuilder(QUIET)
    feed = builder.add_service(Failing(), name="feed", on_failure=EndAction.IGNORE)
    builder.add_service(Puppet())
    host = builder.build()

    async with host:
        feed.may_fail.set()
        await anyio.sleep(0.1)
        found = await answers(host)

    assert found == dict.fromkeys(PATHS, (200, "ok\n"))


async def test_stalled() -> None:
    """A stall makes the host unready; it kills it not, for a query that hangs is a stall too."""
    builder = HostBuilder(QUIET)

    @builder.service(name="sync", heartbeat_timeout=60)
    async def sync(stopping_token: StoppingToken) -> None:
        await anyio.sleep(95)

    host = builder.build()

    async with anyio.create_task_group() as group:
        await host.start()
        await anyio.sleep(80)
        found = await answers(host)
        group.start_soon(host.stop)
        await host.lifetime.wait_stopping()

    assert found["/livez"] == found["/startupz"] == (200, "ok\n")
    assert found["/readyz"] == (503, "sync: stalled 80 s\n")


async def test_a_stop_that_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the stop delay everything runs on, but new requests are to go elsewhere."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet())
    host = builder.build()

    async with host:
        app = health_app(host)
        announced = replace(host.status(), seconds_to_stop=4.2, stop_reason="signal SIGTERM", ready=False)
        monkeypatch.setattr(Host, "status", lambda self, lines: announced)
        found = await answers_of(app)

    assert found == {
        "/startupz": (200, "ok\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "stopping in 4 s: signal SIGTERM\n"),
    }


async def test_stopping() -> None:
    """From the stop on it is unready for the reason that it stops; it is alive: killed now, it could not finish."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(drain=5))
    host = builder.build()

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(host.stop, "signal SIGTERM")
        await host.lifetime.wait_stopping()
        found = await answers(host)

    assert found == {
        "/startupz": (200, "ok\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "stopping: signal SIGTERM\n"),
    }


async def test_stopped() -> None:
    """A host that has ended as it was told is unready; nothing of it needs to be killed."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet())
    host = builder.build()
    app = health_app(host)

    async with host:
        pass

    assert await answers_of(app) == {
        "/startupz": (200, "ok\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (503, "stopped: the end of async with\n"),
    }


async def test_a_start_that_failed() -> None:
    """A host whose start has failed never was ready."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(fails="start"), name="orders")
    host = builder.build()
    app = health_app(host)

    with pytest.raises(HostFailedError):
        await host.start()
    found = await answers_of(app)

    assert found["/livez"] == (200, "ok\n")
    assert found["/startupz"][0] == found["/readyz"][0] == 503
    assert found["/startupz"][1].startswith("stopped: ")


async def test_abandoned() -> None:
    """What was abandoned runs on, and only the end of the process ends it: the one case in which that is asked for."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet())
    deaf = builder.add_service(Deaf(), name="sync")
    host = builder.build()

    with pytest.raises(HostFailedError):
        async with host:
            pass
    found = await answers(host)
    deaf.may_end.set()
    await anyio.sleep(1)

    assert host.lifetime.state is HostState.STOPPED
    assert found["/livez"] == (503, "sync: abandoned\n")
    assert found["/readyz"][0] == 503


class Deaf(BackgroundService):
    """A service that ignores everything until the test lets it go."""

    def __init__(self) -> None:
        self.may_end = anyio.Event()

    async def execute(self, stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            while not self.may_end.is_set():
                try:
                    await self.may_end.wait()
                except anyio.get_cancelled_exc_class():
                    continue


class TestHTTP:
    @pytest.fixture
    async def client(self) -> Client:
        return Client(health_app(HostBuilder(QUIET)))

    async def test_an_answer_is_plain_text_that_is_not_kept(self, client: Client) -> None:
        """No cache between may answer for the host."""
        answer = await client.get("/livez")

        assert answer.headers == {
            "content-type": "text/plain; charset=utf-8",
            "content-length": "3",
            "cache-control": "no-store",
        }

    async def test_head_has_no_body(self, client: Client) -> None:
        """HEAD is answered as GET is, without the text."""
        answer = await client.request("HEAD", "/readyz")

        assert (answer.status, answer.body) == (503, b"")
        assert answer.headers["content-length"] == "12"

    async def test_other_methods_are_refused(self, client: Client) -> None:
        """A probe changes nothing."""
        answer = await client.request("POST", "/livez")

        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD"

    @pytest.mark.parametrize("path", ["/", "/livez/", "/healthz", "//livez"])
    async def test_there_is_nothing_else(self, client: Client, path: str) -> None:
        """Other paths are not found."""
        assert (await client.get(path)).status == 404

    async def test_may_be_mounted(self) -> None:
        """Below the path of another app it is what it is."""
        client = Client(health_app(HostBuilder(QUIET)), root_path="/ops")

        assert (await client.get("/livez")).status == 200

    async def test_is_for_http_only(self) -> None:
        """A server that asks it for a lifespan is told, as the protocol has it, that it has none."""

        async def never(*_: object) -> MutableMapping[str, Any]:
            raise AssertionError

        with pytest.raises(RuntimeError, match="the probes answer HTTP only, got 'lifespan'"):
            await health_app(HostBuilder(QUIET))({"type": "lifespan"}, never, never)  # type: ignore[arg-type]

    async def test_a_name_that_has_no_encoding(self) -> None:
        """Whatever a service is called, there is an answer."""
        builder = HostBuilder(QUIET)

        class Odd(HostedService):
            async def check(self) -> None:
                raise OSError

        builder.add_service(Odd(), name="\ud800")
        builder.add_service(Puppet())
        host = builder.build()

        async with host:
            answer = await Client(health_app(host)).get("/readyz")

        assert answer.text == "\\ud800: OSError\n"
