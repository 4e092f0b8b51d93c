"""The type checker finds wrong arguments where a job is enqueued."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).parent / "typing" / "jobs.py"
IGNORE = re.compile(r"  # type: ignore\[([\w-]+)\]")


def check(path: Path, cache: Path) -> set[tuple[int, str]]:
    """Return the lines in which mypy finds errors, with their kinds."""
    options = ["--strict", "--no-error-summary", "--hide-error-context", f"--cache-dir={cache}", "--config-file="]
    child = subprocess.run(
        [sys.executable, "-m", "mypy", *options, path], capture_output=True, text=True, check=False, timeout=300
    )
    found = re.findall(r"^[^\n]+?:(\d+): error: [^\n]+ \[([\w-]+)\]$", child.stdout, re.MULTILINE)
    assert found or not child.returncode, child.stdout + child.stderr
    return {(int(line), code) for line, code in found}


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed; `nox -s typing` checks the same file")
def test_finds_every_wrong_call_and_no_other(tmp_path: Path) -> None:
    """A wrong argument is a type error at the call, whichever verb and kind of function; right ones are none."""
    marked, lines = set(), []
    for number, line in enumerate(SNIPPETS.read_text(encoding="utf-8").splitlines(), 1):
        is_call = "queue" in line or "JobQueue" in line
        marked |= {(number, code) for code in IGNORE.findall(line) if is_call}
        lines.append(IGNORE.sub("", line) if is_call else line)
    unmarked = tmp_path / "unmarked.py"
    unmarked.write_text("\n".join(lines), encoding="utf-8")

    assert len(marked) > 20
    assert check(unmarked, tmp_path / "cache") == marked
