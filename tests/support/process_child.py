"""Child processes that are looked after: what they say while they live, and how they end."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pytest

from hostkit._process.signals import REPEAT_INTERVAL

APP = Path(__file__).with_name("process_app.py")
# Far beyond what any child needs on a busy machine: only one that hangs reaches it.
BOUND = 30.0
# The test suite refuses to run where one is missing, except where it runs without any extra.
BACKENDS = [backend for backend in ("asyncio", "trio", "uvloop") if backend == "asyncio" or find_spec(backend)]
# As hostkit names a line, and as faulthandler does.
PLACE = re.compile(r'(?P<file>[^\s"]+\.py)(:(?P<line>\d+) in |", line (?P<dumped>\d+) in )')
MARK = "# found here"
# First process of a namespace of its own, as in a container; the kernel keeps signals without a handler from it.
UNSHARE = ("unshare", "--fork", "--pid", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Outcome:
    """How a child has ended.

    Attributes:
        what: What it has run, for the message of a test that fails.
        code: The exit code; negative for death by a signal.
        output: What it has written to standard output, by lines.
        errors: What it has written to standard error.
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


class Ending(Protocol):
    """What waits for the end of a process that has closed its streams, and returns its exit code."""

    def __call__(self) -> int: ...


class Child:
    """A running child; a context manager that leaves none behind."""

    def __init__(self, what: str, pid: int, streams: Mapping[int, str], wait: Ending) -> None:
        """Take over a child that runs *what*, of which *streams*, by descriptor, are to be read."""
        self.what = what
        self.pid = pid
        self._wait = wait
        self._seen = {"output": b"", "errors": b""}
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
        """Kill what is still there, and read no more."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._code = self._wait()
        for key in list(self._selector.get_map().values()):
            self._close(key.fd)
        self._selector.close()

    def says(self, *texts: str) -> bool:
        """Wait until the child has said each of *texts*, on either stream; return False if it has ended without.

        Raises:
            AssertionError: It has taken too long.
        """
        deadline = time.monotonic() + BOUND
        while any(text not in self._text("output") + self._text("errors") for text in texts):
            if not self._selector.get_map():
                return False
            self._read(deadline)
        return True

    def reads(self, *texts: str) -> None:
        """Wait until the child has said each of *texts*, on either stream.

        Raises:
            AssertionError: It has ended without, or has taken too long.
        """
        if not self.says(*texts):
            pytest.fail(f"the child has ended and not said {texts}, but\n{self._told()}", pytrace=False)

    def line(self, start: str) -> str:
        """Return the line that begins so, which the child has said."""
        return next(line for line in self._text("output").splitlines() if line.startswith(start))

    def send(self, *numbers: int, to: int | None = None) -> None:
        """Send signals, *to* a child of the child if given, each when it counts as one more than those before."""
        pid = to or self.pid
        for number in numbers:
            self.settle(to=to)
            time.sleep(max(0.0, self._next_counts_at - time.monotonic()))
            os.kill(pid, number)
            self._unsettled = True

    def settle(self, *, to: int | None = None) -> None:
        """Wait until the last signal has been taken, which on a busy machine is later than it was sent.

        The next one counts as one more from then on, after the interval for repetitions.
        """
        if self._unsettled:
            deadline = time.monotonic() + BOUND
            while self.alive and signal_is_pending(to or self.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            self._next_counts_at = time.monotonic() + REPEAT_INTERVAL + 0.1
            self._unsettled = False

    def send_until_it_ends(self, number: int, *, to: int | None = None) -> None:
        """Send a signal, and again each time when it counts as one more, until the child has ended.

        Raises:
            AssertionError: It does not end.
        """
        deadline = time.monotonic() + BOUND
        while self.alive:
            assert time.monotonic() < deadline, self._told()
            with suppress(ProcessLookupError):  # it has ended, and its streams are about to
                self.send(number, to=to)
            self.settle(to=to)
            self._wait_for_the_end(self._next_counts_at)

    @property
    def alive(self) -> bool:
        """Whether it has anything more to say."""
        self._read(time.monotonic())
        return bool(self._selector.get_map())

    def ends(self) -> Outcome:
        """Wait for the end.

        Raises:
            AssertionError: It does not come.
        """
        deadline = time.monotonic() + BOUND
        while self._selector.get_map():
            self._read(deadline)
        self._code = self._wait()
        return Outcome(self.what, self._code, self._text("output").splitlines(), self._text("errors"))

    def _wait_for_the_end(self, deadline: float) -> None:
        while self.alive and time.monotonic() < deadline:
            self._selector.select(0.05)

    def _read(self, deadline: float) -> None:
        """Read what comes next; fail if nothing does until *deadline*, unless that has come already."""
        seconds = deadline - time.monotonic()
        ready = self._selector.select(max(0.0, seconds))
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            self._seen[key.data] += data
            if not data:
                self._close(key.fd)
        if not ready and seconds > 0:
            pytest.fail(f"the child is silent for {BOUND:g} s, and has said\n{self._told()}", pytrace=False)

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _text(self, name: str) -> str:
        return self._seen[name].decode(errors="replace")

    def _told(self) -> str:
        return f"{self._text('output')}--- standard error:\n{self._text('errors')}"


def signal_is_pending(pid: int) -> bool:
    """Tell whether a signal has been sent to a process that it has not taken yet, where the platform says so."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))


