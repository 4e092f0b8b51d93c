"""What a host that owns its process writes to standard error, and what it does without one."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import Child
from process_child import ForkServer, app

pytest_plugins = ["process_fixtures"]

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| (\w+) +\| ([\w.-]+) \| (.*)")


def test_logs_lines_of_text(fork_server: ForkServer) -> None:
    """A line has time, level, the service whose code has written it or else the logger, and the message."""
    outcomes = fork_server.outcomes("talkative", "text", ready=None)

    for outcome in outcomes:
        lines = [match.groups() for line in outcome.errors.splitlines() if (match := LINE.fullmatch(line))]
        assert lines == [
            ("INFO", "hostkit", "starting app with 2 services"),
            ("INFO", "hostkit", lines[1][2]),
            ("INFO", "talker", "by loguru"),
            ("INFO", "talker", "with extras"),
            ("WARNING", "talker", "by logging"),
            ("INFO", "talker", "{no format}"),
            ("ERROR", "talker", "service talker failed: PermissionError('refused')"),
            ("INFO", "hostkit", "stopping: service 'talker' failed: PermissionError: refused"),
            ("INFO", "hostkit", lines[-1][2]),
        ]
        assert re.fullmatch(r"started 2 services in \d\.\d\d s", lines[1][2])
        assert re.fullmatch(r"stopped in \d\.\d\d s, exit code 1", lines[-1][2])


def test_logs_one_json_object_a_line(fork_server: ForkServer) -> None:
    """With the format ``json`` every line is an object, tracebacks and line breaks included."""
    outcomes = fork_server.outcomes("talkative", "json", ready=None)

    for outcome in outcomes:
        lines = [json.loads(line) for line in outcome.errors.splitlines()]
        assert [line["message"] for line in lines][2:6] == [
            "by loguru\nin two lines",
            "with extras",
            "by logging",
            "{no format}",
        ]
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        assert [line.get("service") for line in lines] == [None, None, *["talker"] * 5, None, None]
        extras = lines[3]
        assert (extras["order"], extras["level"]) == (17, "INFO")
        assert lines[4]["logger"] == "somebody.else"
        assert lines[6]["exception"].startswith("Traceback")


def test_leaves_logging_to_the_app(fork_server: ForkServer) -> None:
    """With ``configure_logging=False`` the lines go where the app sends its own, in the app's format."""
    outcomes = fork_server.outcomes("talkative", "json", "by-itself", ready=None)

    for outcome in outcomes:
        assert "service talker failed" in outcome.errors
        assert not outcome.errors.startswith("{")


@pytest.mark.parametrize("level", ["CRITICAL", "unconfigured"])
def test_names_what_is_stuck_whatever_is_logged(fork_server: ForkServer, level: str) -> None:
    """What ends the process is told where nothing else is logged, and where the app has turned logging off."""
    outcomes = fork_server.outcomes("quiet", level)

    for outcome in outcomes:
        assert outcome.code == 3
        assert outcome.tells_where("'deaf'", "leaving the process with exit code 3")
        assert len(outcome.errors.splitlines()) == 1


@contextmanager
def without_standard_error(*arguments: str | Path) -> Iterator[Child]:
    """Run a command whose standard error is closed."""
    with Child("sh", "-c", 'exec "$@" 2>&-', "sh", *arguments, apart=True) as child:
        yield child


@pytest.mark.parametrize(
    ("suspect", "code"), [("clean", 0), ("in-thread", 3), ("blocks-in-python", 1), ("blocks-in-c", 1)]
)
def test_needs_no_standard_error(tmp_path: Path, suspect: str, code: int) -> None:
    """Without standard error the host runs, stops and leaves as ever, and writes into no file that has its number."""
    file = tmp_path / "data"

    with without_standard_error(*app("without-errors", "asyncio", suspect, str(file))) as child:
        child.reads("ready")
        child.send(signal.SIGUSR1, signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == code
    assert outcome.output[0] == "descriptor 2, None"
    assert file.read_text(encoding="utf-8") == ""


def test_the_command_needs_no_standard_error() -> None:
    """The command line's own errors are exit code 2 even where nobody can read them."""
    with without_standard_error(sys.executable, "-m", "hostkit", "run", "nowhere") as child:
        outcome = child.ends()

    assert outcome.code == 2


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_survives_the_loss_of_its_reader(log_format: str) -> None:
    """When the reader of standard error goes away, the host runs on, and stops with exit code 0."""
    script = 'exec 3>&1; { "$@" 2>&1 >&3 3>&-; echo "code $?" >&3; } | { read line; }; exec 3>&-'
    with Child("sh", "-c", script, "sh", *app("loses-reader", "asyncio", log_format), apart=True) as child:
        outcome = child.ends()

    assert outcome.output == ["first start", "reader lost", "first told", "first stop", "code 0"]
