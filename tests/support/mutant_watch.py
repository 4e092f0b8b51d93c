"""A pytest plugin for `tests/mutants.py`: tells, line by line, which test runs and which fails, also if pytest dies.

It is loaded with ``-p`` and so before the test modules: their hypothesis settings are made from the profile below.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

REPORT = Path(os.environ["MUTANT_REPORT"])
COPY = Path(os.environ["MUTANT_COPY"])

# An example that fails is enough: a small one is wanted by readers, and takes its time.
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile("mutants")


def tell(what: str, text: str) -> None:
    """Write one line, at once."""
    with REPORT.open("a", encoding="utf-8") as report:
        report.write(json.dumps([what, text]) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell which test begins."""
    tell("begins", nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell which test fails."""
    if report.failed:
        tell("fails", report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell what cannot be collected: then no test has looked at the fault."""
    if report.failed:
        tell("breaks", report.nodeid)


def pytest_sessionfinish() -> None:
    """Tell what was imported from elsewhere, and that the end was reached."""
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "hostkit" and file is not None and not Path(file).is_relative_to(COPY):
            tell("foreign", file)
    tell("ends", "")
