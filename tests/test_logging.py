"""Log lines: hostkit's own, made of its events, and the user's, which name the service that writes them."""

import io
import json
import logging
import re
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group, to_thread
from children import PYTHON, Child
from loguru import logger

from hostkit import BackgroundService, HostBuilder, HostedService, HostOptions, StoppingToken, events
from hostkit._config.event_log import EventLog
from hostkit._config.log_format import traceback_of
from hostkit._config.logging import LEVELS, complete, log, log_error
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
    (events.StopAnnounced(1.0, "signal SIGTERM", 5.0), "INFO", "stopping in 5 s: signal SIGTERM"),
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
    (
        events.ServiceRestarting(1.0, "web", 1.26, 9, 3, None),
        "WARNING",
        "service web restarting in 1.3 s, restart 9",
    ),
    (
        events.ServiceRestarting(1.0, "web", 1.26, 9, 4, 5),
        "WARNING",
        "service web restarting in 1.3 s, restart 4 of 5",
    ),
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
    EventLog(HostOptions(log_level="DEBUG"), owns_process=True)(event)

    (record,) = records
    assert short(record) == (level, text, getattr(event, "service", None))
    assert record["name"] == "hostkit"
    assert (record["exception"] is None) == (not isinstance(event, events.ServiceFailed))


def test_no_event_is_without_a_line() -> None:
    """All events of the host itself have a line."""
    kinds = {getattr(events, name) for name in events.__all__} - {events.HostEvent, events.ServiceEvent}
    # A scheduler and a queue write the lines of their runs and jobs themselves.
    of_services = {events.RunFinished, events.RunSkipped, events.JobFailed, events.JobsLost}

    assert {type(event) for event, _, _ in LINES} == kinds - of_services


def test_events_of_others_have_no_line(records: list["Record"]) -> None:
    """An event that hostkit does not know makes no line."""
    EventLog(HostOptions(log_level="TRACE"))(events.ServiceEvent(1.0, "web"))

    assert records == []


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_no_line_is_made_below_the_level(level: str, records: list["Record"]) -> None:
    """hostkit makes no line below `log_level`, whatever sinks there are."""  # noqa: D403  # its name
    event_log = EventLog(HostOptions(log_level=level), owns_process=True)

    for event, _, _ in LINES:
        event_log(event)

    expected = [(line_level, text) for _, line_level, text in LINES if LEVELS[line_level] >= LEVELS[level]]
    assert [short(record)[:2] for record in records] == expected
    assert event_log.detailed == (LEVELS[level] <= LEVELS["DEBUG"])


