"""Medians, ratios, growth: as a table for a terminal, as JSON, and as the tables of the documentation."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import linear_regression, median

from benchmarks._measure import Budget, Figure, Measure, Results, Series

FITTED = 3
"""Over how many sizes, the largest ones, growth is fitted."""


@dataclass(frozen=True)
class Ratio:
    """The medians of two series divided, and the smallest and the largest ratio within a round."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as tables show it."""
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


class Table:
    """The series of some results, by measure, size, figure and contestant."""

    def __init__(self, results: Results) -> None:
        """Look into *results*."""
        self._series = {(each.measure, each.size, each.figure, each.contestant): each for each in results.series}

    def series(self, measure: str, size: int, figure: str, contestant: str) -> Series | None:
        """Return a series, None if it was not measured."""
        return self._series.get((measure, size, figure, contestant))

    def sizes(self, measure: Measure) -> list[int]:
        """Return the sizes that were measured."""
        return sorted({size for name, size, _, _ in self._series if name == measure.name})

    def contestants(self, measure: Measure) -> list[str]:
        """Return who was measured, in the measure's order."""
        found = {contestant for name, _, _, contestant in self._series if name == measure.name}
        return [contestant.name for contestant in measure.contestants if contestant.name in found]


def ratio(series: Series, to: Series) -> Ratio | None:
    """Return the ratio of two series; None if the other one has a zero."""
    if not all(to.values):
        return None
    rounds = [value / other for value, other in zip(series.values, to.values, strict=True)]
    return Ratio(median(series.values) / median(to.values), min(rounds), max(rounds))


def exponent(points: Sequence[tuple[int, float]], *, per_item: bool) -> float | None:
    """Return how the whole grows with the size: 1 for in proportion to it, 0 for not at all.

    Args:
        points: Sizes and values; the three largest sizes count.
        per_item: Whether the values are for one item.

    Returns:
        None when there are fewer than three sizes, or a value is not above 0.
    """
    largest = sorted(points)[-FITTED:]
    if len(largest) < FITTED or any(value <= 0 for _, value in largest):
        return None
    slope = linear_regression([math.log(size) for size, _ in largest], [math.log(value) for _, value in largest]).slope
    return slope + 1 if per_item else slope


def verdict(measure: Measure, budget: Budget, table: Table) -> tuple[str, str, str] | None:
    """Return what was measured, what was asked for, and ``"met"`` or ``"missed"``; None if it was not measured."""
    series = table.series(measure.name, budget.size, budget.figure, budget.contestant)
    if series is None:
        return None
    if budget.to is None:
        unit = next(figure.unit for figure in measure.figures if figure.name == budget.figure)
        value = median(series.values)
        spread = f"({min(series.values):.3g}–{max(series.values):.3g})"
        return f"{value:.3g} {spread} {unit}", f"≤ {budget.most:g} {unit}", _met(value, budget)
    to = table.series(measure.name, budget.size, budget.figure, budget.to)
    found = None if to is None else ratio(series, to)
    if found is None:
        return None
    return f"{found} × {budget.to}", f"≤ {budget.most:.3g} ×", _met(found.value, budget)


def _met(value: float, budget: Budget) -> str:
    return "met" if value <= budget.most else "missed"


def terminal(measure: Measure, results: Results) -> str:
    """Return the figures of *measure* as lines for a terminal, and its budgets below."""
    table = Table(results)
    lines = [("", "figure", "contestant", "median", f"× {measure.baseline} (rounds)")]
    for size in table.sizes(measure):
        for figure in measure.figures:
            for contestant in table.contestants(measure):
                series = table.series(measure.name, size, figure.name, contestant)
                if series is not None:
                    value, beside = f"{median(series.values):.4g} {figure.unit}", _beside(table, measure, series)
                    lines.append((measure.title(size), figure.name, contestant, value, beside))
    lines += [("growth of " + measure.name, *growth, "") for growth in _growths(measure, table)]
    for budget in measure.budgets:
        found = verdict(measure, budget, table)
        if found:
            value, asked, met = found
            lines.append((measure.title(budget.size), budget.figure, budget.contestant, value, f"{asked} {met}"))
    return _aligned(lines)


