"""Proof of the tests: changes the package in small ways, one at a time, and sees whether a test fails.

``python tests/mutants.py jobs/_admission _core/shutdown`` makes all the changes that cosmic-ray finds to make in these
modules, ``python tests/mutants.py jobs`` those of a folder; ``--sample 0.2`` tries every fifth of them, by a seed.

First the suite runs once, without the tests that have servers, and records which test executes which line. Each change
then runs the tests that execute its line, the quickest first, on a copy of the package, and, if none of these notices
it, some of every file. What no test notices is printed with its line: a missing test, or a change that makes no
difference (`EQUIVALENT` in `tests/support/equivalent.py` lists those, each with its reason). The exit code is 0 only if
there is none. A test that hangs has noticed it.
"""

import argparse
import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TypeVar

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PACKAGE = ROOT / "hostkit"
T = TypeVar("T")
R = TypeVar("R")

# Of a change that can be made in many ways, the ways that are nearest to a slip.
OPERATORS = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_Delete_USub",
    "ZeroIterationForLoop",
)
# For type checkers, and for the reader.
NOT_TESTED = ("if TYPE_CHECKING:", "assert ", "@overload", "@abstractmethod")
# Those with servers are slow, and find what the others find.
MARKED = "not servers and not durable and not browser"
# Tests of a line that runs in nearly all of them: more would find little more.
MOST_TESTS = 150
MOST_OF_ALL = 600
# In seconds, on average, with 30 to begin with: a run that takes longer hangs.
LONGEST_TEST = 0.6
# pytest's exit code.
USAGE_ERROR = 4


@dataclass(frozen=True)
class Change:
    """One changed line of a module."""

    module: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        """Show where it is and what it does."""
        return f"{self.module}.py:{self.line}: {self.before}  ->  {self.after}"


class TestMap:
    """Which tests execute which line of the package, and how long each takes."""

    def __init__(self, lines: dict[str, dict[str, list[str]]], seconds: dict[str, float]) -> None:
        """Take what the plugin has recorded."""
        self._lines = lines
        self._seconds = seconds

    def runs_for(self, change: Change) -> Iterator[list[str]]:
        """Yield the tests to run, the quickest first: those of the line, or of the module for one run at import.

        Where they are too many a second run has more of them, and, for what runs in child processes, some of every
        file of tests.
        """
        by_speed = sorted(self._tests_of(change), key=self._speed)
        own = [test for test in by_speed if Path(change.module).name.strip("_") in _file(test)]
        first = list(dict.fromkeys([*own[:MOST_TESTS], *by_speed]))[:MOST_TESTS]
        yield first
        others = sorted(self._seconds.keys() - set(first), key=self._speed)
        place: Counter[str] = Counter()
        spread = []
        for test in others:
            place[_file(test)] += 1
            spread.append((place[_file(test)], test))
        more = [test for test in by_speed if test not in first][: MOST_OF_ALL - MOST_TESTS]
        yield list(dict.fromkeys([*more, *(test for _, test in sorted(spread))]))[:MOST_OF_ALL]

    def _tests_of(self, change: Change) -> Iterable[str]:
        of_module = self._lines.get(change.module, {})
        # Of a decorator, those of the function.
        lines = range(change.line, change.line + 30 if change.before.startswith("@") else change.line + 1)
        of_line = next((found for line in lines if (found := of_module.get(str(line)))), None)
        if of_line is not None:
            return of_line
        # Of a constant, those of the lines that name it.
        names = {word for word in _words(change.before) if word.isupper()}
        naming = [number for number, line in enumerate(change.source.splitlines(), 1) if names & set(_words(line))]
        of_names = {test for number in naming for test in of_module.get(str(number), ())}
        return sorted(of_names or {test for found in of_module.values() for test in found})

    def _speed(self, test: str) -> float:
        return self._seconds.get(test, 1.0)


def _words(line: str) -> list[str]:
    return re.findall(r"\w+", line)


def _file(test: str) -> str:
    return test.partition("::")[0]


