"""A process from its start to its ready line, and from SIGTERM to its end.

The programs are in ``benchmarks/apps``; each writes a line when it is ready. hostkit's and the peers' log lines are
theirs; by hand the same lines as hostkit's are printed. Only the standard library: peers run it as well.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks._measure import RAW, Budget, Contestant, Figure, Figures, Measure
from benchmarks._runner import child_environment

APPS = Path(__file__).parent / "apps"
REPEATS = 3
SETTLE = 0.05
"""Seconds from the ready line to SIGTERM, for what a process does after it."""

CYCLE_TIMEOUT = 60.0
START, EXIT = "start to ready", "SIGTERM to exit"
STARTED, READY = "started ", "ready"
NAME = "measured"
VARIABLE = {"HOSTKIT_APPLICATION_NAME": NAME}
FLAG = ("--application-name", NAME)


def python(count: int, app: str, ready: str, variables: Mapping[str, str] | None = None, says: str = "") -> Figures:
    """Start and stop ``python app.py`` with *count* services, a few times."""
    return cycles(count, [sys.executable, str(APPS / app)], ready, variables or {}, says)


def hostkit_run(count: int, variables: Mapping[str, str], flags: Sequence[str] = (), says: str = "") -> Figures:
    """Start and stop ``hostkit run app.py``, likewise."""
    command = str(Path(sys.executable).with_name("hostkit"))
    return cycles(count, [command, "run", str(APPS / "hostkit_app.py"), *flags], STARTED, variables, says)


def cycles(count: int, command: Sequence[str], ready: str, variables: Mapping[str, str], says: str) -> Figures:
    """Start and stop a process whose lines have *says* in them, and return the medians."""
    environment = child_environment(BENCHMARK_SERVICES=str(count), **variables)
    done = [cycle(command, ready, environment, says) for _ in range(REPEATS)]
    return {figure: median(figures[figure] for figures in done) for figure in (START, EXIT)}


def cycle(command: Sequence[str], ready: str, environment: Mapping[str, str], says: str) -> Figures:
    """Start a process, wait for the line with *ready* in it, send SIGTERM, and see the process end as it should."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        # Not wait(timeout), which looks again and again, ever later.
        last_resort = threading.Timer(CYCLE_TIMEOUT, process.kill)
        last_resort.start()
        try:
            assert process.stderr is not None
            lines = [process.stderr.readline()]
            while lines[-1] and ready not in lines[-1]:
                lines.append(process.stderr.readline())
            is_ready = time.perf_counter()
            time.sleep(SETTLE)
            told = time.perf_counter()
            os.kill(process.pid, signal.SIGTERM)
            code = process.wait()
            ended = time.perf_counter()
            lines += process.stderr.readlines()
        finally:
            last_resort.cancel()
            process.kill()
    text = "".join(lines)
    assert ready in text, (command, text)
    assert says in text, (command, text)
    # uvicorn raises the signal once more when it has shut down.
    assert code == 0 or (code == -signal.SIGTERM and "fastapi" in command[-1]), (command, code, text)
    assert "Traceback" not in text, (command, text)
    return {START: (is_ready - began) * 1000, EXIT: (ended - told) * 1000}


PLAIN = "hostkit, python app.py"
WITH_VALUES = ("hostkit, python app.py, variable", "hostkit run, variable", "hostkit run, flag")
HOSTS = (PLAIN, "hostkit run", *WITH_VALUES)

MEASURES = (
    Measure(
        "cold",
        "a cold process, {size} services",
        (Figure(START, "ms", per_item=False), Figure(EXIT, "ms", per_item=False)),
        (1, 10, 100),
        (
            Contestant(RAW, python, ("raw_anyio_app.py", STARTED)),
            Contestant("raw asyncio", python, ("raw_asyncio_app.py", STARTED)),
            Contestant(PLAIN, python, ("hostkit_app.py", STARTED)),
            Contestant("hostkit, python app.py, variable", python, ("hostkit_app.py", STARTED, VARIABLE, NAME)),
            Contestant("hostkit run", hostkit_run, ({},)),
            Contestant("hostkit run, variable", hostkit_run, (VARIABLE, (), NAME)),
            Contestant("hostkit run, flag", hostkit_run, ({}, FLAG, NAME)),
            *(
                Contestant(name, "benchmarks.cold:python", (f"{name.lower()}_app.py", READY), environment=name.lower())
                for name in ("aiomisc", "localpost", "facet", "FastAPI")
            ),
        ),
        budgets=(
            *(Budget(START, 1, 2.0 if host in WITH_VALUES else 1.25, contestant=host) for host in HOSTS),
            *(Budget(EXIT, 1, 1.2, contestant=host) for host in HOSTS),
        ),
    ),
)
