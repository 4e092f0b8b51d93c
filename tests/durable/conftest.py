"""Tests of durable jobs: on PostgreSQL servers that they start themselves, in real time; ``nox -s durable`` runs them.

The server of the wheel always, and Debian's where its packages are, for what is SQL of our own. A server that cannot be
started is an error of every test.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

WITHOUT_EXTRAS = "TEST_WITHOUT_EXTRAS" in os.environ
if WITHOUT_EXTRAS and find_spec("procrastinate") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from durable import DEBIAN, TEMPLATE, Database, Server, debian_server, wheel_server

    HERE = Path(__file__).parent

    def pytest_report_header() -> str:
        """Say which servers there are."""
        return f"PostgreSQL: the wheel's, {f'and that of {DEBIAN[-1]}' if DEBIAN else 'no other is installed'}"

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """Mark everything in this folder."""
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.durable)

    @pytest.fixture
    def anyio_backend() -> tuple[str, dict[str, object]]:
        """Asyncio, with a real clock: a server has no other. A file may have its tests run on uvloop as well."""
        return "asyncio", {}

    @pytest.fixture(scope="session", autouse=True)
    def first_uvloop() -> None:
        """Have the process open what uvloop keeps open from its first loop on."""
        anyio.run(anyio.sleep, 0, backend_options={"use_uvloop": True})

    @pytest.fixture(scope="session")
    def server() -> Iterator[Server]:
        """The server of the wheel."""
        with wheel_server() as running:
            yield running

    @pytest.fixture(scope="session", params=["wheel", *(["debian"] if DEBIAN else [])])
    def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
        """Each kind of server that there is."""
        if request.param == "wheel":
            yield request.getfixturevalue("server")
        else:
            with debian_server() as running:
                yield running

    @pytest.fixture
    def database(server: Server) -> Database:
        """A database with the engine's tables."""
        return Database(server, server.new_database(TEMPLATE))

    @pytest.fixture
    def any_database(any_server: Server) -> Database:
        """The same, on each kind of server."""
        return Database(any_server, any_server.new_database(TEMPLATE))
