"""The rules of the layout: who may import what, and who may touch the process."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

import anyio
import pytest

import hostkit

PACKAGE = Path(hostkit.__file__).parent

# Values; the parts; the wholes; the edges.
VALUES, PARTS, WHOLES, EDGES = range(4)
# Imports go down, or stay on their floor. A module that is not here has no place yet: give it one.
FLOORS = {
    "hostkit": WHOLES,
    "hostkit.__main__": EDGES,
    "hostkit._command": VALUES,
    "hostkit._config": VALUES,
    "hostkit._core": VALUES,
    "hostkit._execution": VALUES,
    "hostkit._process": VALUES,
    "hostkit._tokens": VALUES,
    "hostkit._values": VALUES,
    "hostkit._values.backoff": VALUES,
    "hostkit._core.builder": WHOLES,
    "hostkit._core.checks": PARTS,
    "hostkit._values.clock": VALUES,
    "hostkit._execution.daemon_thread": PARTS,
    "hostkit._process.watchdog": PARTS,
    "hostkit._values.durations": VALUES,
    "hostkit._values.errors": VALUES,
    "hostkit._core.failures": PARTS,
    "hostkit._core.fatal": PARTS,
    "hostkit._values.functions": VALUES,
    "hostkit._core.service_group": PARTS,
    "hostkit._core.heartbeat": WHOLES,
    "hostkit._core.host": WHOLES,
    "hostkit._core.host_status": PARTS,
    "hostkit._process.host_thread": WHOLES,
    "hostkit._core.shutdown": WHOLES,
    "hostkit._process.lag": PARTS,
    "hostkit._core.lifecycle": WHOLES,
    "hostkit._core.lifetime": PARTS,
    "hostkit._core.listeners": PARTS,
    "hostkit._command.target": EDGES,
    "hostkit._config.log_level": VALUES,
    "hostkit._config.logging": PARTS,
    "hostkit._config.options": VALUES,
    "hostkit._command.show": EDGES,
    "hostkit._execution.context": VALUES,
    "hostkit._process.owner": WHOLES,
    "hostkit._core.registration": PARTS,
    "hostkit._values.restart": VALUES,
    "hostkit._execution.event_loop": PARTS,
    "hostkit._core.service_run": PARTS,
    "hostkit._core.service": PARTS,
    "hostkit._core.service_thread": PARTS,
    "hostkit._config.settings": PARTS,
    "hostkit._process.signals": PARTS,
    "hostkit._core.snapshot": WHOLES,
    "hostkit._core.blocks": PARTS,
    "hostkit._core.startup": WHOLES,
    "hostkit._values.states": PARTS,
    "hostkit._tokens.grid": VALUES,
    "hostkit._tokens.stopping_token": VALUES,
    "hostkit._core.supervisor": PARTS,
    "hostkit._config.surroundings": PARTS,
    "hostkit._tokens.thread_stopping_token": VALUES,
    "hostkit._process.leftover_threads": PARTS,
    "hostkit._values.frozen": VALUES,
    "hostkit._execution.waiter": VALUES,
    "hostkit._execution.stack": PARTS,
    "hostkit._values.text": VALUES,
    "hostkit.cli": EDGES,
    "hostkit.events": VALUES,
    "hostkit.jobs": WHOLES,
    "hostkit.jobs._call": WHOLES,
    "hostkit.jobs._crew": WHOLES,
    "hostkit.jobs._desk": WHOLES,
    "hostkit.jobs._enqueuer": WHOLES,
    "hostkit.jobs._errors": WHOLES,
    "hostkit.jobs._intake": WHOLES,
    "hostkit.jobs._job": WHOLES,
    "hostkit.jobs._kinds": WHOLES,
    "hostkit.jobs._later": WHOLES,
    "hostkit.jobs._ledger": WHOLES,
    "hostkit.jobs._log": WHOLES,
    "hostkit.jobs._options": WHOLES,
    "hostkit.jobs._queue": WHOLES,
    "hostkit.jobs._retry": WHOLES,
    "hostkit.jobs._worker": WHOLES,
    "hostkit.scheduling": WHOLES,
    "hostkit.scheduling._agenda": WHOLES,
    "hostkit.scheduling._calendar": WHOLES,
    "hostkit.scheduling._clock": WHOLES,
    "hostkit.scheduling._cron": WHOLES,
    "hostkit.scheduling._days": WHOLES,
    "hostkit.scheduling._english": WHOLES,
    "hostkit.scheduling._engine": WHOLES,
    "hostkit.scheduling._every": WHOLES,
    "hostkit.scheduling._job": WHOLES,
    "hostkit.scheduling._local_time": WHOLES,
    "hostkit.scheduling._log": WHOLES,
    "hostkit.scheduling._performer": WHOLES,
    "hostkit.scheduling._policies": WHOLES,
    "hostkit.scheduling._run_record": WHOLES,
    "hostkit.scheduling._runners": WHOLES,
    "hostkit.scheduling._schedule": WHOLES,
    "hostkit.scheduling._scheduler": WHOLES,
    "hostkit.testing": EDGES,
    "hostkit.testing._asyncio_time": EDGES,
    "hostkit.testing._manual_token": EDGES,
    "hostkit.testing._recorder": EDGES,
    "hostkit.testing._trio_time": EDGES,
    "hostkit.testing._virtual_time": EDGES,
    "hostkit.testing._waiting": EDGES,
    "hostkit.testing._wall_clock": EDGES,
    "hostkit.testing.pytest_plugin": EDGES,
}
SCHEDULES = frozenset(
    f"hostkit.scheduling.{name}"
    for name in ("_calendar", "_cron", "_days", "_english", "_every", "_local_time", "_schedule")
)
# Ordinary services: what they have, every user's service can have. Of the rest they know the values.
SERVICES = ("hostkit.scheduling", "hostkit.jobs")
# What a user would make with anyio or a thread of his own; hostkit makes it once.
SERVICES_SHARE = frozenset({"hostkit._execution.daemon_thread", "hostkit._execution.event_loop"})

# Who imports what is slow, touches the process, ties to a backend or is an extra. "x" means x and what is under it.
IMPORTERS = {
    "asyncio": ["hostkit._execution.event_loop", "hostkit._execution.waiter", "hostkit.testing"],
    "cronsim": ["hostkit.scheduling._cron"],
    "faulthandler": ["hostkit._process.watchdog"],
    "procrastinate": ["hostkit.ext.procrastinate"],
    "pydantic": ["hostkit._config.settings", "hostkit.cli"],
    "pydantic_settings": ["hostkit._config.settings", "hostkit.cli"],
    "pytest": ["hostkit.testing.pytest_plugin"],
    "signal": ["hostkit._process.signals"],
    "starlette": ["hostkit.ext.dashboard"],
    "trio": ["hostkit._execution.event_loop", "hostkit._execution.waiter", "hostkit.testing"],
    "uvicorn": ["hostkit.ext.uvicorn"],
}
EVERYBODY_S = frozenset({"anyio", "hostkit", "loguru"})
LOGURU_SET_UP = frozenset({"add", "configure", "disable", "enable", "level", "remove"})
WALL_CLOCK = frozenset(
    {
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "time.ctime",
        "time.gmtime",
        "time.localtime",
        "time.time",
        "time.time_ns",
    }
)
LONGEST_MODULE = 400
SLOW = frozenset({"asyncio", "loguru", "pydantic", "pydantic_settings", "pytest", "trio", "uvloop"})


def within(name: str, package: str) -> bool:
    """Tell whether the module is the package or in it."""
    return name == package or name.startswith(f"{package}.")


class Module:
    """A module as it is written."""

    def __init__(self, name: str, source: str, *, is_package: bool = False) -> None:
        self.name = name
        self.source = source
        self.is_package = is_package
        self.tree = ast.parse(source)

    @cached_property
    def type_only(self) -> set[ast.AST]:
        """What only the type checker sees."""
        return {
            node
            for branch in ast.walk(self.tree)
            if isinstance(branch, ast.If) and ast.unparse(branch.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
            for statement in branch.body
            for node in ast.walk(statement)
        }

    def imports(self, *, type_only: bool) -> Iterator[str]:
        """Yield the dotted names that it imports, modules as well as what is taken from them."""
        for node in ast.walk(self.tree):
            if node in self.type_only and not type_only:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = self._source(node)
                yield from (f"{source}.{alias.name}" for alias in node.names)

    def _source(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def uses(self) -> Iterator[str]:
        """Yield what it names, in full: ``datetime.datetime.now``, however it was imported."""
        names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else (alias.name.partition(".")[0])
                    )
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name: f"{self._source(node)}.{alias.name}" for alias in node.names}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Name, ast.Attribute)):
                first, _, rest = ast.unparse(node).partition(".")
                if first in names:
                    yield f"{names[first]}.{rest}" if rest else names[first]


def placed(module: Module) -> Iterator[str]:
    """Every module has its floor."""
    if not within(module.name, "hostkit.ext") and module.name not in FLOORS:
        yield "has no floor"


def floor(name: str) -> int | None:
    """Return the floor of a module, or of the module that a name is in; None if that has none yet."""
    if within(name, "hostkit.ext"):
        return EDGES
    while name not in FLOORS:
        name, _, last = name.rpartition(".")
        if not name or (name == "hostkit" and last.startswith("_")):
            return None
    return FLOORS[name]


def goes_down(module: Module) -> Iterator[str]:
    """Imports go down, and nothing but an edge knows an edge."""
    own = floor(module.name)
    for name in module.imports(type_only=True):
        # `from hostkit import events` takes a module, not a name of the package.
        other = floor(name)
        if own is not None and other is not None and other > own:
            yield f"imports {name}, which is above it"


def imports_what_is_its_own(module: Module) -> Iterator[str]:
    """What is slow, dangerous or optional is imported in its one place; the rest is stdlib or a dependency."""
    for name in module.imports(type_only=False):
        library = name.partition(".")[0]
        if library in IMPORTERS:
            if not any(within(module.name, importer) for importer in IMPORTERS[library]):
                yield f"imports {library}"
        elif library not in EVERYBODY_S | sys.stdlib_module_names:
            yield f"imports {library}, which is no dependency"


def leaves_loguru_alone(module: Module) -> Iterator[str]:
    """Only `_logging` sets loguru up."""
    if module.name != "hostkit._config.logging":
        for use in module.uses():
            owner, _, name = use.rpartition(".")
            if owner == "loguru.logger" and name in LOGURU_SET_UP:
                yield f"sets loguru up: {use}"


def leaves_the_wall_clock_alone(module: Module) -> Iterator[str]:
    """Only `_clock` reads the wall clock."""
    if module.name != "hostkit._values.clock":
        yield from (f"reads the wall clock: {use}" for use in module.uses() if use in WALL_CLOCK)


def computes_only(module: Module) -> Iterator[str]:
    """A schedule computes times: it waits for nothing and reads no clock."""
    if module.name in SCHEDULES:
        for name in module.imports(type_only=False):
            if name.partition(".")[0] in {"anyio", "threading", "time"} or within(name, "hostkit._values.clock"):
                yield f"is a schedule and imports {name}"


def is_an_ordinary_service(module: Module) -> Iterator[str]:
    """The scheduler and the queue are written with public names, and do not know each other."""
    for package in SERVICES:
        for name in module.imports(type_only=True) if within(module.name, package) else ():
            if not within(name, "hostkit") or within(name, package) or within(name, "hostkit.events"):
                continue
            shared = any(within(name, module) for module in SERVICES_SHARE)
            private = name.startswith("hostkit._") and floor(name) != VALUES and not shared
            if private or any(within(name, other) for other in SERVICES):
                yield f"is an ordinary service and imports {name}"


def is_short(module: Module) -> Iterator[str]:
    """A module can be held in the head at once."""
    lines = len(module.source.splitlines())
    if lines > LONGEST_MODULE:
        yield f"has {lines} lines"


def sorts_its_names(module: Module) -> Iterator[str]:
    """`__all__` is sorted, and a public module has one."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            if list(names) != sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
                yield "has an unsorted __all__"
            return
    if module.is_package and not module.name.rpartition(".")[2].startswith("_"):
        yield "has no __all__"


