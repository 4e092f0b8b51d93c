"""The sample with a web process and workers, as its reader runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from children import HOSTKIT, PYTHON, Child, directory
from durable import Database, Server, free_port

SAMPLE = Path(__file__).parents[2] / "samples" / "orders"
PATIENCE = 60.0


def request(port: int, path: str, body: object = None) -> dict[str, object]:
    """Ask the web process."""
    data = None if body is None else json.dumps(body).encode()
    asked = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})  # ours
    with urlopen(asked, timeout=PATIENCE) as response:  # noqa: S310  # likewise
        answer: dict[str, object] = json.load(response)
    return answer


def look_until_confirmed(port: int, number: object) -> dict[str, object]:
    """Return an order when it is confirmed."""
    deadline = time.monotonic() + PATIENCE
    while not (order := request(port, f"/orders/{number}"))["confirmed"]:
        assert time.monotonic() < deadline, order
        time.sleep(0.1)
    return order


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working directory that the user of a server can reach."""
    with directory() as path:
        yield path


@pytest.mark.parametrize("command", [PYTHON, (*HOSTKIT, "run")], ids=["python", "hostkit"])
def test_two_commands_and_nothing_else(command: tuple[str, ...], folder: Path) -> None:
    """Web process and worker share a PostgreSQL that they start, and an order is paid and confirmed."""
    port = free_port()
    environment = {"WEB_PORT": str(port), "PAYMENT_FAILURES": "0"}
    with (
        Child(*command, SAMPLE / "web.py", cwd=folder, env=environment) as web,
        Child(*command, SAMPLE / "worker.py", cwd=folder, env=environment) as worker,
    ):
        for child in (web, worker):
            assert child.wait_for(lambda line: "started 4 services" in line or "started 3 services" in line), child.text
        number = request(port, "/orders", {"customer": "Ada", "amount": 12.5})["order"]
        order = look_until_confirmed(port, number)
        codes = []
        for child in (web, worker):
            child.send(signal.SIGTERM)
            codes.append(child.end())

    assert order["payment"] == f"paid order-{number}", worker.text
    assert codes == [0, 0], worker.text
    assert any(line.endswith(f"order {number} is paid") for line in worker.lines)
    assert any(line.endswith(f"mail to Ada: order {number} is on its way") for line in worker.lines)
    assert any("report of " in line for line in worker.lines)
    assert not any("Traceback" in line for line in web.lines)


PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import web
from urllib.request import Request, urlopen
from anyio import to_thread

@web.builder.service()
async def customer(stopping_token):
    for _ in range(2):
        body = json.dumps({"customer": "Ada", "amount": 1}).encode()
        request = Request(f"http://127.0.0.1:{web.web.port}/orders", body, {"Content-Type": "application/json"})
        with await to_thread.run_sync(urlopen, request) as response:
            response.read()
    tasks = sorted(name for name in web.app.tasks if not name.startswith(("builtin", "procrastinate")))
    print("SEEN", json.dumps({"worker": "worker" in sys.modules, "tasks": tasks}), flush=True)
    web.builder.lifetime.request_stop()
"""


def test_the_web_process_never_imports_the_jobs_code(server: Server, folder: Path) -> None:
    """It takes orders, and knows of the jobs nothing but their names."""
    database = Database(server, server.new_database())
    source = (SAMPLE / "web.py").read_text().replace("host = builder.build()\n", "")
    for name, text in (("web.py", source), ("common.py", (SAMPLE / "common.py").read_text())):
        (folder / name).write_text(text)
    environment = {"WEB_PORT": "0", "DATABASE_URL": database.uri}
    code = f"{PROBE}\nweb.builder.build().run()"
    with Child(sys.executable, "-c", code, folder, cwd=folder, env=environment) as child:
        line = child.wait_for(lambda line: line.startswith("SEEN "))
        assert line, child.text
        code_of_the_child = child.end()

    assert json.loads(line.removeprefix("SEEN ")) == {"worker": False, "tasks": []}
    assert code_of_the_child == 0, child.text
    jobs = database.execute("SELECT task_name, lock, queueing_lock FROM procrastinate_jobs ORDER BY id")
    assert jobs == [
        ("orders.charge", "order-1", None),
        ("orders.confirm", "order-1", None),
        ("reports.build", None, "report"),
        ("orders.charge", "order-2", None),
        ("orders.confirm", "order-2", None),
    ]
    assert database.execute("SELECT count(*)::int FROM orders") == [(2,)]


RUN_TWICE = """
import sys
sys.path.insert(0, sys.argv[1])
import anyio, worker

async def main():
    await worker.database.start()
    async with worker.database.connection() as connection:
        await connection.execute("INSERT INTO orders (customer, amount) VALUES ('Ada', 12.5)")
    for _ in range(3):
        for job in (worker.charge, worker.confirm):
            await job(order=1)
    await worker.build_report(timestamp=0)
    await worker.build_report(timestamp=0)
    async with worker.database.connection() as connection:
        order = await (await connection.execute("SELECT payment FROM orders")).fetchall()
        report = await (await connection.execute("SELECT day::text, orders, paid::text FROM reports")).fetchall()
    await worker.database.stop()
    print("SEEN", order, dict(worker.payments.payments), report, flush=True)

anyio.run(main)
"""


def test_every_job_may_run_twice(server: Server, folder: Path) -> None:
    """An order is charged once, and confirmed once, however often its jobs run."""
    uri = server.new_database()
    environment = {**os.environ, "DATABASE_URL": uri, "PAYMENT_FAILURES": "0"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_TWICE, SAMPLE],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == (
        "SEEN [('paid order-1',)] {'order-1': Decimal('12.5')} [('1970-01-01', 1, '12.5')]"
    )
    assert done.stderr.count("mail to Ada: order 1 is on its way") == 1
