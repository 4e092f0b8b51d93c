"""The app of the tests with real processes, each case in a child of its own or in a fork of one that has all loaded."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from children import PATIENCE, Outcome, Running

APP = Path(__file__).with_name("process_app.py")
# The test suite refuses to run where one is missing, except where it runs without any extra.
BACKENDS = [backend for backend in ("asyncio", "trio", "uvloop") if backend == "asyncio" or find_spec(backend)]
# First process of a namespace of its own, as in a container; the kernel keeps signals without a handler from it.
UNSHARE = ("unshare", "--fork", "--pid", "--kill-child", "--mount-proc")


def app(case: str, backend: str, *arguments: str) -> list[str | Path]:
    """Return the command that runs a case of the app."""
    return [sys.executable, APP, case, backend, *arguments]


def child_of(pid: int) -> int:
    """Return the only child of a process, which is there or about to be."""
    deadline = time.monotonic() + PATIENCE
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
        self._socket.settimeout(PATIENCE)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait(PATIENCE)

    @contextmanager
    def run(
        self, case: str, backend: str, *arguments: str, first: bool = False, unread: bool = False
    ) -> Iterator[Running]:
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
            yield kept.enter_context(Running(request, answer, streams, lambda: self._wait(answer)))

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