RULES: list[Callable[[Module], Iterator[str]]] = [
    placed,
    goes_down,
    imports_what_is_its_own,
    leaves_loguru_alone,
    leaves_the_wall_clock_alone,
    computes_only,
    is_an_ordinary_service,
    is_short,
    sorts_its_names,
]


def broken(module: Module) -> list[str]:
    """Return every rule that the module breaks."""
    return [f"{module.name} {what}" for rule in RULES for what in rule(module)]


@cache
def modules() -> dict[str, Module]:
    """Return the modules of the package that is installed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["hostkit", *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path.read_text(encoding="utf-8"), is_package=is_package)
    return found


def undocumented(module: ModuleType) -> Iterator[str]:
    """Yield the public names, and the public members of public classes, that have no docstring."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        # A class has a docstring of its own, a method may have its base's.
        if not value.__doc__:
            yield f"{module.__name__}.{name}"
        for member, definition in vars(value).items() if inspect.isclass(value) else ():
            is_code = inspect.isroutine(definition) or isinstance(definition, (property, cached_property))
            if is_code and not member.startswith("_") and not inspect.getdoc(getattr(value, member)):
                yield f"{module.__name__}.{name}.{member}"


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter loads for *code*, over those it has anyway."""
    # -S keeps .pth files out (coverage, editable installs), so the path has to be given.
    homes = [str(PACKAGE.parent), *(str(Path(module.__file__ or "").parent.parent) for module in (anyio, pytest))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(homes))}
    child = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", code],
        check=True,
        capture_output=True,
        env=environment,
        text=True,
    )
    return {line.rpartition("|")[2].strip() for line in child.stderr.splitlines() if line.startswith("import time:")}


def test_every_module_keeps_the_rules() -> None:
    """Imports go down, and what touches the process is in one place."""
    found = [what for module in modules().values() for what in broken(module)]

    assert found == []


def public_modules() -> Iterator[object]:
    """Yield the modules that users import; each neighbour's needs the neighbour."""
    for name in modules():
        if not any(part.startswith("_") for part in name.split(".")):
            neighbour = within(name, "hostkit.ext")
            yield pytest.param(name, marks=pytest.mark.needs(name) if neighbour else ())


