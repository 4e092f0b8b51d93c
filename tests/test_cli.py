"""The command line: what it says, what it refuses, and a few real runs; the rest of `run` is in the process tests."""

import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from children import HOSTKIT, PYTHON, Child
from fuzz_command import run as answer

from hostkit import HostBuilder, HostOptions, cli

HOST = """
from hostkit import HostBuilder, HostOptions

builder = HostBuilder(HostOptions(shutdown_timeout=7))


@builder.service()
async def worker() -> None:
    print(f"working, stop within {host.options.shutdown_timeout:g} s")


host = builder.build()
"""
PROGRAM = """
from hostkit import Host, HostBuilder, HostSettings
from hostkit.cli import run


class Settings(HostSettings):
    directory: str
    dry_run: bool = False


def build(settings: Settings) -> Host:
    builder = HostBuilder(settings)

    @builder.service()
    async def worker() -> None:
        print(f"directory {settings.directory}, dry run {settings.dry_run}")
        builder.lifetime.request_stop("enough", exit_code=7)

    return builder.build()


if __name__ == "__main__":
    run(build)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with two programs; what is loaded from it is forgotten again."""
    (tmp_path / "app.py").write_text(HOST)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HOSTKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = sys.modules.copy()
    yield tmp_path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "arguments", [[], ["-h"], ["--help"], ["run", "-h"], ["run", "--help", "app.py"], ["show", "--help"]]
)
def test_tells_how_it_is_used(arguments: list[str], capfd: Output) -> None:
    """Without arguments, or when asked, the command line says what can be said to it."""
    cli.main(arguments)

    out, err = capfd.readouterr()
    assert out.startswith("usage: hostkit run TARGET [flags] ")
    assert err == ""


def test_tells_its_version(capfd: Output) -> None:
    """`hostkit --version` is the distribution's version."""
    cli.main(["--version"])

    assert capfd.readouterr() == (f"hostkit {version('hostkit-py')}\n", "")


def refusal(capfd: Output, *arguments: str) -> list[str]:
    """Return the lines with which the arguments are refused."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    out, err = capfd.readouterr()
    assert (caught.value.code, out) == (2, "")
    return err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "no target: hostkit run TARGET [flags]"),
        (["show"], "no target: hostkit show TARGET [flags]"),
        (["run", "--dashboard", "app.py"], "no target: hostkit run TARGET [flags]"),
        (["show", "--json", "app.py"], "no target: hostkit show TARGET [flags]"),
        (["stop", "app.py"], "no such command: 'stop'"),
        (["app.py"], "no such command: 'app.py'"),
        (["run", "nowhere.py"], "no such file: 'nowhere.py'"),
        (["run", "nowhere"], "no such module: 'nowhere'"),
        (["run", "app:nowhere"], "'app' has no nowhere"),
        (["run", "app:builder"], "not a host, but a builder that was built already; give the host that it has made"),
        (
            ["run", "app.py:HostBuilder"],
            "'app.py:HostBuilder' is not a host: <class 'hostkit._core.builder.HostBuilder'>; give a Host, ",
        ),
        (["run", "app.py", "--wrong"], "unrecognized arguments: --wrong"),
        (["run", "program.py"], "--directory (or DIRECTORY) is required"),
        (["show", "nowhere.py"], "no such file: 'nowhere.py'"),
        (["show", "app.py", "--xml"], "unrecognized arguments: --xml"),
    ],
)
def test_refuses_in_one_line(arguments: list[str], words: str, capfd: Output) -> None:
    """What is wrong with a command, a target or a flag is one line on standard error, and exit code 2."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    (line,) = refusal(capfd, *arguments)

    assert line.startswith(f"hostkit: {words}")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("command", ["run", "show"])
