"""Log lines: hostkit's own, made of its events, and the user's, which name the service that writes them."""

import json
import logging
import re
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group, to_thread
from children import PYTHON, Child
from loguru import logger

from hostkit import BackgroundService, HostBuilder, HostedService, HostOptions, StoppingToken, events
from hostkit._config.logging import LEVELS, EventLog, LogContexts, complete, log, log_error
from hostkit._config.options import LOG_LEVELS

if TYPE_CHECKING:
    from loguru import Message, Record

SECRET = "hunter-2"  # noqa: S105  # what must not be shown


@pytest.fixture
def records() -> Iterator[list["Record"]]:
    """What is logged meanwhile."""
    found: list[Record] = []

    def keep(message: "Message") -> None:
        found.append(message.record)

    sink = logger.add(keep, level=0)
    yield found
    logger.remove(sink)


def short(record: "Record") -> tuple[str, str, object]:
    """Return level, message and service of a line."""
    return record["level"].name, record["message"], record["extra"].get("service")


LINES = [
    (events.HostStarting(1.0, "app", 2), "INFO", "starting app with 2 services"),
    (events.HostStarting(1.0, "app", 1), "INFO", "starting app with 1 service"),
    (events.HostStarted(1.0, 2, 0.126), "INFO", "started 2 services in 0.13 s"),
    (events.StopRequested(1.0, "signal {SIGTERM}"), "INFO", "stopping: signal {SIGTERM}"),
    (events.HostStopped(1.0, "done", 3, 2.5), "INFO", "stopped in 2.50 s, exit code 3"),
    (events.ServiceStarting(1.0, "web"), "DEBUG", "service web starting"),
    (events.ServiceStarted(1.0, "web", 0.5), "DEBUG", "service web started in 0.50 s"),
    (events.ServiceStopping(1.0, "web"), "DEBUG", "service web stopping"),
    (events.ServiceStopped(1.0, "web", 0.12), "DEBUG", "service web stopped in 0.12 s"),
    (
        events.ServiceFailed(1.0, "web", OSError("no {route}"), retried=False),
        "ERROR",
        "service web failed: OSError('no {route}')",
    ),
    (events.ServiceFailed(1.0, "web", OSError("busy"), retried=True), "WARNING", "service web failed: OSError('busy')"),
    (events.ServiceRestarting(1.0, "web", 1.26, 3), "WARNING", "service web restarting in 1.3 s, restart 3"),
    (events.ServiceStalled(1.0, "web", 30.0, None), "WARNING", "service web stalled for 30.0 s"),
    (
        events.ServiceStalled(1.0, "web", 30.0, "a.py:1 in f"),
        "WARNING",
        "service web stalled for 30.0 s, at a.py:1 in f",
    ),
    (events.ServiceRecovered(1.0, "web", 31.0), "WARNING", "service web moves again after 31.0 s"),
    (
        events.ServiceCancelled(1.0, "web", "too slow", "a.py:1 in f"),
        "WARNING",
        "service web cancelled: too slow, at a.py:1 in f",
    ),
    (
        events.ServiceAbandoned(1.0, "web", "a.py:1 in f"),
        "ERROR",
        "service web ignores its cancellation, abandoned, at a.py:1 in f",
    ),
]


@pytest.mark.parametrize(("event", "level", "text"), LINES)
def test_every_event_has_its_line(event: events.HostEvent, level: str, text: str, records: list["Record"]) -> None:
    """Every event is one line of hostkit's, at its level; that of a service is bound to it."""
    EventLog(HostOptions(log_level="DEBUG"))(event)

    (record,) = records
    assert short(record) == (level, text, getattr(event, "service", None))
    assert record["name"] == "hostkit"
    assert (record["exception"] is None) == (not isinstance(event, events.ServiceFailed))


def test_no_event_is_without_a_line() -> None:
    """All events that there are have a line."""
    kinds = {getattr(events, name) for name in events.__all__} - {events.HostEvent, events.ServiceEvent}

    assert {type(event) for event, _, _ in LINES} == kinds