@pytest.mark.parametrize("name", list(public_modules()))
def test_every_public_name_is_documented(name: str) -> None:
    """Every public module and name has a docstring, and so has every public method of a public class."""
    module = importlib.import_module(name)

    assert module.__doc__
    assert list(undocumented(module)) == []


EVERY_NAME = "import hostkit; [getattr(hostkit, name) for name in hostkit.__all__ if name != 'HostSettings']"


@pytest.mark.parametrize("code", ["import hostkit", EVERY_NAME], ids=["package", "names"])
def test_importing_is_cheap(code: str) -> None:
    """No event loop, no settings and no logging are loaded before they are used."""
    loaded = loaded_by(code)

    assert "hostkit" in loaded
    assert loaded & SLOW == set()


def test_finds_what_is_loaded() -> None:
    """What an import loads on the way is found as well."""
    assert loaded_by("import logging.config") >= {"logging", "logging.config", "re"}


BAD = [
    ("hostkit._nowhere", "import math", "has no floor"),
    (
        "hostkit._config.options",
        "from hostkit._core.service import HostedService",
        "imports hostkit._core.service.HostedService, which",
    ),
    ("hostkit._config.options", "from hostkit import HostBuilder", "imports hostkit.HostBuilder, which is above it"),
    ("hostkit._config.options", "from .._core import host", "imports hostkit._core.host, which is above it"),
    (
        "hostkit._config.options",
        "def f():\n    import hostkit._core.host",
        "imports hostkit._core.host, which is above it",
    ),
    (
        "hostkit._core.service",
        "if TYPE_CHECKING:\n    from hostkit._core.host import Host",
        "imports hostkit._core.host.Host, which",
    ),
    ("hostkit._core.host", "from hostkit.ext.uvicorn import WebServer", "imports hostkit.ext.uvicorn.WebServer, which"),
    ("hostkit._core.host", "import hostkit.cli", "imports hostkit.cli, which is above it"),
    ("hostkit._core.host", "from hostkit import testing", "imports hostkit.testing, which is above it"),
    ("hostkit._core.host", "import asyncio", "imports asyncio"),
    ("hostkit._core.host", "def f():\n    from trio import lowlevel", "imports trio"),
    ("hostkit._config.options", "from pydantic import Field", "imports pydantic"),
    ("hostkit._core.builder", "import pydantic_settings as settings", "imports pydantic_settings"),
    ("hostkit._core.host", "import signal", "imports signal"),
    ("hostkit._process.signals", "import faulthandler", "imports faulthandler"),
    ("hostkit.scheduling._calendar", "from cronsim import CronSim", "imports cronsim"),
    ("hostkit.cli", "import uvicorn", "imports uvicorn"),
    ("hostkit.ext.uvicorn", "import starlette", "imports starlette"),
    ("hostkit._core.host", "import requests", "imports requests, which is no dependency"),
    ("hostkit._core.host", "from loguru import logger\nlogger.remove()", "sets loguru up: loguru.logger.remove"),
    ("hostkit.cli", "import loguru\nloguru.logger.add(print)", "sets loguru up: loguru.logger.add"),
    ("hostkit._core.host", "import time\nx = time.time()", "reads the wall clock: time.time"),
    ("hostkit._core.host", "from time import time as t\nx = t()", "reads the wall clock: time.time"),
    (
        "hostkit._core.host",
        "from datetime import datetime\nx = datetime.now()",
        "reads the wall clock: datetime.datetime.now",
    ),
    (
        "hostkit._core.host",
        "import datetime as d\nx = d.datetime.utcnow",
        "reads the wall clock: datetime.datetime.utcnow",
    ),
    ("hostkit.scheduling._every", "import anyio", "is a schedule and imports anyio"),
    ("hostkit.scheduling._every", "from hostkit._values import clock", "is a schedule and imports hostkit._values"),
    (
        "hostkit.scheduling",
        "from hostkit._core.supervisor import x",
        "is an ordinary service and imports hostkit._core.supervisor.x",
    ),
    ("hostkit.scheduling", "from hostkit.jobs import Retry", "is an ordinary service and imports hostkit.jobs.Retry"),
    ("hostkit.jobs", "import hostkit.scheduling", "is an ordinary service and imports hostkit.scheduling"),
    ("hostkit._core.host", "x = 1\n" * 401, "has 401 lines"),
    ("hostkit.events", "__all__ = ['b', 'a']", "has an unsorted __all__"),
    ("hostkit.testing", "import math", "has no __all__"),
]


