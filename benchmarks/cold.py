"""A process from its start to its ready line, and from SIGTERM to its end.

The hosts write their log lines through loguru; by hand the same lines are printed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks._measure import RAW, Figures, Row, child_environment, interleave

REPEATS = 3
SETTLE = 0.05
"""Seconds from the ready line to SIGTERM, for what a process does after it."""

CYCLE_TIMEOUT = 30.0
START, EXIT = "start to ready", "SIGTERM to exit"
NAME = "measured"

HOST = """
from hostkit import BackgroundService, HostBuilder, StoppingToken


class Waiting(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


builder = HostBuilder()
builder.add_service(Waiting())
host = builder.build()

if __name__ == "__main__":
    host.run()
"""

BY_HAND = """
import signal
import sys
import time

from {library} import Event


class Waiting:
    async def execute(self, stop: Event) -> None:
        await stop.wait()


def log(line: str) -> None:
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    print(f"{{stamp}}.{{int(now % 1 * 1000):03}} | INFO     | app | {{line}}", file=sys.stderr, flush=True)
"""

RAW_ANYIO = """
import anyio


async def main() -> None:
    began = time.perf_counter()
    stop = Event()
    log("starting app with 1 service")
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(Waiting().execute, stop)
            log(f"started 1 service in {time.perf_counter() - began:.2f} s")
            number = await anext(signals)
            began = time.perf_counter()
            log(f"stopping: signal {number.name}")
            stop.set()
    log(f"stopped in {time.perf_counter() - began:.2f} s, exit code 0")


anyio.run(main)
"""

RAW_ASYNCIO = """
import asyncio


async def main() -> None:
    began = time.perf_counter()
    stop, signalled = Event(), Event()
    log("starting app with 1 service")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(Waiting().execute(stop))
        log(f"started 1 service in {time.perf_counter() - began:.2f} s")
        await signalled.wait()
        began = time.perf_counter()
        log("stopping: signal SIGTERM")
        stop.set()
    log(f"stopped in {time.perf_counter() - began:.2f} s, exit code 0")


asyncio.run(main())
"""


def measure(rounds: int) -> list[Row]:
    """Start and stop every kind of process, in turn."""
    with tempfile.TemporaryDirectory(prefix="hostkit-benchmark-") as name:
        directory = Path(name)
        app = _write(directory / "app.py", HOST)
        anyio_app = _write(directory / "raw_anyio.py", BY_HAND.format(library="anyio") + RAW_ANYIO)
        asyncio_app = _write(directory / "raw_asyncio.py", BY_HAND.format(library="asyncio") + RAW_ASYNCIO)
        python, command = [sys.executable], [str(Path(sys.executable).with_name("hostkit")), "run"]
        variable = {"HOSTKIT_APPLICATION_NAME": NAME}
        flag = ["--application-name", NAME]
        contestants: dict[str, Callable[[], Figures]] = {
            RAW: lambda: cycles([*python, anyio_app], "app"),
            "raw asyncio": lambda: cycles([*python, asyncio_app], "app"),
            "python app.py": lambda: cycles([*python, app], "app"),
            "python app.py, variable": lambda: cycles([*python, app], NAME, **variable),
            "hostkit run app.py": lambda: cycles([*command, app], "app"),
            "hostkit run app.py, variable": lambda: cycles([*command, app], NAME, **variable),
            "hostkit run app.py, flag": lambda: cycles([*command, app, *flag], NAME),
        }
        hosts = [contestant for contestant in contestants if not contestant.startswith("raw")]
        return interleave(
            "process",
            contestants,
            rounds,
            units={START: "ms", EXIT: "ms"},
            budgets={(host, START): 2.6 if "," in host else 1.3 for host in hosts}
            | {(host, EXIT): 1.3 for host in hosts},
        )


def cycles(command: Sequence[str], application: str, **variables: str) -> Figures:
    """Start and stop a process a few times; it has to call itself *application*."""
    done = [cycle(command, application, child_environment(**variables)) for _ in range(REPEATS)]
    return {figure: median(figures[figure] for figures in done) for figure in (START, EXIT)}


def cycle(command: Sequence[str], application: str, environment: dict[str, str]) -> Figures:
    """Start a process, wait for its ready line, send it SIGTERM, and see it end as it should."""
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        # Not wait(timeout), which looks again and again, ever later.
        last_resort = threading.Timer(CYCLE_TIMEOUT, process.kill)
        last_resort.start()
        try:
            assert process.stderr is not None
            lines = [process.stderr.readline()]
            while lines[-1] and "started 1 service" not in lines[-1]:
                lines.append(process.stderr.readline())
            ready = time.perf_counter()
            time.sleep(SETTLE)
            told = time.perf_counter()
            os.kill(process.pid, signal.SIGTERM)
            code = process.wait()
            ended = time.perf_counter()
            lines += process.stderr.readlines()
        finally:
            last_resort.cancel()
            process.kill()
    expected = (f"starting {application} with 1 service", "started 1 service", "stopping: signal SIGTERM", "stopped in")
    assert code == 0, (command, code, lines)
    assert len(lines) == len(expected), (command, lines)
    assert all(words in line for words, line in zip(expected, lines, strict=True)), (command, lines)
    return {START: (ready - began) * 1000, EXIT: (ended - told) * 1000}


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)