def test_an_embedded_host_has_no_exit_code(records: list["Record"]) -> None:
    """The exit code of a process that embeds a host, or whose loop has ended under it, is not the host's."""
    stopped = events.HostStopped(1.0, "done", 0, 2.5)
    EventLog(HostOptions())(stopped)
    EventLog(HostOptions(), owns_process=True)(events.HostStopped(1.0, "event loop ended", 0, 2.5))

    assert [record["message"] for record in records] == ["stopped in 2.50 s"] * 2


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        (events.StopRequested(1.0, "signal SIGINT"), " (a second Ctrl-C cancels everything at once)"),
        (events.StopRequested(1.0, "signal SIGTERM"), " (a second signal cancels everything at once)"),
        (events.StopAnnounced(1.0, "signal SIGINT", 5.0), " (a second Ctrl-C ends the delay)"),
        (events.StopRequested(1.0, "enough"), ""),
    ],
)
def test_the_first_stop_line_in_a_terminal_says_what_a_second_signal_does(
    event: events.HostEvent, hint: str, records: list["Record"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal a person who has stopped the host learns how to hurry it; elsewhere nothing is added."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    event_log = EventLog(HostOptions(), owns_process=True)
    event_log(event)
    monkeypatch.setattr(sys, "stderr", Terminal())
    event_log(event)
    EventLog(HostOptions())(event)

    plain, hinted, embedded = (record["message"] for record in records)
    assert hinted == plain + hint
    assert embedded == plain


@pytest.mark.parametrize("stream", [None, object(), io.StringIO()])
def test_a_standard_error_that_cannot_say_what_it_is_is_no_terminal(
    stream: object, records: list["Record"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop by a signal is logged where standard error was closed, or replaced by what has no `isatty`."""
    if isinstance(stream, io.StringIO):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)

    EventLog(HostOptions(), owns_process=True)(events.StopRequested(1.0, "signal SIGTERM"))

    assert [record["message"] for record in records] == ["stopping: signal SIGTERM"]


def test_no_line_can_be_forged(records: list["Record"]) -> None:
    """What a name or an error has to say stays on one line, with control characters as escapes."""
    forged = "x\n2026-01-01 00:00:00.000 | INFO     | hostkit | all is well\x1b[2K\r\u2028"

    EventLog(HostOptions())(events.HostStarting(1.0, forged, 2))
    EventLog(HostOptions())(events.ServiceFailed(1.0, forged, OSError(forged), retried=False))
    log("INFO", "{}", forged)

    assert len(records) == 3
    assert all(record["message"].isprintable() for record in records)


def test_what_cannot_be_shown_is_named() -> None:
    """An error whose traceback cannot be made is shown by its text."""

    class WrongCause(Exception):  # noqa: N818  # a fake
        @property
        def __cause__(self) -> BaseException | None:  # type: ignore[override]
            message = "no cause"
            raise ValueError(message)

    assert traceback_of(WrongCause("text")) == "WrongCause: text (its traceback cannot be shown)"


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
    assert lines[1]["object"].startswith("<hostkit._tokens.stopping_token.StoppingSource object")
    assert lines[1]["object"].startswith("<hostkit._tokens.stopping_token.StoppingSource object")
    assert [line.get("exception", "").startswith("Traceback (most recent call last):\n") for line in lines] == [
        True,
        False,
        False,
        False,
        True,
    ]


def run_code(folder: Path, code: str, *, expected: int = 0) -> list[str]:
    """Run code in a process of its own, and return its lines."""
    with Child(*PYTHON, "-W", "error", "-c", textwrap.dedent(code), cwd=folder) as child:
        assert child.end() == expected, child.text
    return child.lines


def test_a_text_line_cannot_be_forged(tmp_path: Path) -> None:
    """What belongs to a line is indented: the text of an error, a message with a line break, a name of a logger."""
    code = """
        import logging
        from hostkit import HostOptions
        from hostkit._config.logging import configure
        configure(HostOptions())
        forged = "x\\n2026-01-01 00:00:00.000 | INFO     | hostkit | all is well"
        logging.getLogger(forged).warning(forged)
        logging.getLogger("<stdin> {x}").warning("markup")
        try:
            raise OSError(forged)
        except OSError:
            logging.getLogger("a").exception("one\\rtwo")
    """

    lines = run_code(tmp_path, code)

    assert not [line for line in lines if line.startswith("2026-01-01")]
    assert sum("| WARNING  | " in line for line in lines) == 2
    assert lines[2].endswith("| WARNING  | <stdin> {x} | markup")
    assert lines[3].endswith("| ERROR    | a | one\\rtwo")
    assert lines[4] == "    Traceback (most recent call last):"


def test_no_json_line_is_lost(tmp_path: Path) -> None:
    """Whatever is bound to a line, there is one, it is valid JSON, and has the message in full."""
    code = """
        import logging, math, sys
        from loguru import logger
        from hostkit import HostOptions
        from hostkit._config.logging import configure, log
        configure(HostOptions(log_format="json"))

        class Rude:
            def __str__(self):
                raise ValueError("no")
            __repr__ = __str__

        circular = []
        circular.append(circular)
        deep = {}
        for _ in range(100_000):
            deep = {"deeper": deep}
        for value in ({(1, 2): "tuple"}, circular, Rude(), deep, math.nan, [math.inf], {1, 2}, b"x"):
            logger.bind(value=value).info("line " * 1000)
        logging.getLogger("library").warning("with %s", "extra", extra={"order": 17})
        logging.getLogger("library").warning("wrong %d", "arguments")
        class Notes(Exception):
            @property
            def __notes__(self):
                raise ValueError("no")
        try:
            raise Notes("text")
        except Notes as error:
            log("ERROR", "failed", error=error)
    """

    lines = run_code(tmp_path, code)

    found = [json.loads(line, parse_constant=pytest.fail) for line in lines if line.startswith("{")]
    assert [line["message"] for line in found[:-1]] == ["line " * 1000] * 8 + ["with extra"]
    # Python itself has shown such an error since 3.13.
    assert found[-1]["message"] in ("failed", "failed (its traceback cannot be logged)")
    values = [line.get("value") for line in found]
    assert values[0] == {"(1, 2)": "tuple"}
    assert values[4:7] == ["nan", ["inf"], "{1, 2}"]
    assert found[8]["order"] == 17


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_is_written_in_one_piece(log_format: str, tmp_path: Path) -> None:
    """Where standard error has no buffer, what other threads and processes write comes before or after a line."""
    code = f"""
        import sys
        from loguru import logger
        from hostkit import HostOptions
        from hostkit._config.logging import configure

        class Stream:
            def write(self, text):
                print(text.count("\\n"), text.endswith("\\n"))
            def flush(self):
                pass

        sys.stderr = Stream()
        configure(HostOptions(log_format="{log_format}"))
        logger.info("line")
    """

    assert run_code(tmp_path, code) == ["1 True"]


def test_lines_of_exit_handlers_are_not_lost(tmp_path: Path) -> None:
    """What exit handlers log is written, also those registered before the host ran; other sinks are closed."""
    code = """
        import atexit
        from loguru import logger
        atexit.register(lambda: logger.info("early"))
        from hostkit import HostBuilder, HostOptions
        builder = HostBuilder(HostOptions({}))
        builder.build().run()
        {}
        atexit.register(lambda: logger.info("late"))
    """

    for sink in ("", "logger.add('file.log', format='{message}', enqueue=True)"):
        lines = run_code(tmp_path, code.format('log_level="INFO"', sink))

        assert [line.rpartition(" | ")[2] for line in lines[-2:]] == ["late", "early"]
    assert (tmp_path / "file.log").read_text(encoding="utf-8") == "late\n"


EMBEDDING = """
    import asyncio, sys
    from hostkit import EndAction, HostBuilder, HostOptions, StoppingToken

    def connect(user, password):
        raise ConnectionError("smtp down")

    async def main():
        builder = HostBuilder(HostOptions({options}))

        @builder.service(on_failure=EndAction.IGNORE, name="mail\\nforged")
        async def mail(stopping_token: StoppingToken):
            connect("ada", "hunter" + str(1 + 1))

        async with builder.build():
            await asyncio.sleep(0.01)

    {before}
    asyncio.run(main())
    {after}
"""


WITHOUT_SINK = "import os; os.environ['LOGURU_AUTOINIT'] = 'No'; from loguru import logger"


@pytest.mark.parametrize("before", ["", "import loguru", WITHOUT_SINK])
def test_embedded_without_loguru_the_standard_library_writes(tmp_path: Path, before: str) -> None:
    """In a process that never configured loguru the lines are stdlib's, with an ordinary traceback and no values."""
    after = "print('loguru' in sys.modules)"

    lines = run_code(tmp_path, EMBEDDING.format(options="", before=before, after=after))

    assert [line for line in lines if "hunter2" in line or "|" in line] == []
    assert lines[0].startswith("service mail\\nforged failed: ConnectionError('smtp down')")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2] == "ConnectionError: smtp down"
    assert lines[-1] == str(bool(before))


def test_embedded_the_standard_loggers_have_names(tmp_path: Path) -> None:
    """The loggers are `hostkit` and `hostkit.<service>`, for an app that sets its own logging up."""
    before = "import logging; logging.basicConfig(level=10, format='%(levelname)s %(name)s %(message)s')"

    lines = run_code(tmp_path, EMBEDDING.format(options='application_name="app"', before=before, after=""))

    assert "INFO hostkit starting app with 1 service" in lines
    assert "ERROR hostkit.mail\\nforged service mail\\nforged failed: ConnectionError('smtp down')" in lines


@pytest.mark.parametrize(
    ("options", "before"),
    [
        ('logging="loguru"', "from loguru import logger"),
        ("", "from loguru import logger; logger.remove(); logger.add(sys.stderr, format='{name} | {message}')"),
        ("", f"{WITHOUT_SINK}; logger.add(sys.stderr, format='{{name}} | {{message}}')"),
    ],
)
def test_embedded_loguru_writes_where_it_was_configured(tmp_path: Path, options: str, before: str) -> None:
    """Once the app has configured loguru, or says that it wants it, the lines go there."""
    lines = run_code(tmp_path, EMBEDDING.format(options=options, before=before, after=""))

    assert [line for line in lines if ("hostkit" in line and "| starting" in line) or "- starting" in line]


def test_the_log_decides_nothing(tmp_path: Path) -> None:
    """A sink that raises, and an error that cannot be printed, end no host."""
    code = """
        import sys
        from loguru import logger
        from hostkit import EndAction, HostBuilder, HostOptions, StoppingToken

        class Unprintable(Exception):
            def __str__(self):
                raise ValueError("no")
            __repr__ = __str__
            __notes__ = None

        def sink(message):
            raise OSError("disk full")

        builder = HostBuilder(HostOptions(log_level="DEBUG"))

        @builder.service(on_failure=EndAction.IGNORE)
        async def bad(stopping_token: StoppingToken):
            raise Unprintable

        @builder.service()
        async def good(stopping_token: StoppingToken):
            await stopping_token.sleep(0.05)
            print("good")

        host = builder.build()
        logger.add(sink, catch=False)
        host.lifetime.on_started(lambda: logger.add(sink, catch=False))
        host.run()
    """

    lines = run_code(tmp_path, code)

    assert "good" in lines
    assert any("cannot log" in line and "disk full" in line for line in lines)


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