@pytest.mark.parametrize(("name", "source", "complaint"), BAD)
def test_finds_what_breaks_a_rule(name: str, source: str, complaint: str) -> None:
    """Every rule finds the code that breaks it."""
    is_package = name in {"hostkit.jobs", "hostkit.scheduling", "hostkit.testing"}

    found = broken(Module(name, source, is_package=is_package))

    assert [what for what in found if what.startswith(f"{name} {complaint}")]


GOOD = [
    ("hostkit._config.settings", "from pydantic_settings import BaseSettings"),
    ("hostkit._core.host", "from loguru import logger\nlogger.info('started')\nnames = set()\nnames.add(1)"),
    ("hostkit._core.host", "from hostkit import events\nfrom hostkit._values import clock\nx = clock.now()"),
    ("hostkit._core.host", "import time\nx = time.monotonic()"),
    ("hostkit._core.host", "if TYPE_CHECKING:\n    from pydantic_settings import BaseSettings"),
    ("hostkit._values.clock", "from datetime import datetime\nx = datetime.now()"),
    ("hostkit._config.logging", "from loguru import logger\nlogger.remove()"),
    ("hostkit.scheduling._cron", "def f():\n    import cronsim"),
    ("hostkit.scheduling._every", "from hostkit.scheduling._english import in_words\nfrom datetime import datetime"),
    ("hostkit.scheduling._scheduler", "from hostkit._execution.daemon_thread import DaemonThreads"),
    ("hostkit.ext.dashboard._page", "import starlette"),
    ("hostkit._core.host", "x = 1\n" * 400),
]


@pytest.mark.parametrize(("name", "source"), GOOD)
def test_accepts_what_keeps_the_rules(name: str, source: str) -> None:
    """No rule complains of code that keeps it."""
    assert broken(Module(name, source)) == []


def test_finds_what_has_no_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public name or method without a docstring is found; a private or an inherited one need not have its own."""
    module = ModuleType("bad")
    monkeypatch.setitem(sys.modules, "bad", module)
    source = """
__all__ = ["Documented", "Silent", "function"]
class Documented:
    "Told."
    def told(self): "Told."
    def silent(self): ...
    @property
    def silent_property(self): ...
    @classmethod
    def silent_class_method(cls): ...
    def _private(self): ...
class Silent(Documented):
    def told(self): ...
def function(): ...
"""
    exec(source, vars(module))  # noqa: S102  # a module of one test

    assert list(undocumented(module)) == [
        "bad.Documented.silent",
        "bad.Documented.silent_property",
        "bad.Documented.silent_class_method",
        "bad.Silent",
        "bad.function",
    ]
