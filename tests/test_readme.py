"""What the README and the pages that belong to it show works; its programs are run by `test_documents.py`."""

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from children import HOSTKIT, Child
from documents import blocks

pytestmark = pytest.mark.usefixtures("unmeasured_children")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SETTINGS = ROOT / "docs" / "howto" / "settings.md"
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the commands of the README need of a checkout."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (tmp_path / "logs").mkdir()
    return tmp_path


class TestShell:
    def test_every_command_is_tested(self) -> None:
        """No command of the README goes untested."""
        assert len(SHELL) == 2

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

    @pytest.mark.parametrize("line", blocks(SETTINGS, "sh")[0].text.splitlines())
    def test_the_commands_for_settings_run_the_block_before_them(self, line: str, checkout: Path) -> None:
        """What is shown for settings runs with the settings that are shown."""
        code = blocks(SETTINGS)[0].text
        (checkout / "app.py").write_text(code)
        words = shlex.split(line)
        variables = dict(word.split("=", 1) for word in words[: words.index("hostkit")])
        arguments = words[words.index("hostkit") + 1 :]

        with Child(*HOSTKIT, *arguments, cwd=checkout, env=variables) as child:
            if variables:
                child.wait_for(lambda line: line == variables["MY_DIRECTORY"])
                child.send(signal.SIGTERM)
            exit_code = child.end()

        assert exit_code == 0, child.text
        wanted = variables.get("MY_DIRECTORY") or ("--directory" if "--help" in arguments else "show")
        assert wanted in child.text


def test_the_proofs_are_there() -> None:
    """The sessions and test files of the table exist."""
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    proof = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\| `nox -s (\w+)\S*(?: -- ([^\s`]+))?", proof, re.MULTILINE)

    assert len(commands) == 6
    for session, argument in commands:
        assert session in sessions
        assert not argument.startswith("tests/") or (ROOT / argument).exists()


def without_times(text: str) -> list[str]:
    """Return the lines without the time of day and durations."""
    return [re.sub(r"^[\d-]+ [\d:.]+|\d+\.\d\d s", "…", line) for line in text.splitlines()]


def test_the_index_of_samples_is_complete() -> None:
    """The index names every sample, once, and nothing else."""
    index = (ROOT / "samples" / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"^\| \[\w+\]\(([^)]+)\)", index, re.MULTILINE)
    there = [path.name for path in (ROOT / "samples").iterdir() if path.name != "README.md"]

    assert sorted(linked) == sorted(name for name in there if not name.startswith(("_", ".")))


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    """What the README and the index of samples link to is there."""
    for path in (ROOT / "README.md", ROOT / "samples" / "README.md"):
        links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
        assert links
        assert [link for link in links if not link.startswith("https:") and not (path.parent / link).exists()] == []