def _beside(table: Table, measure: Measure, series: Series) -> str:
    to = table.series(measure.name, series.size, series.figure, measure.baseline)
    return "" if to is None else str(ratio(series, to) or "")


def _growths(measure: Measure, table: Table) -> Iterator[tuple[str, str, str]]:
    """Yield figure, contestant and exponent."""
    for figure in measure.figures:
        for contestant in table.contestants(measure):
            found = _exponent_of(measure, figure, contestant, table)
            if found is not None:
                yield figure.name, contestant, f"n^{found:.2f}"


def _exponent_of(measure: Measure, figure: Figure, contestant: str, table: Table) -> float | None:
    found = [(size, table.series(measure.name, size, figure.name, contestant)) for size in table.sizes(measure)]
    points = [(size, median(series.values)) for size, series in found if series is not None]
    return exponent(points, per_item=figure.per_item)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def to_json(results: Results) -> str:
    """Return *results* as a JSON text."""
    return json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Results:
    """Return the results that `to_json` has written."""
    document = json.loads(text)
    document["series"] = [Series(**{**each, "values": tuple(each["values"])}) for each in document["series"]]
    document["failed"] = [tuple(each) for each in document["failed"]]
    return Results(**document)


def markdown(measures: Iterable[Measure], results: Results) -> str:
    """Return the tables of the documentation: budgets, then every measure beside its peers, with its growth."""
    measures = list(measures)
    table = Table(results)
    packages = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    text = (
        f"Python {results.python} on {results.platform}, {results.processors} processors, {results.rounds} rounds."
        + (f" {packages}." if packages else "")
        + "\n\n### Budgets\n\n"
    )
    text += _rows(("what", "figure", "of", "measured", "budget", ""), _budget_rows(measures, table))
    text += "\n### Beside others\n\nMedians, and in brackets the ratio to what has none."
    text += " Growth is that of the whole, over the three largest sizes: n^1 is in proportion to the size.\n"
    for measure in measures:
        names = table.contestants(measure)
        if names:
            text += f"\n{_rows(('what', 'figure', *names), _peer_rows(measure, names, table))}"
    if results.failed:
        text += "\nLeft out after an error: "
        text += ", ".join(f"{contestant} ({name}, {size:,})" for name, size, contestant in results.failed) + ".\n"
    return text


def _budget_rows(measures: Iterable[Measure], table: Table) -> Iterator[tuple[str, ...]]:
    for measure in measures:
        if not table.contestants(measure):
            continue
        for budget in measure.budgets:
            found = verdict(measure, budget, table) or ("–", "", "not measured")
            yield measure.title(budget.size), budget.figure, budget.contestant, *found


def _peer_rows(measure: Measure, names: Sequence[str], table: Table) -> Iterator[tuple[str, ...]]:
    for size in table.sizes(measure):
        for figure in measure.figures:
            found = [table.series(measure.name, size, figure.name, name) for name in names]
            if any(found):
                yield measure.title(size), f"{figure.name}, {figure.unit}", *_cells(table, measure, found)
    for figure in measure.figures:
        exponents = [_exponent_of(measure, figure, name, table) for name in names]
        if any(each is not None for each in exponents):
            yield "growth", figure.name, *("–" if each is None else f"n^{each:.2f}" for each in exponents)


def _cells(table: Table, measure: Measure, found: Sequence[Series | None]) -> Iterator[str]:
    for series in found:
        if series is None:
            yield "–"
            continue
        to = table.series(measure.name, series.size, series.figure, measure.baseline)
        beside = None if to is None or to is series else ratio(series, to)
        yield f"{median(series.values):.3g}" + (f" ({beside.value:.2f})" if beside else "")


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def missed(measures: Iterable[Measure], results: Results) -> list[str]:
    """Return the budgets that were missed, in words."""
    rows = _budget_rows(measures, Table(results))
    return [", ".join(row[:4]) for row in rows if row[-1] == "missed"]
