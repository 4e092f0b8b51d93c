"""What goes to standard error when that is systemd's journal: a syslog priority before every line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from children import Child

from hostkit._values.standard_error import is_journal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no systemd on Windows")

APP = """
import os, signal, subprocess, sys, time
import anyio
from hostkit import HostBuilder
from loguru import logger

builder = HostBuilder()


@builder.service()
async def talker(stopping_token):
    for level in ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"):
        logger.log(level, "level {}", level)
    logger.info("two\\nlines\\n<0>forged")
    code = "from hostkit._values.standard_error import write_error; write_error('child\\\\n')"
    subprocess.run([sys.executable, "-c", code], stderr=sys.stdout)
    os.kill(os.getpid(), signal.SIGUSR1)
    await anyio.sleep(0.01)
    raise ValueError("in\\ntwo lines")


@builder.service()
async def stuck(stopping_token):
    while "stuck" in sys.argv:
        try:
            await anyio.sleep_forever()
        except BaseException:
            pass


@builder.service()
async def blocked(stopping_token):
    await stopping_token.wait()
    if "blocked" in sys.argv:
        time.sleep(60)


host = builder.build()
host.run()
"""


def run(folder: Path, *arguments: str, journal: bool = True, **environment: str) -> tuple[int, list[str], str]:
    """Run the app with a file in the place of the journal; return exit code, lines of its log, and its output."""
    (folder / "app.py").write_text(APP, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOSTKIT_")}
    with (folder / "journal").open("w+", encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        stream = f"{status.st_dev}:{status.st_ino if journal else status.st_ino + 1}"
        process = subprocess.run(
            [sys.executable, "app.py", *arguments],
            cwd=folder,
            env={**inherited, "JOURNAL_STREAM": stream, "HOSTKIT_LOG_LEVEL": "TRACE", **environment},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            timeout=60,
            check=False,
        )
        file.seek(0)
        return process.returncode, file.read().splitlines(), process.stdout


def test_every_line_has_a_priority(tmp_path: Path) -> None:
    """Each level has its priority, each line of a text, a traceback and a status its own; no time."""
    code, lines, output = run(tmp_path)

    assert code == 1
    assert all(line[0] == "<" and line[1] in "234567" and line[2] == ">" for line in lines)
    for priority, level in zip(
        "7765432", ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"), strict=True
    ):
        assert f"<{priority}>talker | level {level}" in lines
    at = lines.index("<6>talker | two")
    assert lines[at + 1 : at + 3] == ["<6>    lines", "<6>    <0>forged"]
    assert "<3>talker | service talker failed: ValueError('in\\ntwo lines')" in lines
    assert "<3>    Traceback (most recent call last):" in lines
    assert any(line.startswith("<5>app: started") for line in lines)
    assert any(line.startswith("<5>talker ") for line in lines)
    # The variable is inherited; the child's standard error is another file.
    assert output == "child\n"


def test_json_has_a_priority_too(tmp_path: Path) -> None:
    """With the format ``json`` the priority stands before the object."""
    _, lines, _ = run(tmp_path, HOSTKIT_LOG_FORMAT="json")

    logged = [line for line in lines if line[3:4] == "{"]
    found = {json.loads(line[3:])["message"]: line[1] for line in logged}
    assert found["level INFO"] == "6"
    assert found["level CRITICAL"] == "2"
    assert all(line.startswith("<") for line in lines)


@pytest.mark.parametrize(("trouble", "exit_code"), [("stuck", 3), ("blocked", 1)])
def test_the_last_words_are_critical(tmp_path: Path, trouble: str, exit_code: int) -> None:
    """What names a service that cannot be ended or blocks the loop, when nothing is logged any more, is critical."""
    code, lines, _ = run(tmp_path, trouble, HOSTKIT_SHUTDOWN_TIMEOUT="0.2", HOSTKIT_CANCELLATION_TIMEOUT="0.2")

    assert code == exit_code
    assert any(line.startswith("<2>") and f"leaving the process with exit code {code}" in line for line in lines)


def test_another_standard_error_is_not_the_journal(tmp_path: Path) -> None:
    """When the variable names another file, as in a child whose output is redirected, lines are as ever."""
    _, lines, _ = run(tmp_path, journal=False)

    assert not any(line.startswith("<") for line in lines)
    assert any(" | INFO     | talker | two" in line for line in lines)


def test_a_wrong_command_is_said_with_a_priority(tmp_path: Path) -> None:
    """The command's own messages are lines of the journal as well."""
    with Child(sys.executable, "-m", "hostkit", "run", "nothing_there", cwd=tmp_path, apart=True) as child:
        assert child.ends().errors.startswith("hostkit: ")
    with (tmp_path / "journal").open("w+", encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run(
            [sys.executable, "-m", "hostkit", "run", "nothing_there"],
            cwd=tmp_path,
            env=environment,
            stderr=file,
            timeout=60,
            check=False,
        )
        file.seek(0)
        assert file.read() == "<2>hostkit: no such module: 'nothing_there'\n"


def test_no_journal_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that is closed is no journal, and none is one without the variable."""
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    monkeypatch.setattr("hostkit._values.standard_error.error_descriptor", lambda: writer)
    closed = is_journal()
    monkeypatch.setattr("hostkit._values.standard_error.error_descriptor", lambda: None)

    assert not closed
    assert not is_journal()
