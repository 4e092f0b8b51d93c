"""Child processes for tests: what they write, line by line, and never longer than a bounded time."""

import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PYTHON = (sys.executable,)
HOSTKIT = (str(Path(sysconfig.get_path("scripts")) / "hostkit"),)
PATIENCE = 30.0
"""Seconds after which a child that says nothing more is given up; far more than any needs."""


class Child:
    """A running child process; a context manager that leaves none behind.

    Standard output and standard error are one stream, in the order in which they were written. It is read only as far
    as the test asks for lines: a child with much to say stands still until then.
    """

    def __init__(self, *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Start *command*, with *env* added to an environment that tells hostkit nothing."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOSTKIT_")}
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**inherited, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        """What has been read so far."""
        self._queue: queue.Queue[str | None] = queue.Queue(maxsize=1)
        self._reader = threading.Thread(target=self._read, name="reader of a child", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill the child if it still runs, and close what belongs to it."""
        self._process.kill()
        for _ in self._rest(time.monotonic() + PATIENCE):
            pass
        self._reader.join(PATIENCE)
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def text(self) -> str:
        """What has been read so far, for the message of an assertion."""
        return "\n".join(self.lines)

    def wait_for(self, wanted: Callable[[str], object], within: float = PATIENCE) -> str | None:
        """Read until a line is *wanted* and return it; None if the time is over or the child has ended first."""
        for line in self._rest(time.monotonic() + within):
            if wanted(line):
                return line
        return None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, within: float = PATIENCE) -> int:
        """Read all that is left, wait for the end, and return the exit code.

        Raises:
            TimeoutError: It does not end.
        """
        deadline = time.monotonic() + within
        for _ in self._rest(deadline):
            pass
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            message = f"the child does not end; so far it said:\n{self.text}"
            raise TimeoutError(message) from None

    def _rest(self, deadline: float) -> Iterator[str]:
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if line is None:
                self._queue.put(None)  # for whoever asks again
                return
            self.lines.append(line)
            yield line

    def _read(self) -> None:
        stream: Iterable[str] = self._process.stdout or ()
        for line in stream:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)
