"""The watchdog of an event loop in detail. That it ends a process is tested by `test_process_stuck`."""

import _thread
import faulthandler
import math
import threading
import time
from collections.abc import Callable

import anyio
import pytest
from loguru import logger
from puppet import Plain

from hostkit import HostBuilder, HostOptions, StoppingToken
from hostkit._process import leave as _leave
from hostkit._process import watchdog as _watchdog
from hostkit._process.leave import FLUSH_TIMEOUT
from hostkit._process.watchdog import LAST_MARGIN, NAMING_MARGIN, PAUSE, TIME_AFTER_PAUSE, Watchdog


class Timer:
    """What stands for faulthandler's timer, of which pytest has its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[float | None] = []
        self.meanwhile: list[Callable[[], object]] = []
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self.set)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: self.calls.append(None))

    def set(self, seconds: float, *, exit: bool, file: int) -> None:  # noqa: A002  # faulthandler's name
        self.calls.append(round(seconds - LAST_MARGIN))
        if self.meanwhile:
            self.meanwhile.pop()()


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    """The timer."""
    return Timer(monkeypatch)


def describe(_frame: object) -> tuple[str, int]:
    """Stand for what is never to be called."""
    raise AssertionError


def log(*_args: object, **_kwargs: object) -> None:
    """Stand for what is never to be called."""
    raise AssertionError


def owned(**thresholds: float) -> Watchdog:
    """Make a watchdog of a host that owns its process."""
    return Watchdog(log, describe=describe, **thresholds)


def test_leaves_the_timer_alone(timer: Timer) -> None:
    """A host that never had to arm it does not disarm the app's own timer either."""
    with owned():
        pass

    assert timer.calls == []


def test_is_disarmed(timer: Timer) -> None:
    """At the end nothing is armed, whatever has been."""
    with owned() as watchdog:
        unarmed = watchdog.remaining
        watchdog.arm(100)
        left = watchdog.remaining

    assert unarmed == math.inf
    assert 90 < left <= 100
    assert timer.calls == [100, None]


@pytest.mark.real_time
async def test_expects_signs_of_life_while_the_loop_runs(timer: Timer) -> None:
    """With a hang timeout the process is left unless the loop gives a sign of life, which is over with the loop."""
    with owned(hang_timeout=60) as watchdog:
        async with anyio.create_task_group() as group:
            group.start_soon(watchdog.run)
            await anyio.wait_all_tasks_blocked()
            during = timer.calls.copy()
            group.cancel_scope.cancel()
        after = timer.calls.copy()

    assert during == [60]
    assert after == [60, None]


def test_keeps_the_deadline_of_a_signal_in_between(timer: Timer) -> None:
    """A signal handler that arms it while it is being armed for later is not forgotten."""
    with owned() as watchdog:
        timer.meanwhile.append(lambda: watchdog.cancel_all(10))
        watchdog.arm(50)

        assert timer.calls == [50, 10, 10]


def test_a_nearer_deadline_is_not_undone_by_what_it_interrupts(timer: Timer) -> None:
    """A second signal may come in the middle of the first one's handler, which then goes on with its own deadline."""
    with owned() as watchdog:
        watchdog.cancel_all(10)
        watchdog.arm(100)
        watchdog.cancel_all(20)
        left = watchdog.remaining
        watchdog.arm(50, anew=True)

        assert 9 < left <= 10
        assert timer.calls == [10, 10, 10, 50]


def test_is_not_armed_after_its_end(timer: Timer) -> None:
    """A thread that asks for a stop while the run ends leaves no timer behind that would end the process later."""
    with owned() as watchdog:
        watchdog.arm(10)
        watchdog._closed = True
        watchdog._set_last_timer(time.monotonic() + 10)

        assert timer.calls[-1] is None

    watchdog.arm(10)
    assert timer.calls[-1] is None


