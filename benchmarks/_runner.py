"""Rounds in which all contestants take turns, each run in a child process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks._measure import Contestant, Figures, Measure, Series

ROOT = Path(__file__).parents[1]
"""The source tree: what is measured is the hostkit in it."""

CHILD_TIMEOUT = 300.0

CHILD = """
import importlib, json, sys
target, arguments = json.loads(sys.argv[1])
module, _, name = target.partition(":")
print(json.dumps(dict(getattr(importlib.import_module(module), name)(*arguments))))
"""

Python = Callable[[str | None], Path]
"""Returns the interpreter of an environment."""

Run = Callable[[Contestant, int], Figures]


class ContestantError(Exception):
    """Raised when the child process of a contestant has failed.

    Attributes:
        contestant: Its name.
    """

    def __init__(self, contestant: str, reason: str) -> None:
        """Say who and why."""
        super().__init__(f"{contestant}: {reason}")
        self.contestant = contestant


def interleave(
    measure: Measure, size: int, rounds: int, run: Run, contestants: Iterable[Contestant]
) -> tuple[list[Series], list[str]]:
    """Run every contestant once a round, and return the series and who was left out after an error.

    The machine changes while it measures: what ran in one round ran side by side, and the order turns from round to
    round. A first round that warms up is not counted. One that fails is left out from then on: what the others have
    measured, for an hour perhaps, is kept.
    """
    remaining = list(contestants)
    runs: dict[str, list[Figures]] = {contestant.name: [] for contestant in remaining}
    failed: list[str] = []
    for number in range(rounds + 1):
        turn = number % len(remaining)
        for contestant in remaining[turn:] + remaining[:turn]:
            try:
                figures = run(contestant, size)
            except ContestantError as error:
                print(f"left out: {measure.name} at {size:,}, {error}", file=sys.stderr, flush=True)
                failed.append(contestant.name)
                remaining.remove(contestant)
                del runs[contestant.name]
                continue
            if number:
                runs[contestant.name].append(figures)
    series = [
        Series(measure.name, size, figure.name, name, tuple(figures[figure.name] for figures in done))
        for figure in measure.figures
        for name, done in runs.items()
        if done and all(figure.name in figures for figures in done)
    ]
    return series, failed


def in_child(python: Path, contestant: Contestant, size: int) -> Figures:
    """Run a contestant once in a new process.

    Raises:
        ContestantError: The process has failed or took too long; what it wrote to standard error was shown.
    """
    call = json.dumps([contestant.target, [size, *contestant.arguments]])
    try:
        done = subprocess.run(
            [python, "-c", CHILD, call],
            stdout=subprocess.PIPE,
            env=child_environment(),
            timeout=CHILD_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ContestantError(contestant.name, str(type(error).__name__)) from error
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of child processes: they import this source tree, and nothing else configures them."""
    unwanted = ("HOSTKIT_", "PYTHON")
    inherited: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)
    }
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}
