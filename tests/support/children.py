"""Child processes for tests: what they say while they live, how they end, and that none is left behind."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from hostkit._process.signals import REPEAT_INTERVAL

PYTHON = (sys.executable,)
HOSTKIT = (str(Path(sysconfig.get_path("scripts")) / "hostkit"),)
PATIENCE = 30.0
"""Seconds after which a child that says nothing more is given up; far more than any needs on a busy machine."""
# As hostkit names a line, and as faulthandler does.
PLACE = re.compile(r'(?P<file>[^\s"]+\.py)(:(?P<line>\d+) in |", line (?P<dumped>\d+) in )')
MARK = "# found here"


@contextmanager
def directory() -> Iterator[Path]:
    """Make a directory that other users of the machine can reach: a PostgreSQL server runs as one of them.

    Those above pytest's ``tmp_path`` are closed to them again whenever another pytest starts.
    """
    path = Path(tempfile.mkdtemp(prefix="hostkit-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Outcome:
    """How a child has ended.

    Attributes:
        what: What it has run, for the message of a test that fails.
        code: The exit code; negative for death by a signal.
        output: What it has written to standard output, by lines.
        errors: What it has written to standard error, if that was kept apart.
    """

    what: str
    code: int
    output: list[str]
    errors: str

    def tells_where(self, *words: str) -> bool:
        """Tell whether one line of *errors* has all *words* and names the line of code that is marked to be found."""
        return any(
            MARK in source_line(match["file"], int(match["line"] or match["dumped"]))
            for line in self.errors.splitlines()
            for match in PLACE.finditer(line)
            if all(word in line for word in words)
        )


def source_line(file: str, number: int) -> str:
    """Return a line of source code."""
    return Path(file).read_text(encoding="utf-8").splitlines()[number - 1]


class Running:
    """A child that runs; a context manager that leaves none behind.

    What it writes is read only as far as the test asks for it: a child with much to say stands still until then.

    Attributes:
        what: What it runs.
        pid: Its process id.
        lines: The lines of its standard output that `wait_for` and `end` have gone through.
    """

    def __init__(self, what: str, pid: int, streams: Mapping[int, str], wait: Callable[[], int]) -> None:
        """Take over a child.

        Args:
            what: What it runs.
            pid: Its process id.
            streams: The descriptors that are to be read, each as "output" or "errors".
            wait: Waits for the end of the process, which has closed its streams, and returns its exit code.
        """
        self.what = what
        self.pid = pid
        self.lines: list[str] = []
        self._wait = wait
        self._seen = {"output": bytearray(), "errors": bytearray()}
        self._gone_through = 0
        self._selector = selectors.DefaultSelector()
        for descriptor, name in streams.items():
            self._selector.register(descriptor, selectors.EVENT_READ, name)
        self._code: int | None = None
        self._unsettled = False
        self._next_counts_at = 0.0

    def __enter__(self) -> Self:
        """Return the child."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill what is still there, and read the rest."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code = self._wait()
            self.wait_for(lambda _: False)
        for key in list(self._selector.get_map().values()):
            self._close(key.fd)
        self._selector.close()

    @property
    def text(self) -> str:
        """Its `lines`, for the message of an assertion."""
        return "\n".join(self.lines)

    @property
    def alive(self) -> bool:
        """Whether it has anything more to say."""
        self._read(time.monotonic())
        return bool(self._selector.get_map())

    def wait_for(self, wanted: Callable[[str], object], within: float = PATIENCE) -> str | None:
        """Go on to a line that is *wanted* and return it; None if the time is over or the child has ended first."""
        deadline = time.monotonic() + within
        while True:
            while (line := self._next_line()) is not None:
                if wanted(line):
                    return line
            if not self._read(deadline):
                return None

    def says(self, *texts: str) -> bool:
        """Wait until the child has said each of *texts*, on either stream; return False if it has ended without.

        Raises:
            AssertionError: It has taken too long.
        """
        deadline = time.monotonic() + PATIENCE
        while any(text not in self._text("output") + self._text("errors") for text in texts):
            if not self._selector.get_map():
                return False
            self._require(self._read(deadline))
        return True

    def reads(self, *texts: str) -> None:
        """Wait until the child has said each of *texts*, on either stream.

        Raises:
            AssertionError: It has ended without, or has taken too long.
        """
        assert self.says(*texts), f"the child has ended and not said {texts}, but\n{self._told()}"

    def line(self, start: str) -> str:
        """Return the line of standard output that begins so, which the child has said."""
        return next(line for line in self._text("output").splitlines() if line.startswith(start))

    def send(self, *numbers: int, to: int | None = None) -> None:
        """Send signals, *to* a child of the child if given, each when it counts as one more than those before.

        One whose end was waited for gets none.
        """
        pid = to or self.pid
        for number in numbers if self._code is None else ():
            self.settle(to=to)
            time.sleep(max(0.0, self._next_counts_at - time.monotonic()))
            os.kill(pid, number)
            self._unsettled = True

    def settle(self, *, to: int | None = None) -> None:
        """Wait until the last signal has been taken, which on a busy machine is later than it was sent.

        The next one counts as one more from then on, after the interval for repetitions.
        """
        if self._unsettled:
            deadline = time.monotonic() + PATIENCE
            while self.alive and signal_is_pending(to or self.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            self._next_counts_at = time.monotonic() + REPEAT_INTERVAL + 0.1
            self._unsettled = False

    def send_until_it_ends(self, number: int, *, to: int | None = None) -> None:
        """Send a signal, and again each time when it counts as one more, until the child has ended.

        Raises:
            AssertionError: It does not end.
        """
        deadline = time.monotonic() + PATIENCE
        while self.alive:
            assert time.monotonic() < deadline, self._told()
            with suppress(ProcessLookupError):  # it has ended, and its streams are about to
                self.send(number, to=to)
            self.settle(to=to)
            self._wait_for_the_end(self._next_counts_at)

    def ends(self, within: float = PATIENCE) -> Outcome:
        """Read all that is left, and wait for the end.

        Raises:
            AssertionError: It does not come.
        """
        self.wait_for(lambda _: False, within)
        self._require(not self._selector.get_map())
        self._code = self._wait()
        return Outcome(self.what, self._code, self._text("output").splitlines(), self._text("errors"))

    def end(self, within: float = PATIENCE) -> int:
        """Read all that is left, wait for the end, and return the exit code.

        Raises:
            AssertionError: It does not end.
        """
        return self.ends(within).code

    def _wait_for_the_end(self, deadline: float) -> None:
        while self.alive and time.monotonic() < deadline:
            self._selector.select(0.05)

    def _next_line(self) -> str | None:
        """Return the next line of standard output that is there in full, or the rest of one that has ended."""
        data = self._seen["output"]
        end = data.find(b"\n", self._gone_through)
        if end < 0 and not self._selector.get_map():
            end = len(data)
        if end < 0 or self._gone_through >= len(data):
            return None
        line = data[self._gone_through : end].decode(errors="replace")
        self._gone_through = end + 1
        self.lines.append(line)
        return line

    def _read(self, deadline: float) -> bool:
        """Read what comes next; return False if nothing does until *deadline*, or ever."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            self._seen[key.data] += data
            if not data:
                self._close(key.fd)
        return bool(ready)

    def _require(self, in_time: object) -> None:
        assert in_time, f"the child is silent or does not end, and has said\n{self._told()}"

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _text(self, name: str) -> str:
        return self._seen[name].decode(errors="replace")

    def _told(self) -> str:
        return f"{self._text('output')}--- standard error:\n{self._text('errors')}"


class Child(Running):
    """A program in a process of its own, with an environment that tells hostkit nothing."""

    def __init__(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        apart: bool = False,
        process_group: int | None = None,
    ) -> None:
        """Start it.

        Args:
            command: The program and its arguments.
            cwd: Its working directory.
            env: What is added to its environment.
            apart: Whether standard error is kept apart, and what is written is buffered as it is for a user. Else the
                two are one stream, in the order in which they were written.
            process_group: 0 for a group of its own, as a shell gives to each of its jobs.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("HOSTKIT_")}
        at_once = {} if apart else {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**inherited, **at_once, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            process_group=process_group,
        )
        streams = {}
        for stream, name in ((process.stdout, "output"), (process.stderr, "errors")):
            if stream is not None:
                streams[os.dup(stream.fileno())] = name
                stream.close()
        super().__init__(" ".join(map(str, command)), process.pid, streams, partial(process.wait, PATIENCE))


def signal_is_pending(pid: int) -> bool:
    """Tell whether a signal has been sent to a process that it has not taken yet, where the platform says so."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))
