"""What the README shows works."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from children import HOSTKIT, PYTHON, Child

from hostkit import HostOptions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CODE = [text for language, text in BLOCKS if language == "python"]
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
FAILING_HOST = """

import anyio

from hostkit import HostBuilder, HostFailedError


async def bad(stopping_token):
    raise OSError("no route")


async def main():
    builder = HostBuilder()
    builder.add_service(bad)
    try:
        async with builder.build() as host:
            await host.wait()
    except HostFailedError:
        pass


logging.basicConfig(level="INFO")
anyio.run(main)
"""


def title(code: str) -> str:
    """Return the last heading before a block."""
    heading: str = re.findall(r"^#+ (.+)$", README[: README.index(code)], re.MULTILINE)[-1]
    return heading


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the commands of the README need of a checkout."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_logging_reaches_the_standard_library(tmp_path: Path) -> None:
    """The code below "Logging" hands hostkit's lines to the standard library's logging, with their tracebacks."""
    code = next(code for code in CODE if title(code) == "Logging")
    (tmp_path / "app.py").write_text(code + FAILING_HOST)

    with Child(*PYTHON, "app.py", cwd=tmp_path) as child:
        child.end()

    assert "INFO:hostkit:starting app with 1 service" in child.lines
    assert "ERROR:hostkit:service bad failed: OSError('no route')" in child.lines
    assert "OSError: no route" in child.lines


class TestShell:
    def test_every_command_is_tested(self) -> None:
        """No command of the README goes untested."""
        assert len(SHELL) == 4

    def test_the_first_command_cleans_and_stops(self, checkout: Path) -> None:
        """The worker of the first command deletes the old file and stops on Ctrl-C with exit code 0."""
        *preparations, worker = SHELL[0].split(" && ")
        prepared = [shlex.split(command) for command in preparations]

        assert [command[0] for command in prepared] == ["mkdir", "touch", "python3", ".venv/bin/pip"]
        assert prepared[3] == [".venv/bin/pip", "install", "."]
        for command in prepared[:2]:
            subprocess.run(command, cwd=checkout, check=True)
        assert (checkout / "logs" / "old.log").exists()

        hostkit, *arguments = shlex.split(worker)
        assert hostkit == ".venv/bin/hostkit"
        with Child(*HOSTKIT, *arguments, cwd=checkout) as child:
            deleted = child.wait_for(lambda line: "| deleted 1 file and freed" in line)
            child.send(signal.SIGINT)
            exit_code = child.end()

        assert deleted, child.text
        assert exit_code == 0
        assert not (checkout / "logs" / "old.log").exists()

    def test_shows_what_the_first_command_prints(self, checkout: Path) -> None:
        """The output below the first command is what it prints, but for times."""
        shown = next(text for language, text in BLOCKS if language == "text").replace("^C\n", "")
        subprocess.run(["touch", "-t", "202001010000", "logs/old.log"], cwd=checkout, check=True)  # noqa: S607

        with Child(*HOSTKIT, *shlex.split(SHELL[0].split(" && ")[-1])[1:], cwd=checkout) as child:
            child.wait_for(lambda line: "| deleted 1 file and freed" in line)
            child.send(signal.SIGINT)
            child.end()

        assert without_times(child.text) == without_times(shown)

    def test_the_second_command_names_what_there_is(self) -> None:
        """The second command runs nox, for which there is a noxfile."""
        assert SHELL[1] == "python3 -m venv .venv && .venv/bin/pip install 'nox[uv]' && .venv/bin/nox"
        assert (ROOT / "noxfile.py").exists()

    @pytest.mark.parametrize("line", SHELL[2:])
    def test_the_others_run_the_block_before_them(self, line: str, checkout: Path) -> None:
        """What is shown for settings runs with the settings that are shown."""
        code = next(code for code in CODE if "class MySettings" in code)
        (checkout / "app.py").write_text(code)
        words = shlex.split(line)
        variables = dict(word.split("=", 1) for word in words[: words.index("hostkit")])
        arguments = words[words.index("hostkit") + 1 :]

        with Child(*HOSTKIT, *arguments, cwd=checkout, env=variables) as child:
            if "--help" not in arguments:
                child.wait_for(lambda line: line == variables["MY_DIRECTORY"])
                child.send(signal.SIGTERM)
            exit_code = child.end()

        assert exit_code == 0, child.text
        assert "--directory" in child.text or variables["MY_DIRECTORY"] in child.lines


def test_the_proofs_are_there() -> None:
    """The sessions and test files of the table exist."""
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    commands = re.findall(r"^\| `nox -s (\w+)\S*(?: -- ([^\s`]+))?", README, re.MULTILINE)

    assert len(commands) == 6
    for session, argument in commands:
        assert session in sessions
        assert not argument.startswith("tests/") or (ROOT / argument).exists()


def test_the_settings_table_is_complete() -> None:
    """The table names every option, with its default."""
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", README, re.MULTILINE))
    defaults = {option.name: getattr(HostOptions(), option.name) for option in fields(HostOptions)}
    defaults["application_name"] = "the main module's name"
    if sys.platform == "win32":
        defaults["dump_signal"] = "SIGUSR1"

    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in defaults.items()}
    assert {name: value.lower() for name, value in shown.items()} == {
        name: value.strip().lower() for name, value in table.items()
    }


def without_times(text: str) -> list[str]:
    """Return the lines without the time of day and durations."""
    return [re.sub(r"^[\d-]+ [\d:.]+|\d+\.\d\d s", "…", line) for line in text.splitlines()]
