"""Proof of the tests: plants faults in the core, one by one, and sees if a test fails: ``python tests/mutants.py``.

Each fault of `faults.py` is put into a copy of the package, and pytest runs on that copy the test files that should
catch it, up to the first failure. A fault that no test catches is a missing test; the end is 0 only if there is none.
A test that hangs is ended, and said to have hung. Examples of hypothesis come from a fixed seed, so that a second run
says the same; another seed is ``--seed``.

With ``--generated _ladder`` the faults are all small changes that cosmic-ray finds to make in that module.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SUPPORT = TESTS / "support"
sys.path.insert(0, str(SUPPORT))
if TYPE_CHECKING:
    from faults import Fault

T = TypeVar("T")
R = TypeVar("R")
# In seconds. No test needs so long, on a busy machine either; pytest's own timer names the test and its line.
LONGEST_TEST = 60
# The last net, should pytest itself hang: so many times as long as a test.
LONGEST_RUN = 5
SEED = 1


class UnusableFaultError(Exception):
    """Raised when a fault does not fit the source that it was made for."""


@dataclass(frozen=True)
class Verdict:
    """What came of one run of tests.

    Attributes:
        word: ``passed``, ``failed``, ``hung``, or ``broken`` if no test has looked at the fault.
        where: The test that failed or hung, or what is broken.
        seconds: How long it took.
        output: What pytest said.
    """

    word: str
    where: str
    seconds: float
    output: str


@contextmanager
def copied(fault: "Fault | None") -> Iterator[Path]:
    """Make a directory with a copy of the package in it, with the fault if there is one.

    Raises:
        UnusableFaultError: The text to be replaced is not there exactly once, or what comes out is no Python.
    """
    with tempfile.TemporaryDirectory(prefix="hostkit-mutant-", ignore_cleanup_errors=True) as name:
        copy = Path(name).resolve()
        shutil.copytree(ROOT / "hostkit", copy / "hostkit", ignore=shutil.ignore_patterns("__pycache__"))
        if fault is not None:
            module = copy / "hostkit" / f"{fault.module}.py"
            source = planted(fault, module.read_text(encoding="utf-8"))
            module.write_text(source, encoding="utf-8")
        yield copy


def source_of(module: str) -> str:
    """Return the source of a module of the package."""
    return (ROOT / "hostkit" / f"{module}.py").read_text(encoding="utf-8")


def planted(fault: "Fault", source: str) -> str:
    """Return *source* with the fault.

    Raises:
        UnusableFaultError: The text to be replaced is not there exactly once, or what comes out is no Python.
    """
    count = source.count(fault.old)
    if count != 1:
        message = f"{fault.name}: found {count} times in {fault.module}.py, but should be once:\n{fault.old}"
        raise UnusableFaultError(message)
    mutated = source.replace(fault.old, fault.new)
    try:
        compile(mutated, f"{fault.module}.py", "exec")
    except SyntaxError as error:
        message = f"{fault.name}: no Python any more: {error}"
        raise UnusableFaultError(message) from error
    return mutated


def run_tests(copy: Path, files: Sequence[str], seed: int, timeout: int) -> Verdict:
    """Run test files, of which the last part of the path is given, on a copy of the package."""
    report = copy / "report"
    report.touch()
    command = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "mutant_watch", "-p", "no:cacheprovider"),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), f"--hypothesis-seed={seed}"),
        *("-o", f"faulthandler_timeout={timeout}", *(str(TESTS / file) for file in files)),
    ]
    environment = {
        **os.environ,
        # Before the installed package, which pytest imports with its plugins, and also in the tests' child processes.
        "PYTHONPATH": os.pathsep.join([str(copy), str(SUPPORT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MUTANT_COPY": str(copy),
        "MUTANT_REPORT": str(report),
    }
    began = time.monotonic()
    with (copy / "output").open("w+", encoding="utf-8", errors="replace") as output:
        # In the copy, so that "the working directory first" does not mean the source tree.
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = end_in_time(process, LONGEST_RUN * timeout)
        seconds = time.monotonic() - began
        output.seek(0)
        told = output.read()
    lines: list[tuple[str, str]] = [tuple(json.loads(line)) for line in report.read_text(encoding="utf-8").splitlines()]
    return Verdict(*judge(code, lines, hung="Timeout (" in told), seconds, told)


def end_in_time(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Wait for the end, and end what is left of its group; return the exit code, or None if it came too late."""
    waiting = threading.Thread(target=os.waitid, args=(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT), daemon=True)
    waiting.start()
    waiting.join(seconds)
    late = waiting.is_alive()
    # Before the process is reaped: until then its number belongs to nobody else.
    os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return None if late else code