@contextmanager
def command(
    arguments: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> Iterator[Child]:
    """Run a program in a process of its own; *environment* is added to this one, without what the host reads."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("HOSTKIT_")}
    process = subprocess.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**inherited, **(environment or {})},
        cwd=directory,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = (os.dup(stream.fileno()) for stream in (process.stdout, process.stderr))
    process.stdout.close()
    process.stderr.close()
    with Child(" ".join(map(str, arguments)), process.pid, {output: "output", errors: "errors"}, process.wait) as child:
        yield child


def app(case: str, backend: str, *arguments: str) -> list[str | Path]:
    """Return the command that runs a case of the app."""
    return [sys.executable, APP, case, backend, *arguments]


def child_of(pid: int) -> int:
    """Return the only child of a process, which is there or about to be."""
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        if found:
            return int(found[0])
    pytest.fail(f"process {pid} has no child", pytrace=False)


class ForkServer:
    """A process that has imported everything already, and runs each case of the app in a fork of itself."""

    def __init__(self, *, measured: bool) -> None:
        """Start it; where coverage is *measured*, its forks are slower by far, and write a file each."""
        self._socket, other = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if measured or "COVERAGE" not in name}
        with other:
            self._process = subprocess.Popen(
                [sys.executable, APP, "serve", str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._socket.settimeout(BOUND)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait(BOUND)

    @contextmanager
    def run(
        self, case: str, backend: str, *arguments: str, first: bool = False, unread: bool = False
    ) -> Iterator[Child]:
        """Run a case of the app, as the *first* process of a namespace of its own, with *unread* standard error."""
        with ExitStack() as ends:
            streams = {}
            theirs = []
            for name in ("output", "errors"):
                mine, other = os.pipe()
                streams[mine] = name
                theirs.append(other)
                ends.callback(os.close, other)
            request = " ".join(["first" if first else "plain", case, backend, *arguments])
            socket.send_fds(self._socket, [request.encode()], theirs)
            answer = self._ask()
        with ExitStack() as kept:
            if unread:
                kept.callback(os.close, streams.popitem()[0])
            if answer < 0:
                for mine in streams:
                    os.close(mine)
                raise OSError(-answer, os.strerror(-answer))
            yield kept.enter_context(Child(request, answer, streams, lambda: self._wait(answer)))

    def outcomes(
        self,
        case: str,
        *arguments: str,
        ready: str | None = "ready",
        send: int = signal.SIGTERM,
        backends: Sequence[str] = BACKENDS,
        unread: bool = False,
    ) -> list[Outcome]:
        """Run a case on all *backends* side by side, *send* a signal to each that is *ready*, and await the ends."""
        with ExitStack() as ends:
            children = [ends.enter_context(self.run(case, backend, *arguments, unread=unread)) for backend in backends]
            for child in children:
                if ready is not None:
                    child.reads(ready)
                    child.send(send)
            return [child.ends() for child in children]

    def _wait(self, pid: int) -> int:
        self._socket.send(f"wait {pid}".encode())
        return self._ask()

    def _ask(self) -> int:
        return int(self._socket.recv(100))
