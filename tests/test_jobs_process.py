"""A real process, told to stop while its queue is under load."""

import ast
import re
import signal
from pathlib import Path

import pytest
from children import PYTHON, Child

pytestmark = pytest.mark.usefixtures("unmeasured_children")

CHILD = Path(__file__).parent / "support" / "jobs_child.py"


@pytest.mark.parametrize(
    "backend",
    [
        "asyncio",
        pytest.param("uvloop", marks=pytest.mark.needs("uvloop")),
        pytest.param("trio", marks=pytest.mark.needs("trio")),
    ],
)
@pytest.mark.parametrize(("timeout", "exit_codes"), [(0, (1,)), (20, (0,))], ids=["cut", "drained"])
def test_accounts_for_every_job(backend: str, timeout: float, exit_codes: tuple[int, ...], tmp_path: Path) -> None:
    """After SIGTERM under load, what was accepted is what was done and what was reported as lost, to the unit."""
    with Child(*PYTHON, CHILD, backend, str(timeout), cwd=tmp_path) as child:
        assert child.wait_for(lambda line: line == "everything has happened"), child.text
        child.send(signal.SIGTERM)
        exit_code = child.end()

    found = re.search(r"accepted (\d+) done (\d+) lost (\d+) listed (\d+) counts (.*)", child.text)
    assert found, child.text
    accepted, done, lost, listed = map(int, found.groups()[:4])
    counts = ast.literal_eval(found[5])
    assert accepted == sum(counts.values()) > 100
    assert counts["succeeded"] == done > 0
    assert counts["lost"] == listed == lost > 0
    assert accepted == done + counts["failed"] + counts["cancelled"] + lost
    assert counts["failed"] > 0
    assert counts["cancelled"] > 0
    assert exit_code in exit_codes, child.text
