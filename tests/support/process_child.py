"""Child processes that are looked after: what they say while they live, and how they end."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pytest

APP = Path(__file__).with_name("process_app.py")
# Far beyond what any child needs on a busy machine: only one that hangs reaches it.
BOUND = 30.0
BACKENDS = [
    "asyncio",
    pytest.param("trio", marks=pytest.mark.needs("trio")),
    pytest.param("uvloop", marks=pytest.mark.needs("uvloop")),
]
# First process of a namespace of its own, as in a container; the kernel keeps signals without a handler from it.
UNSHARE = ("unshare", "--fork", "--pid", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Outcome:
    """How a child has ended.

    Attributes:
        code: The exit code; negative for death by a signal.
        output: What it has written to standard output, by lines.
        errors: What it has written to standard error.
    """

    code: int
    output: list[str]
    errors: str


class Ending(Protocol):
    """What waits for the end of a process that has closed its streams, and returns its exit code."""

    def __call__(self) -> int: ...


class Child:
    """A running child; a context manager that leaves none behind."""

    def __init__(self, pid: int, streams: Mapping[int, str], wait: Ending) -> None:
        """Take over a child of which *streams*, by descriptor, are to be read."""
        self.pid = pid
        self._wait = wait
        self._seen = {"output": b"", "errors": b""}
        self._selector = selectors.DefaultSelector()
        for descriptor, name in streams.items():
            self._selector.register(descriptor, selectors.EVENT_READ, name)
        self._code: int | None = None

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

    def reads(self, *texts: str) -> None:
        """Wait until the child has said each of *texts*, on either stream.

        Raises:
            AssertionError: It has not, and has ended or taken too long.
        """
        deadline = time.monotonic() + BOUND
        while missing := [text for text in texts if text not in self._text("output") + self._text("errors")]:
            if not self._read(deadline):
                pytest.fail(f"the child has not said {missing}, but\n{self._told()}", pytrace=False)

    def send(self, *numbers: int) -> None:
        """Send signals; of several, none waits until the one before has been heard."""
        for number in numbers:
            os.kill(self.pid, number)

    def ends(self) -> Outcome:
        """Wait for the end.

        Raises:
            AssertionError: It does not come.
        """
        deadline = time.monotonic() + BOUND
        while self._selector.get_map():
            if not self._read(deadline):
                pytest.fail(f"the child has not ended, and has said\n{self._told()}", pytrace=False)
        self._code = self._wait()
        return Outcome(self._code, self._text("output").splitlines(), self._text("errors"))

    def _read(self, deadline: float) -> bool:
        """Read what comes next; return False if nothing does until *deadline*, or will ever."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            self._seen[key.data] += data
            if not data:
                self._close(key.fd)
        return bool(ready)

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _text(self, name: str) -> str:
        return self._seen[name].decode(errors="replace")

    def _told(self) -> str:
        return f"{self._text('output')}--- standard error:\n{self._text('errors')}"


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
    with Child(process.pid, {output: "output", errors: "errors"}, process.wait) as child:
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

    def __init__(self) -> None:
        """Start it."""
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, APP, "serve", str(other.fileno())], pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
            )
        self._socket.settimeout(BOUND)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait(BOUND)

    @contextmanager
    def run(self, case: str, backend: str, *arguments: str, first: bool = False) -> Iterator[Child]:
        """Run a case of the app, as the *first* process of a namespace of its own if that is wanted."""
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
        if answer < 0:
            for mine in streams:
                os.close(mine)
            raise OSError(-answer, os.strerror(-answer))
        with Child(answer, streams, lambda: self._wait(answer)) as child:
            yield child

    def _wait(self, pid: int) -> int:
        self._socket.send(f"wait {pid}".encode())
        return self._ask()

    def _ask(self) -> int:
        return int(self._socket.recv(100))


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """A fork server for all tests."""
    server = ForkServer()
    yield server
    server.close()
