"""The command ``hostkit run`` in a process of its own: targets, flags, settings, and what is wrong with them."""

import shutil
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from children import Child, Outcome
from process_child import app

APP = """
import os
from hostkit import HostBuilder, HostSettings

builder = HostBuilder()


@builder.service()
async def worker(stopping_token):
    options = host.options
    os.write(1, f"{options.application_name} {options.shutdown_timeout:g} {options.log_format}\\n".encode())
    await stopping_token.wait()


class Settings(HostSettings):
    directory: str
    keep: int = 3


def configured(settings: Settings):
    made = HostBuilder(settings)

    @made.service()
    async def shows():
        os.write(1, f"{settings.directory} {settings.keep} {made.options.shutdown_timeout:g}\\n".encode())

    return made


async def not_so(): ...
def too_much(one, two): ...


number = 3
host = builder.build()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an app in it, as a module, in a package, and with a module missing."""
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "inside.py").write_text("from app import host\n", encoding="utf-8")
    (package / "broken.py").write_text("import package.nowhere\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit(5)\n", encoding="utf-8")
    (tmp_path / "runs.py").write_text(f"{APP}\nimport hostkit.cli\nhostkit.cli.run(configured)\n", encoding="utf-8")
    return tmp_path


def hostkit(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run the command until it ends by itself."""
    with Child(sys.executable, "-m", "hostkit", *arguments, cwd=directory, env=environment, apart=True) as child:
        return child.ends()


@pytest.mark.parametrize("target", ["app", "app.py", "app:host", "app.py:host", "./app.py", "package.inside"])
def test_runs_a_target(directory: Path, target: str) -> None:
    """A target is a module or a file, with or without a name; what it holds is run, and stopped by SIGTERM."""
    with Child(sys.executable, "-m", "hostkit", "run", target, cwd=directory, apart=True) as child:
        child.reads("started 1 service")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == [f"{'inside' if 'inside' in target else 'app'} 20 text"]
    assert "stopping: signal SIGTERM" in outcome.errors


def test_a_handler_of_the_target_gives_way(directory: Path) -> None:
    """A handler that a module installs when it is imported is replaced, as `Host.run` would in that module."""
    source = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n{APP}"
    (directory / "handles.py").write_text(source, encoding="utf-8")

    with Child(sys.executable, "-m", "hostkit", "run", "handles", cwd=directory, apart=True) as child:
        child.reads("started 1 service")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert "stopping: signal SIGTERM" in outcome.errors


def test_flags_win_over_the_environment(directory: Path) -> None:
    """Flags win over variables, and reach a host that was built when its module was imported."""
    arguments = [sys.executable, "-m", "hostkit", "run", "app", "--shutdown-timeout", "9", "--application-name", "shop"]
    environment = {"HOSTKIT_SHUTDOWN_TIMEOUT": "7", "HOSTKIT_LOG_FORMAT": "json"}
    with Child(*arguments, cwd=directory, env=environment, apart=True) as child:
        child.reads("started 1 service")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["shop 9 json"]
    assert outcome.errors.startswith("{")


def test_fields_of_a_settings_class_are_flags(directory: Path) -> None:
    """A function that takes settings gets its own fields from flags, the host's from flags or the environment."""
    outcome = hostkit(
        directory,
        "run",
        "app:configured",
        "--directory",
        "logs",
        "--shutdown-timeout",
        "9",
        environment={"KEEP": "4", "HOSTKIT_SHUTDOWN_TIMEOUT": "7"},
    )

    assert outcome.code == 0
    assert outcome.output == ["logs 4 9"]


def test_a_script_takes_the_same_flags(directory: Path) -> None:
    """`hostkit.cli.run` does for a script what the command does for a target."""
    with Child(sys.executable, "runs.py", "--directory", "logs", "--keep", "5", cwd=directory, apart=True) as child:
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["logs 5 20"]


def test_a_script_that_goes_on_has_its_signals_back(directory: Path) -> None:
    """When `hostkit.cli.run` has returned, a signal ends the script, as after `Host.run`."""
    source = "from hostkit import HostBuilder\nfrom hostkit.cli import run\nimport signal\nrun(HostBuilder())\n"
    (directory / "goes_on.py").write_text(f"{source}signal.raise_signal(signal.SIGTERM)\n", encoding="utf-8")

    with Child(sys.executable, "goes_on.py", cwd=directory, apart=True) as child:
        outcome = child.ends()

    assert outcome.code == -signal.SIGTERM


def test_reports_all_wrong_settings_at_once(directory: Path) -> None:
    """Every wrong variable is named with its value, in a line each, with exit code 2 and no traceback."""
    outcome = hostkit(
        directory, "run", "app", environment={"HOSTKIT_SHUTDOWN_TIMEOUT": "-1", "HOSTKIT_LOG_FORMAT": "xml"}
    )

    assert outcome.code == 2
    assert outcome.output == []
    assert outcome.errors.splitlines() == [
        "hostkit: HOSTKIT_SHUTDOWN_TIMEOUT=-1: must be a number of seconds, 0 or more",
        "hostkit: HOSTKIT_LOG_FORMAT=xml: must be one of text, json",
    ]


WRONG = {
    "run nowhere.py": "no such file: 'nowhere.py'",
    "run no/where": "no such file: 'no/where'",
    "run nowhere": "no such module: 'nowhere'",
    "run package.nowhere": "no such module: 'package.nowhere'",
    "run ..app": "not a module's name: '..app'",
    "run app:nowhere": "'app' has no nowhere",
    "run package": "'package' has no host or builder or build",
    "run app:number": "'app:number' is not a host: 3; give a Host, a HostBuilder, or a function that returns either",
    "run app:not_so": "not_so() is an async function; a target is made by a plain one",
    "run app:too_much": (
        "too_much() must take no parameter, or one that is annotated with HostSettings or a subclass of it"
    ),
    "run app --no-such-flag": "unrecognized arguments: --no-such-flag",
    "run app stray": "unrecognized arguments: stray",
    "run app --log-format xml": "--log-format xml: must be one of text, json",
    "run app:configured": "--directory (or DIRECTORY) is required",
    "run": "no target: hostkit run TARGET [flags]",
    "walk": "no such command: 'walk'",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_says_what_is_wrong(directory: Path, arguments: str) -> None:
    """What is wrong with a command is one line on standard error, and exit code 2."""
    outcome = hostkit(directory, *arguments.split())

    assert outcome.code == 2
    assert outcome.output == []
    assert outcome.errors == f"hostkit: {WRONG[arguments]}\n"


@pytest.mark.parametrize(
    ("target", "missing"),
    [("broken", "nothing_of_that_name"), ("broken.py", "nothing_of_that_name"), ("package.broken", "package.nowhere")],
)
def test_shows_what_is_missing_inside(directory: Path, target: str, missing: str) -> None:
    """A module that is missing inside the target's own code comes out with its traceback."""
    outcome = hostkit(directory, "run", target)

    assert outcome.code == 1
    assert outcome.errors.splitlines()[-1] == f"ModuleNotFoundError: No module named '{missing}'"
    assert "broken.py" in outcome.errors


def test_a_target_may_leave_while_it_is_imported(directory: Path) -> None:
    """The exit code is the target's own, and nothing is said about it."""
    outcome = hostkit(directory, "run", "leaves")

    assert (outcome.code, outcome.output, outcome.errors) == (5, [], "")


def test_tells_version_and_usage(directory: Path) -> None:
    """``--version``, ``--help`` and nothing at all are answered on standard output, with exit code 0."""
    outcomes = {words: hostkit(directory, *words.split()) for words in ("--version", "--help", "run --help", "")}

    assert {outcome.code for outcome in outcomes.values()} == {0}
    assert outcomes["--version"].output == [f"hostkit {version('hostkit-py')}"]
    assert outcomes["--help"].output[0].startswith("usage: hostkit run TARGET")
    assert outcomes["--help"].output == outcomes["run --help"].output == outcomes[""].output


def test_shows_the_flags_of_a_target(directory: Path) -> None:
    """``hostkit run TARGET --help`` shows the flags: the host's, and those of the target's settings."""
    outcome = hostkit(directory, "run", "app:configured", "--help")

    text = "\n".join(outcome.output)
    assert outcome.code == 0
    assert "usage: hostkit run app:configured" in text
    assert "--directory" in text
    assert "--shutdown-timeout" in text


def test_is_a_command_of_its_own(directory: Path) -> None:
    """The package installs a command."""
    script = shutil.which("hostkit", path=str(Path(sys.executable).parent))
    assert script is not None

    with Child(script, "--version", cwd=directory, apart=True) as child:
        outcome = child.ends()

    assert outcome.output == [f"hostkit {version('hostkit-py')}"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_script_is_stopped_as_well(number: int) -> None:
    """A script that calls `Host.run` is stopped like the command."""
    with Child(*app("iteration", "asyncio"), apart=True) as child:
        child.reads("iteration begins")
        child.send(number)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[-1] == "first stop"
