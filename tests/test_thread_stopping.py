"""`hostkit.ThreadStoppingToken`: how blocking code learns that it should finish."""

import math
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest

from hostkit._tokens import thread_stopping_token as _thread_stopping
from hostkit._tokens.thread_stopping_token import ThreadStoppingSource

PATIENCE = 20
"""Real seconds for a thread to do what it does at once."""


class Owner:
    """The owner of the token, in place of a service's supervisor."""

    def __init__(self) -> None:
        self.warnings = 0
        self.errors: list[BaseException] = []
        self.left = 7.5

    def time_left(self) -> float:
        return self.left

    def on_callback_error(self, error: BaseException) -> None:
        self.errors.append(error)

    def log_ignored_stop(self) -> None:
        self.warnings += 1


@pytest.fixture
def owner() -> Owner:
    """Who the token belongs to."""
    return Owner()


@pytest.fixture
def token(owner: Owner) -> ThreadStoppingSource:
    """A token that no stop has reached yet."""
    return ThreadStoppingSource(owner)


class Worker:
    """A thread that runs a function, and whose result is waited for."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.result: object = "nothing yet"
        self._function = function
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        self.result = self._function()

    def join(self) -> object:
        """Return what the function has returned."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.result


class Clock:
    """A clock that only waits move, in place of the `time` module and of the token's event."""

    def __init__(self, token: ThreadStoppingSource, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.stop_at = math.inf
        self._token = token
        self._event = token._stopped
        monkeypatch.setattr(_thread_stopping, "time", self)
        monkeypatch.setattr(self._token, "_stopped", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def is_set(self) -> bool:
        return self._event.is_set() or self.now >= self.stop_at

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float | None) -> bool:
        if not self.is_set():
            self.now = min(self.stop_at, self.now + (math.inf if seconds is None else seconds))
        return self.is_set()


@pytest.fixture
def clock(token: ThreadStoppingSource, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the token, moved by its own waits and by the test."""
    return Clock(token, monkeypatch)


def test_sleeps_for_the_time(token: ThreadStoppingSource, clock: Clock) -> None:
    """A sleep that no stop interrupts lasts as long as it was told to, and returns False."""
    for sleep, seconds in (
        (partial(token.sleep, 1.5), 1.5),
        (partial(token.sleep, timedelta(seconds=2)), 2),
        (partial(token.sleep, hours=1, minutes=1, seconds=1), 3661),
        (partial(token.sleep, 0), 0),
        (partial(token.sleep, seconds=0), 0),
    ):
        began = clock.now

        assert sleep() is False
        assert clock.now - began == seconds


def test_a_real_sleep_blocks(token: ThreadStoppingSource) -> None:
    """A short sleep in real time returns False."""
    assert token.sleep(0.001) is False
    assert token.sleep(0) is False


@pytest.mark.parametrize("duration", [3600, math.inf, 1e300, timedelta.max])
def test_the_stop_wakes_every_sleep(token: ThreadStoppingSource, duration: float) -> None:
    """A stop ends the sleep of every thread, however long it is; each returns True."""
    waiting = threading.Semaphore(0)
    token._on_activity = waiting.release
    workers = [Worker(partial(token.sleep, duration)) for _ in range(3)]
    for _ in workers:
        assert waiting.acquire(timeout=PATIENCE)

    token.request_stop()

    assert [worker.join() for worker in workers] == [True, True, True]
    assert token.stop_requested


def test_the_stop_wakes_every_wait(token: ThreadStoppingSource) -> None:
    """`wait` returns at the stop, in every thread; after it, at once."""
    waiting = threading.Semaphore(0)
    token._on_activity = waiting.release
    workers = [Worker(token.wait) for _ in range(3)]
    for _ in workers:
        assert waiting.acquire(timeout=PATIENCE)

    token.request_stop()

    assert [worker.join() for worker in workers] == [None, None, None]
    token.wait()


def test_the_first_sleep_of_a_thread_after_the_stop_returns_at_once(token: ThreadStoppingSource, owner: Owner) -> None:
    """After the stop the first sleep of every thread returns True and takes no time."""
    token.request_stop()

    workers = [Worker(partial(token.sleep, 3600)) for _ in range(3)]

    assert [worker.join() for worker in workers] == [True, True, True]
    assert token.sleep(3600)
    assert owner.warnings == 0


def test_a_loop_that_ignores_the_stop_does_not_spin(token: ThreadStoppingSource, owner: Owner, clock: Clock) -> None:
    """A thread that keeps calling sleep after the stop does sleep, up to a second, and one warning says so."""
    token.request_stop()
    times = []

    for duration in (60, 60, 0.25, 0, math.inf):
        assert token.sleep(duration)
        times.append(clock.now - 1000)

    assert times == [0, 1, 1.25, 1.25, 2.25]
    assert owner.warnings == 1


def test_a_token_warns_once_for_all_threads(token: ThreadStoppingSource, owner: Owner, clock: Clock) -> None:
    """Several threads of a service that ignore the stop are one warning."""
    token.request_stop()

    def ignore() -> None:
        for _ in range(3):
            token.sleep(0)

    for worker in [Worker(ignore) for _ in range(3)]:
        worker.join()

    assert owner.warnings == 1


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"duration": -1}, ValueError),
        ({"duration": math.nan}, ValueError),
        ({"duration": True}, TypeError),
        ({"seconds": -1}, ValueError),
        ({}, TypeError),
        ({"duration": 1, "seconds": 1}, TypeError),
    ],
)
def test_sleep_wants_a_duration(
    token: ThreadStoppingSource, arguments: dict[str, float], error: type[Exception], *, stopped: bool
) -> None:
    """A wrong duration is an error, also after the stop."""
    if stopped:
        token.request_stop()

    with pytest.raises(error):
        token.sleep(**arguments)


def ticks_of(token: ThreadStoppingSource, clock: Clock, period: float, bodies: list[float]) -> list[float]:
    """Return when the ticks came, with a body that takes so long each time; after the last body the loop is left."""
    at = []
    left = bodies.copy()
    for _ in token.every(period):
        at.append(clock.now - 1000)
        if not left:
            break
        clock.now += left.pop(0)
    return at


def test_ticks_at_once_and_then_on_a_grid(token: ThreadStoppingSource, clock: Clock) -> None:
    """The first tick comes at once, the next ones on a grid from it, however long the body takes."""
    clock.now += 3

    assert ticks_of(token, clock, 60, [0, 1, 59.5, 60, 30]) == [3, 63, 123, 183, 243, 303]


def test_late_ticks_coalesce(token: ThreadStoppingSource, clock: Clock) -> None:
    """A body that overruns gets one tick at once for all it has missed, then the grid again."""
    assert ticks_of(token, clock, 10, [25, 1, 30, 3, 0]) == [0, 25, 30, 60, 70, 80]


def test_a_period_in_parts(token: ThreadStoppingSource, clock: Clock) -> None:
    """A period is given like any duration."""
    lengths = []
    for ticks in (token.every(timedelta(minutes=1)), token.every(hours=1, minutes=1), token.every(seconds=0.5)):
        began = clock.now
        next(ticks)
        next(ticks)
        lengths.append(clock.now - began)

    assert lengths == [60, 3660, 0.5]


def test_the_stop_ends_the_wait_for_a_tick(token: ThreadStoppingSource, clock: Clock) -> None:
    """The stop ends the loop at once, without a last tick; ended stays ended."""
    clock.stop_at = 1130
    ticks = token.every(minutes=1)

    at = [clock.now - 1000 for _ in ticks]

    assert at == [0, 60, 120]
    assert clock.now == 1130
    assert list(ticks) == []


def test_the_stop_never_interrupts_the_body(token: ThreadStoppingSource, clock: Clock) -> None:
    """A body that runs at the stop is finished; then the loop ends without a last tick, even if one was missed."""
    clock.stop_at = 1065

    assert ticks_of(token, clock, 60, [10, 100, 10]) == [0, 60]


def test_a_real_loop_is_ended_by_the_stop(token: ThreadStoppingSource) -> None:
    """A thread that waits for its next tick in real time is woken by the stop."""
    waiting = threading.Event()
    token._on_activity = waiting.set
    worker = Worker(lambda: sum(1 for _ in token.every(hours=1)))
    assert waiting.wait(PATIENCE)

    token.request_stop()

    assert worker.join() == 1


def test_no_tick_after_the_stop(token: ThreadStoppingSource) -> None:
    """A loop that is entered after the stop has no tick, not even the first."""
    token.request_stop()

    assert list(token.every(1)) == []


def test_a_break_leaves_nothing_behind(token: ThreadStoppingSource, clock: Clock) -> None:
    """Ticks are an iterator of their own, not a generator: after `break` there is nothing to close."""
    ticks = token.every(1)

    next(ticks)
    clock.now += 10
    next(ticks)

    assert iter(ticks) is ticks
    assert not isinstance(ticks, type(_ for _ in ()))
    assert isinstance(ticks, Iterator)
    next(ticks)
    assert clock.now == 1011


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"duration": 1, "hours": 1}, TypeError),
        ({"duration": 0}, ValueError),
        ({"seconds": 0}, ValueError),
        ({"duration": math.inf}, ValueError),
    ],
)
def test_every_wants_a_period(token: ThreadStoppingSource, arguments: dict[str, float], error: type[Exception]) -> None:
    """A missing or wrong period is an error of the call, not of the first step."""
    with pytest.raises(error):
        token.every(**arguments)


def test_every_wait_is_a_sign_of_life(token: ThreadStoppingSource, clock: Clock) -> None:
    """`beat`, and the begin and the end of every wait, are signs of life; while a wait lasts the service is idle."""
    seen: list[tuple[float, int]] = []
    token._on_activity = lambda: seen.append((clock.now - 1000, token._waits))
    clock.stop_at = 1003

    token.beat()
    token.sleep(1)
    ticks = token.every(1)
    next(ticks)
    next(ticks)
    token.wait()

    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


def test_a_service_is_idle_while_one_of_its_threads_waits(token: ThreadStoppingSource) -> None:
    """Waits of several threads are counted."""
    waiting = threading.Semaphore(0)
    token._on_activity = waiting.release
    workers = [Worker(token.wait) for _ in range(5)]
    for _ in workers:
        assert waiting.acquire(timeout=PATIENCE)

    idle = token._waits
    token.request_stop()
    for worker in workers:
        worker.join()

    assert (idle, token._waits) == (5, 0)


def test_a_beat_costs_nothing_where_nobody_watches(token: ThreadStoppingSource) -> None:
    """`beat` may be called anywhere."""
    token.beat()


def test_no_time_is_limited_before_the_stop(token: ThreadStoppingSource, owner: Owner) -> None:
    """`time_left` is infinite while no stop is requested, then what the owner says, and never below 0."""
    before = token.time_left
    token.request_stop()
    after = token.time_left
    owner.left = -0.5

    assert (before, after, token.time_left) == (math.inf, 7.5, 0.0)


def test_callbacks_are_called_once_at_the_stop(token: ThreadStoppingSource) -> None:
    """`on_stop` callbacks are called at the stop, in the order of registration; a second stop calls none."""
    called: list[int] = []
    for number in range(3):
        token.on_stop(partial(called.append, number))

    before = list(called)
    token.request_stop()
    token.request_stop()

    assert (before, called) == ([], [0, 1, 2])


def test_a_callback_that_was_taken_back_is_not_called(token: ThreadStoppingSource) -> None:
    """What `on_stop` returns takes the registration back, also from a callback that comes before; twice is fine."""
    called: list[str] = []
    undo_later: list[Callable[[], None]] = []
    token.on_stop(lambda: undo_later[0]())  # noqa: PLW0108  # there is none yet
    undo_later.append(token.on_stop(lambda: called.append("later")))
    undo = token.on_stop(lambda: called.append("undone"))

    undo()
    token.request_stop()
    undo()

    assert called == []


def test_a_callback_after_the_stop_is_called_at_once(token: ThreadStoppingSource) -> None:
    """A callback that comes after the stop is called in the thread that registers it."""
    token.request_stop()
    called: list[int] = []

    undo = token.on_stop(lambda: called.append(threading.get_ident()))
    undo()

    assert called == [threading.get_ident()]


def test_a_callback_that_fails_keeps_no_other_from_running(token: ThreadStoppingSource, owner: Owner) -> None:
    """An error of a callback is the owner's to log; the callbacks after it are called."""
    error = OSError("no route")
    called: list[str] = []

    def fail() -> None:
        raise error

    token.on_stop(fail)
    token.on_stop(lambda: called.append("second"))
    token.request_stop()
    token.on_stop(fail)

    assert called == ["second"]
    assert owner.errors == [error, error]


@pytest.mark.parametrize("callback", [None, lambda: (yield)])
def test_a_callback_that_cannot_be_called_is_refused(token: ThreadStoppingSource, callback: Callable[[], None]) -> None:
    """What is no function, or would run nothing, is an error at the call."""
    with pytest.raises(TypeError, match=r"on_stop\(\) takes a function"):
        token.on_stop(callback)
