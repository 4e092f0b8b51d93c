"""Interleaved rounds, medians and ratios, as a table and as JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
"""The source tree: what is measured is the hostkit in it."""

RAW = "raw anyio"
CHILD_TIMEOUT = 300.0
FEWEST_FOR_QUARTILES = 4

Figures = Mapping[str, float]
"""What one run of a contestant has measured, by name."""

Contestant = Callable[[], Figures]


@dataclass(frozen=True)
class Row:
    """One figure of one contestant.

    Attributes:
        benchmark: What was done.
        figure: What was measured.
        contestant: Who did it.
        unit: Of `value`.
        value: The median of all rounds.
        ratio: The median of the rounds' ratios to the baseline, which is 1.
        spread: The quartiles of these ratios, or the smallest and the largest of very few.
        budget: What `ratio` may be, or `value` if `absolute`; None where nothing is asked.
        absolute: Whether the budget is for `value`.
    """

    benchmark: str
    figure: str
    contestant: str
    unit: str
    value: float
    ratio: float
    spread: tuple[float, float]
    budget: float | None = None
    absolute: bool = False

    @property
    def within(self) -> bool:
        """Whether the budget is kept, if there is one."""
        return self.budget is None or (self.value if self.absolute else self.ratio) <= self.budget


def interleave(  # noqa: PLR0913  # what a table says of itself
    benchmark: str,
    contestants: Mapping[str, Contestant],
    rounds: int,
    *,
    units: Mapping[str, str],
    baseline: str = RAW,
    budgets: Mapping[tuple[str, str], float] | None = None,
    limits: Mapping[tuple[str, str], float] | None = None,
) -> list[Row]:
    """Run every contestant once a round, and return the rows of all figures.

    The machine changes while it measures: what ran in one round ran side by side, so ratios are made within a round,
    and the order turns from round to round. A first round that warms up is not counted.

    Args:
        benchmark: What is done.
        contestants: The runs, by who does them.
        rounds: How many rounds count.
        units: The unit of each figure; the figures come in this order.
        baseline: The contestant that ratios are to.
        budgets: What a ratio may be at most, by contestant and figure.
        limits: What a value itself may be at most, likewise.
    """
    names = list(contestants)
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            figures = contestants[name]()
            if number:
                runs[name].append(figures)
    return [
        _row(benchmark, figure, name, unit, runs, baseline, budgets or {}, limits or {})
        for figure, unit in units.items()
        for name in names
        if figure in runs[name][0]
    ]


def _row(  # noqa: PLR0913, PLR0917  # it makes the rows of `interleave`
    benchmark: str,
    figure: str,
    name: str,
    unit: str,
    runs: Mapping[str, Sequence[Figures]],
    baseline: str,
    budgets: Mapping[tuple[str, str], float],
    limits: Mapping[tuple[str, str], float],
) -> Row:
    values = [figures[figure] for figures in runs[name]]
    ratios = [value / figures[figure] for value, figures in zip(values, runs[baseline], strict=True)]
    key = (name, figure)
    if len(ratios) < FEWEST_FOR_QUARTILES:
        spread = min(ratios), max(ratios)
    else:
        first, _, third = quantiles(ratios, n=4)
        spread = first, third
    return Row(
        benchmark=benchmark,
        figure=figure,
        contestant=name,
        unit=unit,
        value=median(values),
        ratio=median(ratios),
        spread=spread,
        budget=limits.get(key, budgets.get(key)),
        absolute=key in limits,
    )


def in_child(function: Callable[..., Figures], *arguments: object) -> Figures:
    """Call a module's *function* in a new process and return what it returns; *arguments* are what JSON can hold."""
    code = (
        "import importlib, json, sys; module, name, arguments = json.loads(sys.argv[1]); "
        "function = getattr(importlib.import_module(module), name); print(json.dumps(function(*arguments)))"
    )
    call = json.dumps([function.__module__, function.__qualname__, arguments])
    done = subprocess.run(
        [sys.executable, "-c", code, call],
        stdout=subprocess.PIPE,
        env=child_environment(),
        timeout=CHILD_TIMEOUT,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of child processes: they import this source tree, and nothing else configures them."""
    unwanted = ("HOSTKIT_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}
    return inherited | {"PYTHONPATH": str(ROOT)} | variables


def installed(module: str) -> bool:
    """Return whether a peer is there, and say so if it is not."""
    found = find_spec(module) is not None
    if not found:
        print(f"left out: {module} is not installed", file=sys.stderr)
    return found


def table(rows: Iterable[Row]) -> str:
    """Return *rows* as lines for a terminal."""
    head = ("benchmark", "figure", "contestant", "median", "ratio", "quartiles", "budget", "")
    cells = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in cells
    )


def _cells(row: Row) -> tuple[str, ...]:
    budget = "" if row.budget is None else f"≤ {row.budget:g} {row.unit}" if row.absolute else f"≤ {row.budget:g} x"
    low, high = row.spread
    return (
        row.benchmark,
        row.figure,
        row.contestant,
        f"{row.value:.4g} {row.unit}",
        f"{row.ratio:.2f}",
        f"{low:.2f}-{high:.2f}",
        budget,
        "" if row.within else "OVER",
    )


def to_json(rows: Iterable[Row], rounds: int) -> str:
    """Return *rows* as a JSON text, with what they were measured on."""
    document = {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "rounds": rounds,
        "rows": [asdict(row) | {"within": row.within} for row in rows],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