def changes_of(module: str, equivalent: dict[str, str]) -> Iterator[Change]:
    """Yield every change that the operators find to make in a module, but those that make no difference."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        occurrence = 0
        while (mutated := mutate_code(source.encode(), operator, occurrence)) is not None:
            changed = mutated if isinstance(mutated, str) else mutated.decode()
            line, before, after = difference(source, changed)
            # How arguments may be given is for type checkers too.
            told = before.startswith(NOT_TESTED) or after == before.replace("*,", "/,")
            if not told and not any(after.startswith(start) for start in equivalent):
                yield Change(module, line, before, after, changed)
            occurrence += 1


def difference(source: str, changed: str) -> tuple[int, str, str]:
    """Return the number of the first line that was changed, the line, and what it has become."""
    header, *lines = list(unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:]
    number = int(header.split()[1].lstrip("-").partition(",")[0])
    removed = [line[1:].strip() for line in lines if line.startswith("-")]
    before = next(filter(None, removed))
    after = "".join(line[1:].strip() for line in lines if line.startswith("+"))
    return number + removed.index(before), before, after


def run_pytest(arguments: Sequence[str], package: Path, output: Path, extra: dict[str, str], seconds: float) -> int:
    """Run pytest in a fork, which has it imported already; return its exit code, -1 if it had to be ended."""
    child = os.fork()
    if child == 0:
        os.setsid()
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.environ.update(extra, PYTHONPATH=os.pathsep.join([str(package), str(TESTS / "support")]))
        # Compiled once, the tests and the package are there for every run and for all its child processes.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.path[:0] = [str(package), str(TESTS / "support")]
        sys.dont_write_bytecode = False
        code = 70
        try:
            import pytest

            # What the fork has imported already is not rewritten.
            options = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main([*options, "--rootdir", str(ROOT), *arguments]))
        except BaseException:  # noqa: BLE001  # whatever it is, the parent shows it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    waiting = threading.Thread(target=os.waitid, args=(os.P_PID, child, os.WEXITED | os.WNOWAIT), daemon=True)
    waiting.start()
    waiting.join(seconds)
    late = waiting.is_alive()
    # Before the process is reaped: until then its number is its own.
    os.killpg(child, signal.SIGKILL)
    waiting.join()
    _, status = os.waitpid(child, 0)
    return -1 if late else os.waitstatus_to_exitcode(status)


def make_map(folder: Path) -> TestMap:
    """Run the suite once, and return which test executes which line."""
    recorded = folder / "map"
    recorded.mkdir()
    arguments = ["-q", "-p", "line_recorder", "-m", MARKED, "-n", "2", str(TESTS)]
    code = run_pytest(arguments, ROOT, folder / "output", {"LINE_RECORDER": str(recorded)}, 1800)
    if code:
        sys.exit(f"the tests do not pass without a change:\n{(folder / 'output').read_text()[-5000:]}")
    lines: dict[str, dict[str, list[str]]] = {}
    seconds: dict[str, float] = {}
    for path in recorded.glob("*.json"):
        part = json.loads(path.read_text())
        seconds |= part["seconds"]
        for module, found in part["lines"].items():
            for line, tests in found.items():
                # A name stands there for every line that its test executes.
                lines.setdefault(module, {}).setdefault(line, []).extend(map(sys.intern, tests))
    return TestMap(lines, seconds)


def is_noticed(change: Change, runs: Iterable[Sequence[str]]) -> bool:
    """Run tests on a copy of the package with the change; return whether one fails or hangs.

    Raises:
        RuntimeError: pytest refuses these tests without the change, too.
    """
    for tests in runs:
        code, output = run_changed(change.module, change.source, tests) if tests else (0, "")
        if code == USAGE_ERROR:  # a change that keeps hostkit from being imported, or names of tests that are none
            code, output = run_changed(change.module, None, tests)
            if code:
                message = f"the tests of {change} do not pass without it:\n{output[-5000:]}"
                raise RuntimeError(message)
            return True
        if code:
            return True
    return False


def run_changed(module: str, source: str | None, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests on a copy of the package, in which *module* has this *source*; return the exit code and the output."""
    with tempfile.TemporaryDirectory(prefix="hostkit-mutant-", ignore_cleanup_errors=True) as name:
        copy = Path(name).resolve()
        shutil.copytree(PACKAGE, copy / "hostkit")  # with what is compiled
        if source is not None:
            (copy / "hostkit" / f"{module}.py").write_text(source, encoding="utf-8")
        # As text: a path would make one slash of the two in the name of a test.
        (copy / "tests.txt").write_text("\n".join(f"{ROOT}/{test}" for test in tests))
        arguments = ["-x", "-q", "-p", "line_recorder", f"@{copy / 'tests.txt'}"]
        code = run_pytest(arguments, copy, copy / "output", {"MUTANT": str(copy)}, 30 + LONGEST_TEST * len(tests))
        return code, (copy / "output").read_text(errors="replace")


def side_by_side(function: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[tuple[T, R]]:
    """Call *function* for each of *items*, *jobs* at a time; give them with the results, in order."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for item, result in [(item, pool.submit(function, item)) for item in items]:
            yield item, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def modules_of(names: Sequence[str]) -> list[str]:
    """Return the modules that are named, those of a folder for a folder."""
    found = []
    for name in names:
        if (PACKAGE / name).is_dir():
            paths = sorted((PACKAGE / name).rglob("*.py"))
        elif (PACKAGE / f"{name}.py").exists():
            paths = [PACKAGE / f"{name}.py"]
        else:
            sys.exit(f"no such module or folder of the package: {name!r}")
        found += [str(path.relative_to(PACKAGE).with_suffix("")) for path in paths if path.name != "__init__.py"]
    return found


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser(description="Change the package in small ways, and see whether a test notices.")
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="jobs/_admission, or a folder: jobs")
    parser.add_argument("--sample", type=float, default=1.0, metavar="SHARE", help="try so many of the changes")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at a time (default: 2)")
    asked = parser.parse_args()

    sys.path.insert(0, str(TESTS / "support"))
    from equivalent import EQUIVALENT

    # So that each fork has them.
    for name in ("pytest", "_pytest.assertion.rewrite", "anyio.pytest_plugin", "hypothesis", "trio", "coverage"):
        __import__(name)

    chance = random.Random(asked.seed)  # noqa: S311  # a sample
    changes = [
        change
        for module in modules_of(asked.modules)
        for change in changes_of(module, EQUIVALENT.get(module, {}))
        if chance.random() < asked.sample
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostkit-map-") as folder:
        test_map = make_map(Path(folder).resolve())
    gc.freeze()  # a collection in a fork would go through the map, and copy it by that
    say(f"{len(changes)} changes; which test executes which line took {time.monotonic() - began:.0f} s")
    missed = 0
    for change, noticed in side_by_side(
        lambda change: is_noticed(change, test_map.runs_for(change)), changes, asked.jobs
    ):
        if not noticed:
            missed += 1
            say(f"not noticed: {change}")
    say(f"{len(changes) - missed} of {len(changes)} changes noticed in {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
