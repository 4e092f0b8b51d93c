"""Real servers with a host inside: child processes, driven over HTTP.

The app is in ``support/server_app.py``, in several frameworks. These tests need the dependency group ``test-servers``;
``nox -s servers`` runs them.
"""

import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
from children import PATIENCE, PYTHON, Child

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch"),
]
HERE = Path(__file__).parent / "support"
SIGTERM_EXIT_CODE = -signal.SIGTERM


class Server(NamedTuple):
    """A command that serves an app, and how it ends."""

    framework: str
    command: tuple[str, ...]
    exit_code: int
    """When it is told to stop."""
    crash_exit_code: int | None
    """When the host has failed and ends the process; None where the server replaces that process and goes on."""


UVICORN = ("-m", "uvicorn", "server_app:app", "--port", "0")
HYPERCORN = ("-m", "hypercorn", "server_app:app", "--bind", "127.0.0.1:0")
GUNICORN = ("-m", "gunicorn", "server_app:app", "--bind", "127.0.0.1:0", "--config", "python:server_app")
SERVERS = {
    # uvicorn raises the signal again at its end.
    "uvicorn-starlette": Server("starlette", UVICORN, SIGTERM_EXIT_CODE, SIGTERM_EXIT_CODE),
    "uvicorn-fastapi": Server("fastapi", UVICORN, SIGTERM_EXIT_CODE, SIGTERM_EXIT_CODE),
    "uvicorn-litestar": Server("litestar", UVICORN, SIGTERM_EXIT_CODE, SIGTERM_EXIT_CODE),
    "uvicorn-django": Server("django", UVICORN, SIGTERM_EXIT_CODE, SIGTERM_EXIT_CODE),
    # hypercorn does not look at how its worker process has ended, unless it has none.
    "hypercorn-asyncio": Server("starlette", HYPERCORN, 0, 0),
    "hypercorn-trio": Server("starlette", (*HYPERCORN, "--worker-class", "trio"), 0, 0),
    "hypercorn-without-workers": Server("starlette", (*HYPERCORN, "--workers", "0"), 0, 1),
    "gunicorn-flask": Server("flask", (*GUNICORN, "--worker-class", "gthread"), 0, None),
    "gunicorn-flask-post-fork": Server("flask_post_fork", (*GUNICORN, "--worker-class", "gthread"), 0, None),
    "aiohttp": Server("aiohttp", ("server_app.py",), 0, 1),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """One server after the other."""
    return SERVERS[request.param]


@contextmanager
def serving(server: Server, home: Path, *, terminate: bool = False) -> Iterator[tuple[Child, int]]:
    """Run *server* and give it and its port."""
    env = {"FRAMEWORK": server.framework, "HOME": str(home), "HOSTKIT_TERMINATE_ON_FAILURE": str(terminate)}
    with Child(*PYTHON, *server.command, cwd=HERE, env=env) as child:
        line = child.wait_for(lambda line: re.search(r"http://127\.0\.0\.1:\d+", line))
        assert line, child.text
        yield child, int(re.findall(r"127\.0\.0\.1:(\d+)", line)[0])


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and text of an answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def those_of(names: tuple[str, ...], child: Child) -> list[str]:
    """Return the lines that begin with one of *names*, in order."""
    return [line for line in child.lines if line.startswith(names)]


def test_requests_are_finished_while_the_services_live(server: Server, tmp_path: Path) -> None:
    """On SIGTERM what has begun is finished with all services alive; these stop in reverse; then the process ends."""
    with serving(server, tmp_path) as (child, port), ThreadPoolExecutor() as pool:
        healthy = get(port, "/health")
        answer = pool.submit(get, port, "/slow")
        assert child.wait_for(lambda line: line == "request begun"), child.text
        child.send(signal.SIGTERM)
        exit_code = child.end()

    assert healthy[0] == 200
    assert answer.result() == (200, "alive: first last")
    assert those_of(("request", "first stop", "last stop", "host stop"), child) == [
        "request begun",
        "request finished, alive: first last",
        "last stopped",
        "first stopped",
        "host stopped",
    ]
    assert exit_code == server.exit_code, child.text


def test_a_crash_is_seen_at_once(server: Server, tmp_path: Path) -> None:
    """The endpoint that asks the host's status tells of a crashed service, while the server goes on."""
    with serving(server, tmp_path) as (child, port):
        told = get(port, "/crash")
        # A few answers at most may have been on their way already.
        answers = [get(port, "/health") for _ in range(10)]
        child.send(signal.SIGTERM)
        child.end()

    assert told == (200, "told")
    assert answers[-1] == (503, "unwell"), child.text
    assert those_of(("first stop", "host stop"), child) == ["first stopped", "host stopped"]


def test_a_crash_ends_the_process_where_that_is_asked_for(server: Server, tmp_path: Path) -> None:
    """With ``terminate_on_failure`` the other services stop in order, and then the server ends, or its worker does."""
    with serving(server, tmp_path, terminate=True) as (child, port):
        get(port, "/crash")
        if server.crash_exit_code is None:
            assert child.wait_for(lambda line: line == "host stopped"), child.text
            # Not before it serves: gunicorn loses a signal that meets a worker on its way.
            assert child.wait_for(lambda line: line == "first started"), child.text
            assert get(port, "/health")[0] == 200
            child.send(signal.SIGTERM)
        exit_code = child.end()

    stopped = those_of(("first stop", "last stop", "host stop"), child)
    assert stopped[:2] == ["first stopped", "host stopped"]
    assert exit_code == (server.crash_exit_code or 0), child.text


def test_each_worker_process_has_a_host_of_its_own(tmp_path: Path) -> None:
    """With ``uvicorn --workers 2`` every service runs twice, and one that has crashed comes back with its worker."""
    server = Server("starlette", (*UVICORN, "--workers", "2"), 0, None)

    with serving(server, tmp_path, terminate=True) as (child, port):
        for _ in range(2):
            assert child.wait_for(lambda line: "Application startup complete" in line), child.text
        get(port, "/crash")
        assert child.wait_for(lambda line: "Application startup complete" in line), child.text
        child.send(signal.SIGTERM)
        exit_code = child.end()

    assert child.lines.count("first started") == child.lines.count("first stopped") == 3
    assert child.lines.count("last started") == 3
    assert child.lines.count("last stopped") == 2
    assert exit_code == server.exit_code


TEST_CLIENT = """
import sys

from starlette.testclient import TestClient

from server_app import app, host

for _ in range(10):
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert host.status().ready
    assert host.lifetime.state == "stopped"
print("ten times")
"""


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_one_app_is_entered_ten_times(framework: str, tmp_path: Path) -> None:
    """Ten ``TestClient(app)`` in a row, each in an event loop of its own, start and stop one host ten times."""
    with Child(*PYTHON, "-c", TEST_CLIENT, cwd=HERE, env={"FRAMEWORK": framework}) as child:
        exit_code = child.end()

    assert exit_code == 0, child.text
    stopped = those_of(("first stop", "last stop", "host stop"), child)
    assert stopped == ["last stopped", "first stopped", "host stopped"] * 10
    assert child.lines[-1] == "ten times"


KERNEL = '''
from jupyter_client.manager import start_new_kernel

CELLS = """
from hostkit import HostBuilder, HostOptions
builder = HostBuilder(HostOptions(log_level="CRITICAL"))
ticks = 0
@builder.service()
async def ticker(stopping_token):
    global ticks
    while not await stopping_token.sleep(0.01):
        ticks += 1
host = builder.build()
---
await host.start()
print(host.status().ready)
---
import anyio
while not ticks:
    await anyio.sleep(0.01)
print("ticks")
---
await host.stop()
print(host.lifetime.state, host.lifetime.exit_code)
---
async with host:
    print(host.lifetime.state)
print(host.lifetime.state)
---
host.run()
"""


def show(message):
    content = message["content"]
    if message["msg_type"] == "stream":
        print(content["text"], end="")
    elif message["msg_type"] == "error":
        print(content["ename"], content["evalue"], sep=": ")


manager, client = start_new_kernel()
try:
    for cell in CELLS.split("---"):
        client.execute_interactive(cell, timeout=60, output_hook=show)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
'''


def test_a_notebook_starts_and_stops_in_different_cells(tmp_path: Path) -> None:
    """In a Jupyter kernel services live between the cells; ``run()`` says what to do instead."""
    with Child(*PYTHON, "-c", KERNEL, cwd=tmp_path, env={"HOME": str(tmp_path)}) as child:
        exit_code = child.end(60)

    message = "run() cannot be called in a running event loop; use await host.run_async(), or async with host"
    assert exit_code == 0, child.text
    assert child.lines[-6:] == [
        "True",
        "ticks",
        "stopped 0",
        "started",
        "stopped",
        f"HostStateError: {message}",
    ], child.text
