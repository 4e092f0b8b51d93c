"""What a process that a host owns waits for, and how long. What comes of it is told by `test_process_stuck`."""

import signal
from collections.abc import Iterator
from errno import EMFILE
from typing import Any

import pytest
from puppet import QUIET

from hostkit import Host, HostBuilder
from hostkit._core.host import runner_of
from hostkit._process.owner import _Ownership
from hostkit._process.watchdog import Watchdog


class Left(BaseException):
    """Raised instead of leaving the process."""


class Waiting:
    """Stands for the dead-man and for the threads: each look at what is left is one instant later."""

    def __init__(self, *instants: tuple[float, str]) -> None:
        self.instants = list(instants)
        self.waited: list[float] = []

    @property
    def remaining(self) -> float:
        return self.instants[0][0]

    def join(self, seconds: float) -> None:
        self.waited.append(seconds)

    def describe(self) -> str:
        if self.waited[1:]:
            self.instants.pop(0)
        return self.instants[0][1]

    def arm(self, _seconds: float) -> None:
        raise AssertionError


class Lifecycle:
    """Stands for a life that has ended."""

    class lifetime:  # noqa: N801  # an attribute
        """Stands for its lifetime."""

        @staticmethod
        def log(*_args: object) -> None:
            """Write nothing."""


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Ownership]:
    """What a host that has ended still holds of its process."""

    def leave(_self: _Ownership, words: str) -> None:
        raise Left(words)

    monkeypatch.setattr(_Ownership, "_leave", leave)
    host: Host = HostBuilder(QUIET).build()
    ownership: Any = _Ownership(runner_of(host), None, configure_logging=False)
    ownership._lifecycle = Lifecycle()
    yield ownership
    assert host.lifetime.failure is None


def wait(owner: Any, *instants: tuple[float, str]) -> list[float]:  # noqa: ANN401  # with parts that stand for others
    """Wait as long as the instants go, and return how long each wait was."""
    owner._threads = owner._watchdog = waiting = Waiting(*instants)
    owner.await_threads()
    return waiting.waited


def test_waits_for_a_thread_to_the_end(owner: _Ownership) -> None:
    """A thread that ends in the last moment was in time; no wait is longer than what is left."""
    waited = wait(owner, (0.5, "thread"), (0.25, "thread"), (0.0625, "thread"), (0.015625, ""))

    assert len(waited) == 4
    assert waited[-1] == 0.0625


def test_leaves_at_the_end(owner: _Ownership) -> None:
    """When no time is left, the process is left, and the thread named."""
    with pytest.raises(Left, match="still running after the stop: thread"):
        wait(owner, (0.5, "thread"), (-0.5, "thread"), (-9, ""))


def test_waits_for_nothing(owner: _Ownership) -> None:
    """Without threads there is nothing to wait for."""
    assert len(wait(owner, (0.5, ""))) == 1


def test_a_start_that_fails_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process has no descriptor left for the watchdog, the signals and the ownership are given back."""
    before = signal.getsignal(signal.SIGTERM)

    def refuse(_self: Watchdog) -> None:
        raise OSError(EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Watchdog, "__enter__", refuse)
        with pytest.raises(OSError, match="too many"):
            HostBuilder(QUIET).build().run()

    assert signal.getsignal(signal.SIGTERM) == before
    HostBuilder(QUIET).build().run(configure_logging=False)
