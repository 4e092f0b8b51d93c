"""What the manual on durable jobs shows is there."""

import inspect
import re
import signal
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import procrastinate
import pytest
from children import HOSTKIT, PATIENCE, Child, directory
from documents import ROOT, blocks, run

from hostkit import Host
from hostkit.ext import procrastinate as module
from hostkit.ext.procrastinate import ProcrastinateWorker
from hostkit.scheduling import Scheduler

MANUAL = (Path(__file__).parents[2] / "docs" / "durable.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
DEFAULTS = re.findall(r"`(\w+)` \((\d+)(?: s)?\)", MANUAL)


def test_the_first_example_is_a_host() -> None:
    """It has a worker with its task, and a schedule."""
    names = run(BLOCKS[0])

    assert isinstance(names["host"], Host)
    assert "mail.welcome" in names["app"].tasks
    assert isinstance(names["scheduler"], Scheduler)
    assert list(names["scheduler"].jobs) == ["nightly-report"]


@pytest.mark.parametrize(("option", "value"), sorted(set(DEFAULTS)))
def test_the_defaults_are_those_that_are_named(option: str, value: str) -> None:
    """Each number that the manual names as a default is one."""
    assert inspect.signature(ProcrastinateWorker).parameters[option].default == int(value)


def test_the_names_are_there() -> None:
    """Every public name stands in the manual, and every method of the worker that it tells of exists."""
    methods = set(re.findall(r"`(?:worker\.)?(\w+)\((?:id|limit)?\)`", MANUAL))

    assert methods >= {"counts", "failed", "recent", "retry", "cancel", "delete", "details", "check"}
    assert [
        name for name in sorted(methods - {"excluding", "should_abort"}) if not hasattr(ProcrastinateWorker, name)
    ] == []
    assert [name for name in module.__all__ if name not in MANUAL] == ["JobSummary", "WorkerNotRunningError"]


def test_the_engine_can_delete_old_jobs() -> None:
    """The method that the manual names is one of the engine's, with that argument."""
    assert "nb_hours" in inspect.signature(procrastinate.manager.JobManager.delete_old_jobs).parameters


def test_web_and_worker_apart_are_one_app() -> None:
    """The three files of the guide: what the web process takes, the worker does, in the database that they share."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with directory() as folder:
        for block in blocks(ROOT / "docs" / "howto" / "durable.md"):
            code = block.text.replace("port=8000", f"port={port}")
            (folder / block.file_name).write_text(code, encoding="utf-8")
        with (
            Child(*HOSTKIT, "run", "web.py", cwd=folder) as web,
            Child(*HOSTKIT, "run", "worker.py", cwd=folder) as worker,
        ):
            assert web.wait_for(lambda line: "| hostkit | started" in line, within=4 * PATIENCE), web.text
            with urlopen(Request(f"http://127.0.0.1:{port}/users/7", b""), timeout=PATIENCE) as response:
                assert response.status == 200
            done = worker.wait_for(lambda line: "welcome, user 7" in line, within=4 * PATIENCE)
            web.send(signal.SIGTERM)
            worker.send(signal.SIGTERM)
            exit_codes = (web.end(), worker.end())

    assert done, worker.text
    assert exit_codes == (0, 0)


def test_the_blocks_are_found() -> None:
    """The code is found, so that none is left untested in silence."""
    assert len(BLOCKS) == MANUAL.count("```python") == 3
    assert {option for option, _ in DEFAULTS} >= {"stalled_after", "heartbeat_every", "sweep_every", "crash_limit"}
