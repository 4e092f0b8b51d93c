"""The page on embedding tells what works: every program on it is run, with its command."""

import re
import shlex
import signal
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from children import HOSTKIT, PATIENCE, PYTHON, Child
from documents import ROOT, blocks

# A free port instead of the one that a reader would take.
FREE_PORT = {
    "uvicorn": ["--port", "0"],
    "hypercorn": ["--bind", "127.0.0.1:0"],
    "gunicorn": ["--bind", "127.0.0.1:0"],
    "python": [],
    "hostkit": [],
}
EXIT_CODES = {"uvicorn": -signal.SIGTERM}

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch"),
]


PAGE = ROOT / "docs" / "embedding.md"
PROGRAMS = {block.section: block.text for block in blocks(PAGE)}
COMMANDS = {block.section: block.text for block in blocks(PAGE, "sh")}


def write(title: str, folder: Path) -> None:
    """Write the program of a section."""
    (folder / "app.py").write_text(PROGRAMS[title].replace("port=8000", "port=0"), encoding="utf-8")


def health(port: int) -> str:
    """Return what the program answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_finds_the_programs() -> None:
    """No program is left out."""
    assert len(PROGRAMS) == 9
    assert len(COMMANDS) == 7


@pytest.mark.parametrize("title", COMMANDS)
def test_a_program_serves_and_stops(title: str, tmp_path: Path) -> None:
    """The services run while it serves, and finish when it is told to stop."""
    write(title, tmp_path)
    name, *arguments = shlex.split(COMMANDS[title])
    command = {"python": PYTHON, "hostkit": HOSTKIT}.get(name, (*PYTHON, "-m", name))

    env = {"HOME": str(tmp_path)}
    with Child(*command, *arguments, *FREE_PORT[name], cwd=tmp_path, env=env) as child:
        line = child.wait_for(lambda line: re.search(r"http://127\.0\.0\.1:\d+", line))
        assert line, child.text
        answer = health(int(re.findall(r"127\.0\.0\.1:(\d+)", line)[0]))
        child.send(signal.SIGTERM)
        exit_code = child.end()

    assert re.search(r'"ready": ?true', answer)
    # Not whole lines: a server's thread may write in the middle of one.
    assert re.findall(r"refreshing|done", child.text) == ["refreshing", "done"], child.text
    assert exit_code == EXIT_CODES.get(name, 0), child.text


@pytest.mark.parametrize("title", [title for title in PROGRAMS if title not in COMMANDS])
def test_a_program_runs_to_its_end(title: str, tmp_path: Path) -> None:
    """A program without a server stops its services at its end."""
    write(title, tmp_path)

    with Child(*PYTHON, "app.py", cwd=tmp_path) as child:
        exit_code = child.end()

    # Not whole lines: a server's thread may write in the middle of one.
    assert re.findall(r"refreshing|done", child.text) == ["refreshing", "done"], child.text
    assert exit_code == 0, child.text
