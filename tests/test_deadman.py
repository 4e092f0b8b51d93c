"""The last rung: what can come in between when it is armed. That it ends a process is told by `test_process_stuck`."""

import _thread
import faulthandler
import math
import threading
from collections.abc import Callable

import pytest

from hostkit._process import watchdog as _deadman
from hostkit._process.watchdog import FLUSH_TIMEOUT, LAST_MARGIN, NAMING_MARGIN, DeadMan


class Timer:
    """What stands for faulthandler's timer, of which pytest has its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[float | None] = []
        self.meanwhile: list[Callable[[], object]] = []
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self.set)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: self.calls.append(None))

    def set(self, seconds: float, *, exit: bool, file: int) -> None:  # noqa: A002  # faulthandler's name
        self.calls.append(seconds - LAST_MARGIN)
        if self.meanwhile:
            self.meanwhile.pop()()


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    """The timer."""
    return Timer(monkeypatch)


def explain(_frame: object) -> tuple[str, int]:
    """Stand for what is never to be called."""
    raise AssertionError


def test_leaves_the_timer_alone(timer: Timer) -> None:
    """A host that never had to arm it does not disarm the app's own timer either."""
    with DeadMan(explain):
        pass

    assert timer.calls == []


def test_is_disarmed(timer: Timer) -> None:
    """At the end nothing is armed, whatever has been."""
    with DeadMan(explain) as deadman:
        deadman.expect_beat(50)
        deadman.arm(100)
        deadman.expect_beat(60)
        deadman.expect_beat(math.inf)
        left = deadman.remaining

    *armed, last = timer.calls
    assert [round(seconds or 0) for seconds in armed] == [50, 50, 60, 100]
    assert last is None
    assert 90 < left <= 100


def test_expects_nothing_at_first(timer: Timer) -> None:
    """Without a deadline there is nothing to arm."""
    with DeadMan(explain) as deadman:
        deadman.expect_beat(50)
        deadman.expect_beat(math.inf)

        assert deadman.remaining == math.inf
        assert timer.calls[-1] is None


def test_keeps_the_deadline_of_a_signal_in_between(timer: Timer) -> None:
    """A signal handler that arms it while it is being armed for later is not forgotten."""
    with DeadMan(explain) as deadman:
        timer.meanwhile.append(lambda: deadman.arm(10))
        deadman.expect_beat(50)

        assert [round(seconds or 0) for seconds in timer.calls] == [50, 10, 10]


def test_a_hurry_is_not_undone_by_what_it_interrupts(timer: Timer) -> None:
    """A second signal may come in the middle of the first one's handler, which then goes on with its own deadline."""
    with DeadMan(explain) as deadman:
        deadman.hurry(10)
        deadman.arm(100)
        deadman.hurry(20)
        left = deadman.remaining
        deadman.put_off(50)

        assert 9 < left <= 10
        assert [round(seconds or 0) for seconds in timer.calls] == [10, 10, 10, 50]


def test_is_not_armed_after_its_end(timer: Timer) -> None:
    """A thread that asks for a stop while the run ends leaves no timer behind that would end the process later."""
    deadman = DeadMan(explain)
    with deadman:
        timer.meanwhile.append(lambda: deadman.__exit__(None, None, None))
        deadman.arm(10)
        # For the end of the block, which has come already.
        deadman.__enter__()

    assert timer.calls[-1] is None
    deadman.arm(10)
    assert timer.calls[-1] is None


def test_does_not_raise_where_no_thread_can_be_made(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process may have no more threads, a signal handler gets no error, which could come out anywhere."""

    def fail(*_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(_thread, "start_new_thread", fail)
    timer.meanwhile.append(fail)
    with DeadMan(explain) as deadman:
        deadman.arm(10)

        assert len(timer.calls) == 1


class Left(DeadMan):
    """A dead-man that says so instead of leaving."""

    def __init__(self) -> None:
        super().__init__(explain)
        self.left: list[float] = []
        self.over = threading.Event()

    def _leave(self) -> None:
        self.left.append(self.remaining)
        self.over.set()
        self._done.release()
        raise SystemExit  # ends a thread silently


def test_never_leaves_before_its_time(timer: Timer) -> None:
    """The thread waits for the deadline, and the margin in which the end may still come."""
    with Left() as deadman:
        deadman.arm(0)

        assert deadman.over.wait(20)

    assert deadman.left[0] <= -NAMING_MARGIN


def test_a_hurry_is_heeded_by_the_thread_that_waits(timer: Timer) -> None:
    """The thread is told of a deadline that is nearer than the one it waits for."""
    waits = threading.Event()

    class Wake:
        def __init__(self, lock: _thread.LockType) -> None:
            self.lock = lock
            self.release = lock.release

        def acquire(self, *, timeout: float) -> bool:
            waits.set()
            return self.lock.acquire(timeout=timeout)

    with Left() as deadman:
        deadman._wake = Wake(deadman._wake)  # type: ignore[assignment]
        deadman.arm(1000)
        assert waits.wait(20)

        deadman.hurry(0)

        assert deadman.over.wait(20)


def test_what_is_said_in_the_end_has_its_time(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer, which says nothing, is put off for as long as a log may take that is flushed."""
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(_deadman, "leave", lambda code, text, _descriptor: told.append((code, text)))

    with DeadMan(lambda _frame: ("blocked", 7)) as deadman:
        deadman._leave()

    assert round(timer.calls[0] or 0) == FLUSH_TIMEOUT
    assert told == [(7, "hostkit: blocked; leaving the process with exit code 7\n")]