def test_events_of_others_have_no_line(records: list["Record"]) -> None:
    """An event that hostkit does not know makes no line."""
    EventLog(HostOptions(log_level="TRACE"))(events.ServiceEvent(1.0, "web"))

    assert records == []


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_no_line_is_made_below_the_level(level: str, records: list["Record"]) -> None:
    """hostkit makes no line below `log_level`, whatever sinks there are."""  # noqa: D403  # its name
    event_log = EventLog(HostOptions(log_level=level))

    for event, _, _ in LINES:
        event_log(event)

    expected = [(line_level, text) for _, line_level, text in LINES if LEVELS[line_level] >= LEVELS[level]]
    assert [short(record)[:2] for record in records] == expected
    assert event_log.detailed == (LEVELS[level] <= LEVELS["DEBUG"])


def test_levels_are_those_of_loguru() -> None:
    """The levels of the option are loguru's, with its numbers."""
    assert tuple(LEVELS) == LOG_LEVELS
    assert {name: logger.level(name).no for name in LEVELS} == LEVELS


def test_lines_have_an_error_and_a_service(records: list["Record"]) -> None:
    """A line may have the traceback of an error, and the name of a service."""
    error = OSError("no route")

    log("WARNING", "no fields: {}")
    log_error("callback {!r} failed", "name", error=error, service="web")

    first, second = records
    assert short(first) == ("WARNING", "no fields: {}", None)
    assert short(second) == ("ERROR", "callback 'name' failed", "web")
    assert second["exception"] is not None
    assert second["exception"].value is error


def test_a_context_names_its_service() -> None:
    """Each service has a context in which its name is bound, and which is a copy of the host's otherwise."""
    with logger.contextualize(request="7"):
        contexts = LogContexts(copy_context())
    found: list[dict[str, object]] = []
    sink = logger.add(lambda message: found.append(message.record["extra"]))

    web, cache = contexts.of("web"), contexts.of("cache")
    web.run(logger.info, "line")
    cache.run(logger.info, "line")
    web.run(logger.bind(more=1).info, "line")
    logger.info("line")
    logger.remove(sink)

    assert found == [
        {"request": "7", "service": "web"},
        {"request": "7", "service": "cache"},
        {"request": "7", "service": "web", "more": 1},
        {},
    ]


class Talker(BackgroundService):
    async def start(self) -> None:
        logger.info("start")

    async def execute(self, stopping_token: StoppingToken) -> None:
        logger.info("execute")
        async with create_task_group() as group:
            group.start_soon(self.child)
        await to_thread.run_sync(logger.info, "thread")
        await stopping_token.wait()

    async def child(self) -> None:
        logger.info("child")

    async def stop(self) -> None:
        logger.info("stop")


async def test_the_users_lines_name_the_service(records: list["Record"]) -> None:
    """What a service logs by itself carries its name, in its hooks, its tasks and its threads; other lines do not."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(Talker, name="a")
    builder.add_service(Talker, name="b")

    async with builder.build():
        logger.info("embedder")

    lines = [(record["extra"].get("service"), record["message"]) for record in records]
    for name in ("a", "b"):
        own = [message for service, message in lines if service == name]
        assert own == ["start", "execute", "child", "thread", "stop"]
    assert [message for service, message in lines if service is None] == ["embedder"]


async def test_an_embedded_host_configures_nothing() -> None:
    """A host in somebody else's loop touches neither loguru's sinks nor the standard library's logging."""

    def configuration() -> tuple[object, ...]:
        sinks = re.findall(r"id=(\d+)", repr(logger))
        return sinks, logging.root.handlers.copy(), logging.root.level

    before = configuration()
    builder = HostBuilder(HostOptions(log_level="CRITICAL", log_format="json"))
    builder.add_service(HostedService())

    async with builder.build():
        during = configuration()

    assert before == during == configuration()


