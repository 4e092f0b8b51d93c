"""The log cleanup sample on real files."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from anyio import sleep
from children import HOSTKIT, PYTHON, Child
from loguru import logger

pytestmark = pytest.mark.usefixtures("unmeasured_children")

SAMPLE = Path(__file__).parent.parent / "samples" / "02_log_cleanup.py"
COMMANDS = [
    pytest.param((*PYTHON, str(SAMPLE)), id="python"),
    pytest.param((*HOSTKIT, "run", str(SAMPLE)), id="hostkit"),
]
DAY = 86400
MORE_THAN_A_PIPE_HOLDS = 3000
"""So many lines that a child which nobody listens to must wait in the middle of them."""


@pytest.fixture(scope="module")
def sample() -> Iterator[ModuleType]:
    """The sample as a module."""
    spec = spec_from_file_location("log_cleanup", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["log_cleanup"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["log_cleanup"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """An empty folder for logs."""
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the sample logs."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]))
    yield messages
    logger.remove(sink)


def write(path: Path, *, days: float = 0, size: int = 10) -> Path:
    """Write a file that was last changed *days* ago."""
    path.write_bytes(b"x" * size)
    modified = time.time() - days * DAY
    os.utime(path, (modified, modified))
    return path


def names(folder: Path) -> list[str]:
    """Return what there is in a folder."""
    return sorted(path.name for path in folder.iterdir())


class TestClean:
    def test_deletes_what_is_old_and_keeps_what_is_new(self, sample: ModuleType, logs: Path, said: list[str]) -> None:
        """Files older than the limit are deleted and named, with what that freed."""
        write(logs / "old.log", days=8, size=1500)
        write(logs / "older.log", days=80, size=500)
        write(logs / "new.log", days=6)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs)).clean()

        assert names(logs) == ["new.log"]
        assert said == [
            "deleted older.log (500B)",
            "deleted old.log (1.5KB)",
            "deleted 2 files and freed 2.0KB",
        ]

    def test_leaves_other_names_alone(self, sample: ModuleType, logs: Path) -> None:
        """Only files whose names match the pattern are looked at."""
        for name in ("app.log.1", "app.log", "data.db", "APP.LOG.2"):
            write(logs / name, days=30)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, pattern="app.log.?")).clean()

        assert names(logs) == ["APP.LOG.2", "app.log", "data.db"]

    def test_deletes_the_oldest_until_the_rest_is_small_enough(self, sample: ModuleType, logs: Path) -> None:
        """With a limit for all files together, the oldest go first, also those that are not old."""
        for age, name in enumerate(["now.log", "hour.log", "day.log", "week.log"]):
            write(logs / name, days=age, size=1000)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, keep_at_most=2500)).clean()

        assert names(logs) == ["hour.log", "now.log"]

    def test_counts_what_is_too_old_first(self, sample: ModuleType, logs: Path) -> None:
        """What age has deleted already makes room for the others."""
        write(logs / "old.log", days=8, size=1000)
        write(logs / "new.log", days=1, size=1000)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, keep_at_most=1000)).clean()

        assert names(logs) == ["new.log"]

    def test_deletes_nothing_in_a_dry_run(self, sample: ModuleType, logs: Path, said: list[str]) -> None:
        """A dry run says what it would have done, and does nothing."""
        write(logs / "old.log", days=8)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, dry_run=True)).clean()

        assert names(logs) == ["old.log"]
        assert said == ["would have deleted old.log (10B)", "would have deleted 1 file and freed 10B"]

    def test_leaves_links_and_their_targets_alone(self, sample: ModuleType, logs: Path) -> None:
        """A link in the directory is not followed, whether to a file or to a folder, nor deleted."""
        elsewhere = logs.parent / "elsewhere"
        elsewhere.mkdir()
        target = write(elsewhere / "precious.log", days=30)
        (logs / "file.log").symlink_to(target)
        (logs / "folder.log").symlink_to(elsewhere)
        (logs / "nowhere.log").symlink_to(elsewhere / "missing")

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, older_than=0, keep_at_most=0)).clean()

        assert names(logs) == ["file.log", "folder.log", "nowhere.log"]
        assert names(elsewhere) == ["precious.log"]

    def test_leaves_folders_alone(self, sample: ModuleType, logs: Path) -> None:
        """A folder is left as it is, with what is in it, whatever its name."""
        (logs / "archive.log").mkdir()
        write(logs / "archive.log" / "old.log", days=30)

        sample.LogCleanup(sample.LogCleanupSettings(directory=logs, older_than=0, keep_at_most=0)).clean()

        assert names(logs / "archive.log") == ["old.log"]


class TestDelete:
    def test_goes_on_when_a_file_has_vanished(self, sample: ModuleType, logs: Path, said: list[str]) -> None:
        """A file that somebody else has deleted meanwhile is neither an error nor counted."""
        for name in ("a.log", "b.log"):
            write(logs / name)
        found = sorted(sample.find(logs, "*.log"))
        (logs / "a.log").unlink()

        sample.delete(found, dry_run=False)

        assert said == ["deleted b.log (10B)", "deleted 1 file and freed 10B"]

    def test_goes_on_when_a_file_cannot_be_deleted(
        self, sample: ModuleType, logs: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that cannot be deleted is named in a warning, and the others are deleted."""
        held = write(logs / "a.log")
        write(logs / "b.log")
        unlink = Path.unlink

        def refuse_one(path: Path) -> None:
            if path == held:
                raise PermissionError(13, "Permission denied")
            unlink(path)

        monkeypatch.setattr(Path, "unlink", refuse_one)

        sample.delete(sorted(sample.find(logs, "*.log")), dry_run=False)

        assert names(logs) == ["a.log"]
        assert said == [
            "cannot delete a.log: Permission denied",
            "deleted b.log (10B)",
            "deleted 1 file and freed 10B",
        ]


