"""Every sample does what its docstring says, started by python and by hostkit.

The docstring of a sample tells:

- ``Output:`` and, indented below it, lines that appear in this order, among others; ``...`` stands for anything.
  ``^C`` among them is where the sample is stopped (with SIGTERM, which does the same); without it, the sample is
  stopped when all lines have appeared, or when it has nothing more to say.
- ``Exit code: 4`` if it is not 0.
- ``Arguments: --directory logs`` if it cannot do without.
- ``Needs: hostkit-py[cron]`` if it cannot do without an extra.
"""

import ast
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from children import HOSTKIT, PATIENCE, PYTHON, Child

pytestmark = pytest.mark.usefixtures("unmeasured_children")

SAMPLES = sorted(Path(__file__).parent.parent.joinpath("samples").glob("[0-9]*.py"))
WEEK = 7 * 86400
SILENCE = 3.0
"""Seconds without an expected line after which a sample without ``^C`` is taken to wait for its stop."""
GRACE = 0.5
"""Seconds in which a sample that has said everything may end by itself."""


class Promise(NamedTuple):
    """What the docstring of a sample says."""

    before: list[str]
    after: list[str]
    stop_is_marked: bool
    exit_code: int
    arguments: list[str]
    extras: list[str]


def read_promise(docstring: str) -> Promise:
    """Read the docstring of a sample."""
    found = re.search(r"^Output:\n((?: {4}.*\n?)+)", docstring, re.MULTILINE)
    assert found, "the docstring has no lines below 'Output:'"
    output = [line.strip() for line in found[1].splitlines()]
    marked = "^C" in output
    cut = output.index("^C") if marked else len(output)
    return Promise(
        before=output[:cut],
        after=output[cut + 1 :],
        stop_is_marked=marked,
        exit_code=int(value(docstring, "Exit code") or 0),
        arguments=value(docstring, "Arguments").split(),
        extras=re.findall(r"\[([\w,-]+)\]", value(docstring, "Needs")),
    )


def value(docstring: str, name: str) -> str:
    """Return what stands behind ``name:`` at the begin of a line, if it is there."""
    found = re.search(rf"^{name}: (.+)$", docstring, re.MULTILINE)
    return found[1] if found else ""


def docstring_of(sample: Path) -> str:
    """Return the docstring of a module that is not imported for that."""
    return ast.get_docstring(ast.parse(sample.read_text(encoding="utf-8"))) or ""


def is_line(expected: str, line: str) -> bool:
    """Return whether *line* is the one expected, by itself or as the message of a log line."""
    words = re.escape(expected).replace(re.escape("..."), ".*")
    return re.fullmatch(rf"(.* \| )?{words}", line) is not None


def find_all(expected: list[str], child: Child, within: float) -> list[str]:
    """Read until all lines have appeared in order; return those that have not."""
    for index, wanted in enumerate(expected):
        # How long a process takes until its first line says nothing about the sample.
        patience = within if child.lines else PATIENCE
        if child.wait_for(lambda line, wanted=wanted: is_line(wanted, line), patience) is None:  # type: ignore[misc]
            return expected[index:]
    return []


def run_sample(command: list[str | Path], promise: Promise, cwd: Path) -> None:
    """Run a sample to its end and compare it with what it promises."""
    with Child(*command, *promise.arguments, cwd=cwd) as child:
        missing = find_all(promise.before, child, PATIENCE if promise.stop_is_marked else SILENCE)
        if promise.stop_is_marked:
            assert not missing, f"never appeared: {missing}\n{child.text}"
            missing = promise.after
        ends_by_itself = not promise.stop_is_marked and (
            any("stopping: " in line for line in child.lines)
            or (not missing and child.wait_for(lambda line: "stopping: " in line, GRACE))
        )
        if not ends_by_itself:
            child.send(signal.SIGTERM)
        missing = find_all(missing, child, PATIENCE)
        exit_code = child.end()

    assert not missing, f"never appeared: {missing}\n{child.text}"
    assert exit_code == promise.exit_code, child.text


def mark(sample: Path) -> tuple[pytest.MarkDecorator, ...]:
    """Return the mark of a sample that needs an extra."""
    needs = re.findall(r"\[([\w,-]+)\]", value(docstring_of(sample), "Needs"))
    return (pytest.mark.needs(*needs),) if needs else ()