def test_waits_for_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the process is left without its usual end, lines that are on their way are waited for."""
    written: list[str] = []
    go_on = threading.Event()

    def slow(message: str) -> None:
        go_on.wait(20)
        written.append(message)

    sink = logger.add(slow, enqueue=True, format="{message}")
    logger.info("last words")
    go_on.set()
    complete()
    found = written.copy()
    logger.remove(sink)

    assert found == ["last words\n"]
    monkeypatch.delitem(sys.modules, "loguru")
    complete()
    assert "loguru" not in sys.modules


PROGRAM = """
import logging
import sys
from loguru import logger
from hostkit import EndAction, HostBuilder, HostOptions, StoppingToken

logger.add(sys.stdout, format="NOT WANTED {message}")
logging.basicConfig(format="NOT WANTED %(message)s")
level, form = sys.argv[1:]
PASSWORD = "-".join(["hunter", "2"])
builder = HostBuilder(HostOptions(application_name="app", log_level=level, log_format=form))


def connect(password: str) -> None:
    raise OSError("no route")


@builder.service(on_failure=EndAction.IGNORE)
async def database(stopping_token: StoppingToken) -> None:
    connect(PASSWORD)


@builder.service()
async def worker(stopping_token: StoppingToken) -> None:
    await stopping_token.sleep(0)
    logger.debug("below")
    logger.bind(disk="/dev/sda1", object=stopping_token).warning("nearly <red>full</red>: {}", "90 %")
    library = logging.getLogger("library.disk")
    library.debug("below")
    library.warning("%s {} of %s", "one", "two")
    library.log(35, "between levels")
    try:
        connect(PASSWORD)
    except OSError:
        library.exception("failed")


if __name__ == "__main__":
    builder.build().run()