class VanishingEntry:
    """A directory entry whose file is gone when it is asked about."""

    name = path = "gone.log"

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return True

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise FileNotFoundError


class TestFind:
    def test_passes_over_what_vanishes_meanwhile(
        self, sample: ModuleType, logs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is gone before its age is read is not found."""
        monkeypatch.setattr(os, "scandir", lambda _: nullcontext([VanishingEntry()]))

        assert sample.find(logs, "*.log") == []


async def test_comes_round_at_every_interval(sample: ModuleType, logs: Path, said: list[str]) -> None:
    """The first round is at once, the next ones at the interval."""
    settings = sample.LogCleanupSettings(directory=logs, interval=timedelta(hours=1), log_level="CRITICAL")

    async with sample.build(settings).build():
        await sleep(1)
        write(logs / "old.log", days=8)
        await sleep(2 * 3600)

    assert said == [
        "deleted 0 files and freed 0B",
        "deleted old.log (10B)",
        "deleted 1 file and freed 10B",
        "deleted 0 files and freed 0B",
    ]


@pytest.mark.parametrize("command", COMMANDS)
class TestCommand:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
    def test_cleans_and_stops_when_told(self, command: tuple[str, ...], number: signal.Signals, logs: Path) -> None:
        """It deletes the old files at once, waits, and ends with exit code 0 when it is told to stop."""
        write(logs / "old.log", days=8)
        write(logs / "new.log")

        with Child(*command, "--directory", "logs", cwd=logs.parent) as child:
            found = child.wait_for(lambda line: "deleted 1 file and freed 10B" in line)
            child.send(number)
            exit_code = child.end()

        assert found, child.text
        assert exit_code == 0, child.text
        assert names(logs) == ["new.log"]

    def test_takes_every_setting_as_a_flag(self, command: tuple[str, ...], logs: Path) -> None:
        """Its own settings and the host's are flags."""
        flags = ["--older-than", "2d", "--pattern", "*.txt", "--keep-at-most", "1KB", "--interval", "0.05", "--dry-run"]
        write(logs / "old.txt", days=3, size=700)
        write(logs / "new.txt", days=1, size=700)

        with Child(*command, "--directory", "logs", *flags, "--log-format", "json", cwd=logs.parent) as child:
            rounds = [child.wait_for(lambda line: "would have deleted 1 file and freed 700B" in line) for _ in range(3)]
            child.send(signal.SIGTERM)
            exit_code = child.end()

        assert all(rounds), child.text
        assert '"service": "log-cleanup"' in str(rounds[0])
        assert exit_code == 0, child.text
        assert names(logs) == ["new.txt", "old.txt"]

    def test_takes_every_setting_from_the_environment(self, command: tuple[str, ...], logs: Path) -> None:
        """Its own settings are read from variables with its own prefix."""
        write(logs / "new.txt", days=1, size=2000)
        variables = {
            "DIRECTORY": "logs",
            "PATTERN": "*.txt",
            "OLDER_THAN": "7d",
            "KEEP_AT_MOST": "1KB",
            "INTERVAL": "3600",
            "DRY_RUN": "true",
        }

        environment = {f"LOG_CLEANUP_{name}": value for name, value in variables.items()}
        with Child(*command, cwd=logs.parent, env=environment) as child:
            found = child.wait_for(lambda line: "would have deleted new.txt (2.0KB)" in line)

        assert found, child.text

    def test_refuses_a_directory_that_does_not_exist(self, command: tuple[str, ...], logs: Path) -> None:
        """A wrong directory is one line and exit code 1, and nothing is started."""
        with Child(*command, "--directory", "lgos", cwd=logs.parent) as child:
            exit_code = child.end()

        assert child.lines == ["log cleanup: no such directory: 'lgos'"]
        assert exit_code == 1

    def test_needs_a_directory(self, command: tuple[str, ...], logs: Path) -> None:
        """There is no default for what to delete files in."""
        with Child(*command, cwd=logs.parent) as child:
            exit_code = child.end()

        assert child.lines == ["hostkit: --directory (or LOG_CLEANUP_DIRECTORY) is required"]
        assert exit_code == 2

    def test_names_all_wrong_settings_at_once(self, command: tuple[str, ...], logs: Path) -> None:
        """Every wrong flag and variable is named with its value, and nothing is deleted."""
        write(logs / "old.log", days=8)
        flags = ["--interval", "0", "--older-than", "soon", "--pattern", "../*", "--keep-at-most", "little"]
        environment = {"HOSTKIT_SHUTDOWN_TIMEOUT": "-1"}

        with Child(*command, "--directory", "logs", *flags, cwd=logs.parent, env=environment) as child:
            exit_code = child.end()

        wrong = [
            "HOSTKIT_SHUTDOWN_TIMEOUT=-1",
            "--interval 0",
            "--older-than soon",
            "--pattern ../*",
            "--keep-at-most little",
        ]
        assert [name for name in wrong if name not in child.text] == []
        assert len(child.lines) == len(wrong)
        assert exit_code == 2
        assert names(logs) == ["old.log"]

    def test_finishes_the_round_when_stopped_in_the_middle(self, command: tuple[str, ...], logs: Path) -> None:
        """A stop in the middle of a round lets it be finished, and is no failure."""
        for index in range(MORE_THAN_A_PIPE_HOLDS):
            write(logs / f"{index}.log", days=8, size=1)

        with Child(*command, "--directory", "logs", cwd=logs.parent) as child:
            begun = child.wait_for(lambda line: "deleted " in line)
            left = len(names(logs))
            child.send(signal.SIGTERM)
            exit_code = child.end()

        assert begun, child.text
        assert left > 0
        assert names(logs) == []
        assert f"deleted {MORE_THAN_A_PIPE_HOLDS} files and freed 3.0KB" in child.text
        assert exit_code == 0