def test_does_not_raise_where_no_thread_can_be_made(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process may have no more threads, the timer, which needs none of Python's, is armed all the same."""

    def fail(*_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", fail)
    timer.meanwhile.append(fail)
    with owned() as watchdog:
        watchdog.arm(10)

    assert timer.calls == [10, None]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The codes with which the process would have been left, and the words."""
    found: list[tuple[int, str]] = []
    monkeypatch.setattr(_watchdog, "leave", lambda code, text, _descriptor: found.append((code, text)))
    return found


def test_leaves_when_the_time_is_over(timer: Timer, left: list[tuple[int, str]]) -> None:
    """After the deadline, and the margin in which the end may still come, the process is left with the words."""
    watchdog = Watchdog(log, describe=lambda _frame: ("blocked", 7))
    watchdog._descriptor = 2
    watchdog.arm(100)
    now = time.monotonic()

    early = watchdog._look(now + 100 + NAMING_MARGIN - 0.1)
    before = left.copy()
    watchdog._look(now + 100 + NAMING_MARGIN)

    assert 0 < early <= 0.2
    assert before == []
    assert left == [(7, "hostkit: blocked; leaving the process with exit code 7\n")]
    # The timer, which knows no services, is put off for as long as a log may take that is flushed.
    assert timer.calls == [100, round(max(0, FLUSH_TIMEOUT - LAST_MARGIN))]


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("watched", [True, False])
def test_a_paused_process_has_time_to_say_more(
    timer: Timer, left: list[tuple[int, str]], *, stops: bool, watched: bool
) -> None:
    """A process that was paused past its deadlines gives the host a moment, which knows what it waits for."""
    watchdog = Watchdog(log, describe=describe, hang_timeout=60)
    watchdog._descriptor = 2
    if stops:
        watchdog.arm(100)
    if watched:
        watchdog._hang_deadline = time.monotonic() + 100
    now = time.monotonic()
    if not (stops or watched):
        assert watchdog._look(now) == math.inf
        return

    seconds = watchdog._look(now + 100 + NAMING_MARGIN + PAUSE + 1)

    assert seconds == TIME_AFTER_PAUSE + NAMING_MARGIN
    assert left == []
    assert watchdog.remaining <= TIME_AFTER_PAUSE if stops else watchdog.remaining == math.inf
    assert (now + 100 < watchdog._hang_deadline < math.inf) is watched


@pytest.mark.parametrize("beats", [True, False])
def test_a_paused_process_has_that_time_once(timer: Timer, left: list[tuple[int, str]], *, beats: bool) -> None:
    """Calls in C that keep the interpreter to themselves look like pauses: only a turn of the loop earns another."""
    watchdog = Watchdog(log, describe=lambda _frame: ("blocked", 7), hang_timeout=60)
    watchdog._descriptor = 2
    watchdog._beat()
    late = time.monotonic() + 60 + NAMING_MARGIN + PAUSE + 1
    watchdog._look(late)
    before = left.copy()
    if beats:
        watchdog._beat()

    watchdog._look(late + TIME_AFTER_PAUSE + NAMING_MARGIN + PAUSE + 1)

    assert before == []
    assert bool(left) is not beats


class PausedLock:
    """A lock whose first wait is over at once, as it is when the whole process was paused for longer than it lasts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits = 0
        self.waited_on = threading.Event()

    def acquire(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return self._lock.acquire()
        self._waits += 1
        if self._waits == 1:
            return False
        self.waited_on.set()
        return self._lock.acquire(timeout=20)

    def release(self) -> None:
        self._lock.release()


def test_a_pause_takes_little_of_the_time_for_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is paused while it writes its last words goes on writing them."""
    lock = PausedLock()
    monkeypatch.setattr(_thread, "allocate_lock", lambda: lock)
    said = []

    def say() -> None:
        if lock.waited_on.wait(20):
            said.append("words")

    _leave._bounded(say)

    assert said == ["words"]


@pytest.mark.real_time
def test_the_thread_is_woken_by_a_nearer_deadline(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread hears of a deadline that is nearer than the one it waits for."""
    over = threading.Event()

    def leave(*_: object) -> None:
        over.set()
        watchdog._closed = True

    monkeypatch.setattr(_watchdog, "leave", leave)
    with Watchdog(log, describe=lambda _frame: ("blocked", 7)) as watchdog:
        watchdog.arm(1000)

        watchdog.cancel_all(0)

        assert over.wait(20)


@pytest.mark.parametrize(("lasts", "said"), [(1.9, []), (2.0, [2.0]), (9.0, [2.0])])
def test_a_block_is_reported_once_when_it_is_long_enough(lasts: float, said: list[float]) -> None:
    """Two looks in each threshold; a beat may be half a threshold old when a block begins, which is none of it."""
    found: list[float] = []
    watchdog = Watchdog(lambda _level, _message, _block, seconds, service: found.append(seconds), lag_warning=1.0)
    watchdog._beating = True
    watchdog._beat_at = 100.0
    now, wait = 100.0 + 0.5, watchdog._look(100.0 + 0.5)

    while now + wait <= 100.0 + lasts:
        now += wait
        wait = watchdog._look(now)

    assert found == said
    assert watchdog.blocked is bool(said)


def test_a_look_between_two_others_counts_for_nothing() -> None:
    """The thread is woken by each new deadline as well: only looks at their time count."""
    watchdog = Watchdog(log, lag_warning=1.0)
    watchdog._beating = True
    watchdog._beat_at = 100.0
    first = watchdog._look(100.5)

    between = [watchdog._look(100.5 + 0.01 * number) for number in range(1, 11)]

    assert between == pytest.approx([first - 0.01 * number for number in range(1, 11)])
    assert not watchdog.blocked


def test_a_pause_of_the_process_is_no_lag() -> None:
    """Looks are counted, not seconds: while the whole process is paused, nothing looks, and the loop beats at once."""
    watchdog = Watchdog(log, lag_warning=1.0)
    watchdog._beating = True
    watchdog._beat_at = 100.0
    watchdog._look(100.5)

    watchdog._look(160.0)
    watchdog._beat_at = 160.1
    watchdog._look(160.5)

    assert not watchdog.blocked


@pytest.mark.real_time
async def test_the_blocking_line_is_named_while_it_blocks() -> None:
    """One warning a block, with the service and the line; the status is unhealthy meanwhile."""
    lines: list[str] = []
    warned = threading.Event()
    health: list[bool] = []

    def take(message: str) -> None:
        lines.append(message)
        health.append(host.status().healthy)
        warned.set()

    sink = logger.add(take, level="WARNING", format="{extra[service]} {message}", filter="hostkit")

    async def blocking(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(0.01)
        assert warned.wait(10)
        time.sleep(0)  # noqa: ASYNC251  # what is tested
        await stopping_token.wait()

    builder = HostBuilder(HostOptions(lag_warning=0.05))
    builder.add_service(blocking)
    host = builder.build()

    try:
        async with host:
            while not warned.is_set():
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            health.append(host.status().healthy)
    finally:
        logger.remove(sink)

    assert len(lines) == 1
    assert "service 'blocking' blocks the event loop at " in lines[0]
    assert "test_watchdog.py" in lines[0]
    assert lines[0].startswith("blocking ")
    assert health == [False, True]


@pytest.mark.real_time
async def test_what_blocks_outside_of_services_is_named_as_well() -> None:
    """The line of the app's own code that blocks the loop is named without a service."""
    lines: list[str] = []
    warned = threading.Event()

    def take(message: str) -> None:
        lines.append(message)
        warned.set()

    sink = logger.add(take, level="WARNING", format="{message}", filter="hostkit")
    builder = HostBuilder(HostOptions(lag_warning=0.05))
    builder.add_service(Plain())

    try:
        async with builder.build():
            await anyio.sleep(0.01)
            assert warned.wait(10)
    finally:
        logger.remove(sink)

    assert lines[0].startswith("the event loop is blocked at ")


@pytest.mark.real_time
async def test_the_thread_ends_with_the_host() -> None:
    """No thread of the monitor's survives the host, and none is there without the option."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", lag_warning=0.05))
    builder.add_service(Plain())

    async with builder.build():
        await anyio.sleep(0.01)
        assert [thread for thread in threading.enumerate() if thread.name == "hostkit: watchdog"]

    assert not [thread for thread in threading.enumerate() if thread.name == "hostkit: watchdog"]