"""


def output(folder: Path, level: str, form: str) -> list[str]:
    """Run the program, and return what it has written."""
    (folder / "program.py").write_text(PROGRAM)
    with Child(*PYTHON, "-W", "error", "program.py", level, form, cwd=folder) as child:
        assert child.end() == 0, child.text
    assert not [line for line in child.lines if "NOT WANTED" in line or "below" in line]
    return child.lines


def test_a_host_that_owns_its_process_writes_text(tmp_path: Path) -> None:
    """`run()` sets one sink up, on standard error: time, level, service or module, and message."""
    lines = output(tmp_path, "INFO", "text")

    heads = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| ", line)]
    assert [re.sub(r"\d+\.\d\d s", "0.00 s", line.partition(" | ")[2]) for line in heads] == [
        "INFO     | hostkit | starting app with 2 services",
        "INFO     | hostkit | started 2 services in 0.00 s",
        "ERROR    | database | service database failed: OSError('no route')",
        "WARNING  | worker | nearly <red>full</red>: 90 %",
        "WARNING  | worker | one {} of two",
        "Level 35 | worker | between levels",
        "ERROR    | worker | failed",
        "INFO     | hostkit | stopping: nothing left to do: every service has ended",
        "INFO     | hostkit | stopped in 0.00 s, exit code 0",
    ]


def test_tracebacks_show_no_values(tmp_path: Path) -> None:
    """A traceback shows the lines of code, and never the values of arguments, which may be secrets."""
    for form in ("text", "json"):
        text = "\n".join(output(tmp_path, "INFO", form))

        assert text.count("OSError: no route") == 2
        assert text.count("    connect(PASSWORD)") == 2
        assert SECRET not in text
        assert "builder.build().run()" not in text  # from the service on, not from the beginning of the process


def test_a_host_that_owns_its_process_writes_json(tmp_path: Path) -> None:
    """With `log_format="json"` every line is one object, with what was bound to it."""
    lines = [json.loads(line) for line in output(tmp_path, "WARNING", "json")]

    assert [(line["level"], line["logger"], line.get("service"), line["message"]) for line in lines] == [
        ("ERROR", "hostkit", "database", "service database failed: OSError('no route')"),
        ("WARNING", "__main__", "worker", "nearly <red>full</red>: 90 %"),
        ("WARNING", "library.disk", "worker", "one {} of two"),
        ("Level 35", "library.disk", "worker", "between levels"),
        ("ERROR", "library.disk", "worker", "failed"),
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]", line["time"]) for line in lines)
    assert lines[1]["disk"] == "/dev/sda1"
    assert lines[1]["object"].startswith("<hostkit._tokens.stopping_token.StoppingToken object")
    assert [line.get("exception", "").startswith("Traceback (most recent call last):\n") for line in lines] == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_what_is_bound_replaces_nothing(tmp_path: Path) -> None:
    """In JSON what a line says itself wins over what is bound to it under the same name."""
    code = """
        from loguru import logger
        from hostkit import HostOptions
        from hostkit._config.logging import configure
        configure(HostOptions(log_format="json"))
        logger.bind(level="mine", message="mine", time="mine", logger="mine", more="kept").info("line")
    """

    with Child(*PYTHON, "-c", textwrap.dedent(code), cwd=tmp_path) as child:
        child.end()

    (line,) = map(json.loads, child.lines)
    assert (line["level"], line["message"], line["logger"], line["more"]) == ("INFO", "line", "__main__", "kept")


@pytest.mark.parametrize("chosen", [None, "1"])
def test_leaves_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None) -> None:
    """That loguru is to add no sink of its own is not told to child processes."""
    code = """
        import os, sysconfig
        from hostkit import HostOptions
        from hostkit._config.logging import configure
        schemes = sysconfig.get_scheme_names
        configure(HostOptions())
        from loguru import logger
        print(os.environ.get("LOGURU_AUTOINIT"), sysconfig.get_scheme_names is schemes, len(logger._core.handlers))
    """
    if chosen is None:
        monkeypatch.delenv("LOGURU_AUTOINIT", raising=False)
    else:
        monkeypatch.setenv("LOGURU_AUTOINIT", chosen)

    with Child(*PYTHON, "-c", textwrap.dedent(code), cwd=tmp_path) as child:
        child.end()

    assert child.lines == [f"{chosen} True 1"]


def test_needs_no_standard_error(tmp_path: Path) -> None:
    """A process without standard error, such as a service of the system, writes nothing and goes on."""
    code = """
        import logging, sys
        from loguru import logger
        from hostkit import HostOptions
        from hostkit._config.logging import configure
        sys.stderr = None
        configure(HostOptions())
        logger.error("line")
        logging.getLogger("library").error("line")
        print("went on")
    """

    with Child(*PYTHON, "-c", textwrap.dedent(code), cwd=tmp_path) as child:
        child.end()

    assert child.lines == ["went on"]


def test_lines_of_the_host_are_not_a_services(records: list["Record"]) -> None:
    """A line of the host that a service's code has caused does not carry that service's name."""
    with logger.contextualize(service="web", request="7"):
        log("INFO", "the host's")
        log("INFO", "another's", service="cache")

    assert [record["extra"] for record in records] == [{"request": "7"}, {"request": "7", "service": "cache"}]


def test_details_are_on_request(tmp_path: Path) -> None:
    """With `log_level="DEBUG"` the start and the stop of single services are told, and the libraries' details."""
    (tmp_path / "program.py").write_text(PROGRAM)

    with Child(*PYTHON, "program.py", "DEBUG", "text", cwd=tmp_path) as child:
        child.end()

    told = [line.rpartition(" | ")[2] for line in child.lines]
    assert told.count("below") == 2
    assert "service worker starting" in told
    assert [line for line in told if line.startswith("service worker stopped in ")]


EMBEDDED = """
import sys
import anyio
import hostkit, hostkit.events, hostkit.testing, hostkit.scheduling
assert "loguru" not in sys.modules
import logging
from loguru import logger
logger.remove()
builder = hostkit.HostBuilder(hostkit.HostOptions(log_level="TRACE"))
builder.add_service(hostkit.HostedService())

async def main():
    async with builder.build():
        pass

anyio.run(main)
assert "id=" not in repr(logger), logger
assert logging.root.handlers == []
"""


def test_importing_and_embedding_print_nothing(tmp_path: Path) -> None:
    """Importing hostkit, and a host in somebody's loop, add no sink and print nothing by themselves."""
    with Child(*PYTHON, "-c", EMBEDDED, cwd=tmp_path) as child:
        assert child.end() == 0, child.text

    assert child.lines == []