@pytest.mark.parametrize(
    "line", ["host.run()", "import asyncio; asyncio.run(host.run_async())", "import hostkit.cli; hostkit.cli.run(host)"]
)
def test_a_target_that_runs_its_host_is_told_what_to_do(command: str, line: str, folder: Path, capfd: Output) -> None:
    """Loading a target starts nothing: a module that would run its host when it is imported is refused."""
    (folder / "runs.py").write_text(f"{HOST}{line}\n")

    with pytest.raises(SystemExit) as caught:
        cli.main([command, "runs.py"])

    output, errors = capfd.readouterr()
    assert caught.value.code == 2
    assert errors == 'hostkit: the target runs a host while it is loaded; put that under if __name__ == "__main__":\n'
    assert output == ""


def test_refuses_all_wrong_values_together(capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong flags and variables are named together, a line each."""
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")

    lines = refusal(capfd, "run", "program.py", "--directory", "logs", "--shutdown-timeout", "-1")

    assert lines == [
        "hostkit: --shutdown-timeout -1: must be a number of seconds, 0 or more",
        "hostkit: HOSTKIT_LOG_FORMAT=xml: must be one of text, json",
    ]


@pytest.mark.parametrize("target", ["broken.py", "broken"])
def test_an_error_of_the_program_is_shown_as_it_is(target: str, folder: Path) -> None:
    """What goes wrong inside the user's code comes out with its traceback, a missing module too."""
    (folder / "broken.py").write_text("import nowhere\n")

    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        cli.main(["run", target])


def test_the_arguments_are_the_processs_own(capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments given, those of the process are taken, by `main` and by `run`."""
    monkeypatch.setattr(sys, "argv", ["hostkit", "stop"])
    with pytest.raises(SystemExit):
        cli.main()
    monkeypatch.setattr(sys, "argv", ["app.py", "--wrong"])
    with pytest.raises(SystemExit) as caught:
        cli.run(HostBuilder(HostOptions()))

    assert caught.value.code == 2
    assert capfd.readouterr().err.splitlines() == [
        "hostkit: no such command: 'stop'",
        "hostkit: unrecognized arguments: --wrong",
    ]


def test_run_is_called_like_the_program(capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags of `hostkit.cli.run` are those of the program that calls it."""
    monkeypatch.setattr(sys, "argv", ["app.py", "--help"])
    with pytest.raises(SystemExit):
        cli.run(HostBuilder(HostOptions()))

    assert capfd.readouterr().out.startswith("usage: app.py ")


def test_run_needs_no_arguments_of_a_process(capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process without `sys.argv`, the help has a name all the same."""
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit):
        cli.run(HostBuilder(HostOptions()), ["--help"])

    assert capfd.readouterr().out.startswith("usage: python ")


def test_show_takes_the_flags_of_run(capfd: Output) -> None:
    """`hostkit show` shows the host as `hostkit run` with the same flags would run it."""
    cli.main(["show", "program.py", "--directory", "logs", "--json", "--shutdown-timeout", "3"])

    assert '"shutdown_timeout": 3.0' in capfd.readouterr().out


def test_run_refuses_what_is_no_host(capfd: Output) -> None:
    """`hostkit.cli.run` refuses as the command does."""
    with pytest.raises(SystemExit) as caught:
        cli.run(42, [])

    assert caught.value.code == 2
    assert capfd.readouterr().err.startswith("hostkit: not a host: 42; ")


@pytest.mark.parametrize(("target", "own"), [("program.py", True), ("app.py", False)])
def test_a_target_tells_its_flags(target: str, capfd: Output, *, own: bool) -> None:
    """`hostkit run TARGET --help` shows the host's flags, and those of the program's own settings."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", target, "--help"])

    out, err = capfd.readouterr()
    assert caught.value.code == 0
    assert out.startswith(f"usage: hostkit run {target} ")
    assert "--shutdown-timeout" in out
    assert "for services to end by themselves" in out
    assert ("--directory" in out) == own
    assert err == ""


def test_a_target_tells_what_holds_without_flags(capfd: Output) -> None:
    """The defaults that `--help` shows are those of the host, as its program has set them."""
    with pytest.raises(SystemExit):
        cli.main(["run", "app.py", "--help"])

    out = " ".join(capfd.readouterr().out.split())
    assert "for services to end by themselves (default: 7)" in out
    assert "shown in log lines and in the status (default: app)" in out
    assert "factory" not in out


def test_an_event_loop_that_is_not_installed_is_one_line(capfd: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is missing is refused before anything starts."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    lines = refusal(capfd, "run", "app:host", "--backend", "trio")

    assert lines == ["hostkit: backend 'trio' is not installed; install hostkit-py[trio]"]


def test_shows_a_host_without_starting_it(capfd: Output) -> None:
    """`hostkit show` tells the services of a target, as a table or as JSON."""
    cli.main(["show", "app.py"])
    table = capfd.readouterr().out
    cli.main(["show", "app.py", "--json"])
    text = capfd.readouterr().out

    assert "worker" in table
    assert '"worker"' in text
    assert "working" not in table + text


@pytest.mark.parametrize("command", [HOSTKIT, (*PYTHON, "-m", "hostkit")], ids=["hostkit", "python -m"])
def test_runs_a_target(command: tuple[str, ...], folder: Path) -> None:
    """`hostkit run` runs a host to its end, with flags that win over the code."""
    with Child(*command, "run", "app.py", "--shutdown-timeout", "3", cwd=folder) as child:
        exit_code = child.end()

    assert exit_code == 0
    assert "working, stop within 3 s" in child.lines
    assert len([line for line in child.lines if line.endswith(" | hostkit | starting app with 1 service")]) == 1


@pytest.mark.parametrize(
    "command", [(*HOSTKIT, "run", "program.py"), (*PYTHON, "program.py")], ids=["hostkit", "run()"]
)
def test_runs_with_settings(command: tuple[str, ...], folder: Path) -> None:
    """A program with settings of its own takes the same flags by `hostkit run` and by `hostkit.cli.run`."""
    with Child(*command, "--directory", "logs", "--dry-run", cwd=folder) as child:
        exit_code = child.end()

    assert exit_code == 7
    assert "directory logs, dry run True" in child.lines
    assert len([line for line in child.lines if line.endswith(" | hostkit | starting program with 1 service")]) == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "dotenv"),
    [
        (["run", "\0"], {}, None),
        (["run", "é\udc80:host"], {}, None),
        (["run", ""], {}, None),
        (["run", ":"], {}, None),
        (["run", "app:"], {}, None),
        (["run", "x" * 5000], {}, None),
        (["run", "notes.pyz"], {}, None),
        (["run", "..app"], {}, None),
        (["run", "app", "--=x", "--", "-"], {}, None),
        (["run", "app", "--shutdown-timeout=\0\x1b[2K"], {}, None),
        (["run", "app:build", "--tags", "[1,"], {}, None),
        (["run", "app:build", "--keep", "1e999", "--limits", '{"a": nan}'], {}, None),
        (["run", "app:build", "--inner.port=\ud800"], {}, None),
        (["show", "app:number", "--json", "--json"], {}, None),
        (["show", "app"], {"HOSTKIT_LAG_WARNING": "9" * 5000}, None),
        (["show", "app:prefixed"], {"APP_INNER__PORT": "[]", "APP_INNER": "{"}, None),
        (["run", "app"], {}, b"\xff\xfe=1\nHOSTKIT_BACKEND='\n"),
        (["run", "app:build"], {"HOSTKIT_STOP_DELAY": "\udc80"}, b"TOKEN=\0"),
    ],
)
def test_whatever_is_given_a_few_clear_lines_answer(
    arguments: list[str], variables: dict[str, str], dotenv: bytes | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nastiest of what `fuzz_command.py` makes up: exit code 2 or nothing wrong, printable, and no traceback."""
    for name in ("run_process", "write_error"):
        monkeypatch.setattr(cli, name, getattr(cli, name))  # put back what the fuzzer replaces
    (folder / "notes.pyz").write_text("no zip")

    answer(arguments, variables, dotenv, folder)
