"""What README, pages and docstrings show works: every block of Python is run as a program of its own.

A program runs to its end, or to the stop that it is asked for when its host has started, with exit code 0 and without
a warning. One with tests is run by pytest. The programs of `docs/embedding.md` are run by the servers that they are
for, in `test_docs_embedding.py`.
"""

import re
import signal
from pathlib import Path

import pytest
from children import PYTHON, Child
from documents import PAGES, README, Block, blocks, docstring_blocks

import hostkit

PACKAGE = Path(hostkit.__file__).parent
PROGRAMS = [block for path in (README, *PAGES) if path.stem != "embedding" for block in blocks(path)]
EXAMPLES = [block for path in sorted(PACKAGE.rglob("*.py")) for block in docstring_blocks(path)]
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
    optional = ("fastapi", "cronsim", "uvicorn", "starlette", "procrastinate")
    found = [name for name in optional if re.search(rf"^(from|import) {name}\b", code, re.MULTILINE)]
    return [*found, *(["cronsim"] if "Cron(" in code else [])]


def param(block: Block) -> object:
    """Return a block as a parameter, left out where what it needs is not wanted."""
    needs = needed(block.text)
    marks = (pytest.mark.needs(*needs),) if needs else ()
    return pytest.param(block, id=f"{block.name}:{block.line}", marks=marks)


@pytest.mark.parametrize("block", [param(block) for block in PROGRAMS])
def test_a_program_runs(block: Block, tmp_path: Path) -> None:
    """Every block of Python in README and pages runs as it is."""
    in_pytest = "def test_" in block.text
    (tmp_path / "app.py").write_text(block.text)
    (tmp_path / "logs").mkdir()

    with Child(*PYTHON, *(["-m", "pytest"] if in_pytest else ["-W", "error"]), "app.py", cwd=tmp_path) as child:
        if child.wait_for(lambda line: "| hostkit | started" in line):
            child.send(signal.SIGTERM)
        exit_code = child.end()

    assert exit_code == 0, child.text
    assert "WARNING" not in child.text


@pytest.mark.parametrize("block", [pytest.param(block, id=f"{block.path.stem}:{block.line}") for block in EXAMPLES])
def test_an_example_in_a_docstring_runs(block: Block, tmp_path: Path) -> None:
    """Every example in a docstring runs, with the names that it takes for granted."""
    code = re.sub(r"^\.\.\.$", "anyio.run(live, builder.build())", block.text, flags=re.MULTILINE)
    in_pytest = "def test_" in code or "@pytest" in code
    (tmp_path / "example.py").write_text(PRELUDE + FOR_TESTS * in_pytest + "\n\n" + code)

    with Child(*PYTHON, *(["-m", "pytest"] if in_pytest else ["-W", "error"]), "example.py", cwd=tmp_path) as child:
        exit_code = child.end()

    assert exit_code == 0, child.text


def test_no_block_is_left_out() -> None:
    """Every block of Python is found, so that none is left untested in silence."""
    shown = sum(path.read_text(encoding="utf-8").count("```python\n") for path in (README, *PAGES))
    served = sum(len(blocks(path)) for path in PAGES if path.stem == "embedding")
    sources = sum(path.read_text(encoding="utf-8").count(".. code-block:: python") for path in PACKAGE.rglob("*.py"))

    assert len(PROGRAMS) + served == shown
    assert len(EXAMPLES) == sources > 0


def test_no_command_installs_a_stranger() -> None:
    """The name without ``-py`` is another project's on the package index, and is never installed from there."""
    paths = [README, *PAGES, *(README.parent / "samples").rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.suffix in {".py", ".md", ".yaml"}]

    assert not [text for text in texts if re.search(r"(pip|uv|pipx) (install|add) '?\"?hostkit(?!-py)", text)]
