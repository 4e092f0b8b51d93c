"""A pytest plugin for `tests/mutants.py`: records which test executes which line, or sees that the copy is tested."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest
from hypothesis import Phase, settings

import hostkit

PACKAGE = Path(hostkit.__file__).parent

# An example that fails is enough: a small one is wanted by readers, and takes its time.
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True)
settings.load_profile("mutants")


class Recorder:
    """Measures coverage with the test as its context."""

    def __init__(self, folder: Path) -> None:
        """Begin; the lines that importing has run already belong to no test."""
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._coverage = coverage.Coverage(data_file=None, source=[str(PACKAGE)], config_file=False, branch=False)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Name the test to coverage."""
        self._coverage.switch_context(item.nodeid)
        yield
        self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how long the test took."""
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Write what was found."""
        self._coverage.stop()
        data = self._coverage.get_data()
        lines: dict[str, dict[int, list[str]]] = {}
        for file in data.measured_files():
            module = str(Path(file).relative_to(PACKAGE).with_suffix(""))
            lines[module] = {
                line: [test for test in tests if test] for line, tests in data.contexts_by_lineno(file).items()
            }
        path = self._folder / f"{os.getpid()}.json"
        path.write_text(json.dumps({"lines": lines, "seconds": self._seconds}))


def pytest_configure(config: pytest.Config) -> None:
    """Record, or check that it is the copy that is tested."""
    if folder := os.environ.get("LINE_RECORDER"):
        config.pluginmanager.register(Recorder(Path(folder)))
    copy = os.environ.get("MUTANT")
    if copy is not None and not PACKAGE.is_relative_to(copy):
        sys.exit(f"not the copy is tested, but {PACKAGE}")
