"""Measures what is asked for, or everything: ``python -m benchmarks [names…] [--json FILE] [--rounds N]``."""

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import servers
from benchmarks.servers._measure import Row, table, to_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmarks; the table of each is printed when it is done."""
    names = sorted(module.name for module in pkgutil.iter_modules(servers.__path__) if module.name[0] != "_")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description="Measure hostkit's budgets.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(names)}; all if none is given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds that count (default: %(default)s)")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - set(names)
    if unknown or arguments.rounds < 1:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}" if unknown else "--rounds must be 1 or more")

    rows: list[Row] = []
    for name in arguments.names or names:
        measured: list[Row] = import_module(f"benchmarks.servers.{name}").measure(arguments.rounds)
        print(table(measured), flush=True)
        rows += measured
    if arguments.json:
        arguments.json.write_text(to_json(rows, arguments.rounds), encoding="utf-8")
    over = [f"{row.benchmark}, {row.figure}, {row.contestant}" for row in rows if not row.within]
    if over:
        print("over budget: " + "; ".join(over), file=sys.stderr)


if __name__ == "__main__":
    main()
