"""The command line: ``python -m benchmarks --help``."""

import argparse
import os
import pkgutil
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import benchmarks
from benchmarks import _environments
from benchmarks._measure import Contestant, Figures, Measure, Results
from benchmarks._report import from_json, markdown, missed, terminal, to_json
from benchmarks._runner import ROOT, in_child, interleave

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
SOURCE = "hostkit"
"""The environment of hostkit and of what is done by hand, when peers are measured."""


def all_measures() -> list[Measure]:
    """Return the measures of all modules here that have any."""
    names = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    modules = (import_module(f"benchmarks.{name}") for name in names if not name.startswith("_") and name != "peers")
    return [measure for module in modules for measure in module.MEASURES]


class Session:
    """One run of the benchmarks: which interpreters it uses and what it has measured."""

    def __init__(self, rounds: int, *, with_peers: bool) -> None:
        """Begin with no results."""
        self.with_peers = with_peers
        self.results = Results(
            python=sys.version.split()[0], platform=sys.platform, processors=os.cpu_count() or 1, rounds=rounds
        )
        self._interpreters: dict[str, Path | None] = {}

    def keep(self, earlier: Results, again: Collection[str]) -> None:
        """Keep what an earlier run has measured, but for the measures that are made *again*.

        Raises:
            ValueError: It ran on another Python or machine, or other rounds.
        """
        for field in ("python", "platform", "processors", "rounds"):
            was, is_now = getattr(earlier, field), getattr(self.results, field)
            if was != is_now:
                message = f"what is there was measured with {field} {was}, and not {is_now}"
                raise ValueError(message)
        self.results.versions |= earlier.versions
        self.results.series += [series for series in earlier.series if series.measure not in again]
        self.results.failed += [each for each in earlier.failed if each[0] not in again]

    def measure(self, measure: Measure, size: int) -> None:
        """Measure all contestants at one size."""
        taking_part = [contestant for contestant in measure.contestants if self._interpreter(contestant)]
        if not taking_part:
            return
        series, failed = interleave(measure, size, self.results.rounds, self._run, taking_part)
        self.results.series += series
        self.results.failed += [(measure.name, size, name) for name in failed]

    def _run(self, contestant: Contestant, size: int) -> Figures:
        python = self._interpreter(contestant)
        assert python is not None
        return in_child(python, contestant, size)

    def _interpreter(self, contestant: Contestant) -> Path | None:
        """Return the contestant's interpreter, None if it does not take part."""
        if not self.with_peers:
            return None if contestant.environment else Path(sys.executable)
        name = contestant.environment or SOURCE
        if name not in self._interpreters:
            python = self._interpreters[name] = _environments.prepare(name)
            if python is None:
                print(f"left out: no interpreter for {name}", file=sys.stderr)
            else:
                self.results.versions |= _environments.versions(name, python)
        return self._interpreters[name]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or make the tables of the documentation."""
    arguments = _arguments(argv)
    if arguments.table:
        results = from_json(arguments.table.read_text(encoding="utf-8"))
        write_tables(DOCUMENT, markdown(all_measures(), results))
        return
    session = _session(arguments)
    done = []
    for measure in arguments.measures:
        if measure.requires and not arguments.peers and not find_spec(measure.requires):
            print(f"left out: {measure.name}, {measure.requires} is not installed", file=sys.stderr)
            continue
        every = arguments.peers or arguments.growth
        for size in arguments.sizes or (measure.sizes if every else measure.budget_sizes):
            session.measure(measure, size)
        done.append(measure)
        if any(series.measure == measure.name for series in session.results.series):
            print(terminal(measure, session.results), flush=True)
        if arguments.json:  # after each, so that what was measured is kept if the next one fails
            arguments.json.write_text(to_json(session.results), encoding="utf-8")
    over = missed(done, session.results)
    if over:
        print("budgets missed:\n" + "\n".join(f"  {line}" for line in over), file=sys.stderr)
    if session.results.failed:
        sys.exit(
            "failed: " + ", ".join(f"{name} ({measure}, {size:,})" for measure, size, name in session.results.failed)
        )


def _session(arguments: argparse.Namespace) -> Session:
    session = Session(arguments.rounds, with_peers=arguments.peers)
    if arguments.json and arguments.json.exists():
        try:
            earlier = from_json(arguments.json.read_text(encoding="utf-8"))
            session.keep(earlier, {measure.name for measure in arguments.measures})
        except ValueError as error:
            sys.exit(f"{arguments.json}: {error}")
    return session


def write_tables(document: Path, tables: str) -> None:
    """Put *tables* between the two marks of *document*."""
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    measures = {measure.name: measure for measure in all_measures()}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure hostkit's budgets.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(measures)}; all if none is given")
    parser.add_argument("--peers", action="store_true", help="peers as well, in environments of their own; all sizes")
    parser.add_argument("--growth", action="store_true", help="all sizes, not only those with a budget")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="these sizes instead")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds that count (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all values to FILE; those of other measures stay"
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="only write FILE into docs/benchmarks.md")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.names) - set(measures))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}")
    if min([arguments.rounds, *(arguments.sizes or [])]) < 1:
        parser.error("--rounds and --sizes must be 1 or more")
    arguments.measures = [measures[name] for name in arguments.names or measures]
    return arguments


if __name__ == "__main__":
    main()