def judge(code: int | None, lines: Sequence[tuple[str, str]], *, hung: bool) -> tuple[str, str]:
    """Say in a word what a run means, and where it was; *code* is None for one that had to be ended."""

    def texts(what: str) -> list[str]:
        return [text for kind, text in lines if kind == what]

    if texts("foreign"):
        return "broken", f"not the copy was tested, but {texts('foreign')[0]}"
    if texts("breaks"):
        return "broken", f"{texts('breaks')[0]} cannot be collected"
    if texts("fails"):
        return "failed", texts("fails")[0]
    if code == 0 and texts("ends"):
        return "passed", ""
    if not texts("begins"):
        return "broken", f"pytest ended with {code} before the first test"
    # Without a failure that was told, the test that had begun has taken pytest with it.
    return "hung" if hung or code is None else "failed", texts("begins")[-1]


def passes_without_faults(files: Sequence[str], jobs: int, seed: int, timeout: int) -> bool:
    """Run the test files on a copy without a fault: only then a failure means anything."""

    def run(file: str) -> Verdict:
        with copied(None) as copy:
            return run_tests(copy, [file], seed, timeout)

    good = True
    for file, verdict in side_by_side(run, files, jobs):
        say(f"{'without a fault':34} {verdict.word:9} {verdict.seconds:6.1f} s  {verdict.where or file}")
        if verdict.word != "passed":
            good = False
            say(verdict.output)
    return good


def try_all(faults: "Sequence[Fault]", tests: Sequence[str], jobs: int, seed: int, timeout: int) -> bool:
    """Try each fault; return whether all were caught."""

    def run(fault: "Fault") -> Verdict:
        with copied(fault) as copy:
            return run_tests(copy, tests or fault.tests, seed, timeout)

    words = {"passed": "SURVIVED", "failed": "caught", "hung": "hung", "broken": "BROKEN"}
    began = time.monotonic()
    missed = []
    for fault, verdict in side_by_side(run, faults, jobs):
        where = verdict.where.removeprefix("tests/") or fault.words
        say(f"{fault.name:34} {words[verdict.word]:9} {verdict.seconds:6.1f} s  {where}")
        if verdict.word not in ("failed", "hung"):
            missed.append(fault.name)
        if verdict.word == "broken":
            say(verdict.output)
    say(f"{len(faults) - len(missed)} of {len(faults)} faults caught in {time.monotonic() - began:.0f} s")
    if missed:
        say(f"missed: {', '.join(missed)}")
    return not missed


def side_by_side(function: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[tuple[T, R]]:
    """Call *function* for each of *items*, *jobs* at a time; give them with the results, in order."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for item, result in [(item, pool.submit(function, item)) for item in items]:
            yield item, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def say(line: str) -> None:
    """Write a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the arguments say, and return the exit code."""
    from faults import FAULTS

    parser = argparse.ArgumentParser(description="Plant faults in the core and see whether a test catches each.")
    parser.add_argument("--only", action="append", metavar="NAME", help="try this fault; may be given again")
    parser.add_argument(
        "--generated", action="append", metavar="MODULE", help="try cosmic-ray's changes of this module instead"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at a time (default: 2)")
    parser.add_argument("--tests", action="append", metavar="FILE", help="run this file instead of those of the fault")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"of hypothesis (default: {SEED})")
    parser.add_argument(
        "--timeout",
        type=int,
        default=LONGEST_TEST,
        metavar="SECONDS",
        help=f"a test that takes so long hangs (default: {LONGEST_TEST})",
    )
    asked = parser.parse_args()

    faults: Sequence[Fault] = FAULTS
    if asked.generated:
        from generated import generate

        faults = tuple(fault for module in asked.generated for fault in generate(module, source_of(module)))
    chosen = [fault for fault in faults if not asked.only or fault.name in asked.only]
    unknown = sorted({*(asked.only or ())} - {fault.name for fault in chosen})
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}")
    for fault in chosen:  # all of them, before the first is tried
        planted(fault, source_of(fault.module))
    files = list(dict.fromkeys(asked.tests or [file for fault in chosen for file in fault.tests]))
    if not passes_without_faults(files, asked.jobs, asked.seed, asked.timeout):
        say("the tests do not pass without a fault")
        return 1
    return 0 if try_all(chosen, asked.tests or (), asked.jobs, asked.seed, asked.timeout) else 1


if __name__ == "__main__":
    sys.exit(main())