def folder(directory: Path) -> Path:
    """Make a working directory with a folder ``logs``, in which one file is old and one is new."""
    logs = directory / "logs"
    logs.mkdir(parents=True)
    for name, age in (("old.log", WEEK + 3600), ("new.log", 0)):
        (logs / name).write_text(f"{name[:3]} {name[:3]}")
        os.utime(logs / name, times=(time.time() - age,) * 2)
    return directory


@pytest.mark.parametrize("sample", [pytest.param(sample, id=sample.stem, marks=mark(sample)) for sample in SAMPLES])
def test_does_what_it_says(sample: Path, tmp_path: Path) -> None:
    """A sample prints what its docstring says, and stops when it is told, as a script and with ``hostkit run``.

    One after the other, as a port that a sample names can be open once.
    """
    for name, command in (("script", PYTHON), ("command", (*HOSTKIT, "run"))):
        run_sample([*command, sample], read_promise(docstring_of(sample)), folder(tmp_path / name))


def test_there_are_samples() -> None:
    """The samples are found, so that none is left out in silence."""
    assert SAMPLES[0].name == "01_hello.py"


@pytest.mark.parametrize("command", [PYTHON, (*HOSTKIT, "run")], ids=["python", "hostkit"])
def test_flags_are_the_same_both_ways(command: tuple[str, ...], tmp_path: Path) -> None:
    """A sample takes the same flags as a script and with ``hostkit run``."""
    with Child(*command, SAMPLES[0], "--application-name", "greeter", cwd=tmp_path) as child:
        found = child.wait_for(lambda line: line.endswith("starting greeter with 1 service"))

    assert found, child.text


class TestReadPromise:
    def test_tells_what_comes_before_the_stop_and_after(self) -> None:
        """``^C`` is where the sample is stopped."""
        promise = read_promise("One.\n\nOutput:\n    a\n    ^C\n    b\n")

        assert (promise.before, promise.after, promise.stop_is_marked) == (["a"], ["b"], True)

    def test_reads_the_other_lines(self) -> None:
        """Exit code, arguments and extras stand at the begin of a line."""
        promise = read_promise(
            "One.\n\nNeeds: hostkit-py[cron]\nArguments: -a b\nOutput:\n    a\n    b\nExit code: 4\n"
        )

        assert promise == Promise(["a", "b"], [], False, 4, ["-a", "b"], ["cron"])  # noqa: FBT003

    def test_refuses_a_sample_that_promises_nothing(self) -> None:
        """A docstring without ``Output:`` is an error, not a sample that needs no test."""
        with pytest.raises(AssertionError, match="no lines below 'Output:'"):
            read_promise("One.\n")


class TestIsLine:
    @pytest.mark.parametrize(
        ("expected", "line"),
        [
            ("tick", "tick"),
            ("tick", "2026-01-01 00:00:00.000 | INFO     | ticker | tick"),
            ("deleted ... files", "deleted 12 files"),
        ],
    )
    def test_takes_the_line_itself_or_the_message_of_a_log_line(self, expected: str, line: str) -> None:
        """A sample may print or log, and ``...`` stands for anything."""
        assert is_line(expected, line)

    @pytest.mark.parametrize(("expected", "line"), [("tick", "ticks"), ("tick", "no tick"), ("a+b", "aab")])
    def test_takes_no_other(self, expected: str, line: str) -> None:
        """Nothing but ``...`` stands for something else."""
        assert not is_line(expected, line)


class TestRunSample:
    """The test of the samples would notice."""

    @pytest.mark.parametrize(
        ("output", "code", "complaint"),
        [
            ("Output:\n    one\n    three\n    ^C", "", "never appeared: \\['three'\\]"),
            ("Output:\n    two\n    one", "", "never appeared: \\['one'\\]"),
            ("Output:\n    one\nExit code: 5", "raise SystemExit(4)", "4 == 5"),
        ],
    )
    def test_notices_what_does_not_hold(self, output: str, code: str, complaint: str, tmp_path: Path) -> None:
        """A line that is missing, one in the wrong order, and another exit code fail the test."""
        script = tmp_path / "sample.py"
        script.write_text(f"print('one')\nprint('two')\n{code}\n")

        with pytest.raises(AssertionError, match=complaint):
            run_sample([*PYTHON, script], read_promise(f"One.\n\n{output}\n"), tmp_path)


def test_the_tests_that_are_a_sample_run_in_the_checkout() -> None:
    """The command that the sample on testing names passes where it lies, beside the configuration of hostkit's own."""
    with Child(*PYTHON, "-m", "pytest", "samples/42_testing", cwd=SAMPLES[0].parent.parent) as child:
        exit_code = child.end()

    assert exit_code == 0, child.text
