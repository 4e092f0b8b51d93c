"""What the docstrings of hostkit show works.

An example is an indented block behind ``::`` or below ``Example:``. It is run with the names of the prelude; a line
``...`` in it stands for the life of the host, and is replaced by one.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import PYTHON, Child

import hostkit

PACKAGE = Path(hostkit.__file__).parent
BLOCK = re.compile(r"(?:::\n\n|^Examples?:\n)((?:(?: {4}.*)?\n)+)", re.MULTILINE)
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


def examples() -> Iterator[tuple[str, str]]:
    """Yield every example in a docstring, with the name of what it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                docstring = ast.get_docstring(node) or ""
                for block in BLOCK.findall(f"{docstring}\n"):
                    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
                    yield f"{name}:{getattr(node, 'name', '')}", textwrap.dedent(block)


EXAMPLES = dict(examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_example_runs(name: str, tmp_path: Path) -> None:
    """Every example in a docstring runs as it is."""
    code = re.sub(r"^\.\.\.$", "anyio.run(live, builder.build())", EXAMPLES[name], flags=re.MULTILINE)
    in_pytest = "def test_" in code or "@pytest" in code
    (tmp_path / "example.py").write_text(PRELUDE + FOR_TESTS * in_pytest + "\n\n" + code)
    command = ["-m", "pytest"] if in_pytest else ["-W", "error"]

    with Child(*PYTHON, *command, "example.py", cwd=tmp_path) as child:
        exit_code = child.end()

    assert exit_code == 0, child.text


def test_there_are_examples() -> None:
    """The examples are found, so that none is left out in silence."""
    assert "testing._virtual_time:virtual_time" in EXAMPLES
