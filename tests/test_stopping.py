"""`hostkit.StoppingToken`: how an async service learns that it should finish; its waits and callbacks."""

import math
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import anyio
import pytest
from anyio import create_memory_object_stream, create_task_group, current_time
from checkpoints import gives_others_a_turn, is_cancelled_in, stop_at

from hostkit._tokens.stopping_token import StoppingSource
from hostkit._values.functions import is_async, is_generator, require_sync


class Owner:
    """The owner of the token, in place of a service's supervisor."""

    def __init__(self) -> None:
        self.warnings = 0
        self.errors: list[BaseException] = []
        self.left = 7.5

    def time_left(self) -> float:
        return self.left

    def log_ignored_stop(self) -> None:
        self.warnings += 1

    def on_callback_error(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.fixture
def owner() -> Owner:
    """Who the token belongs to."""
    return Owner()


@pytest.fixture
def token(owner: Owner) -> StoppingSource:
    """A token that no stop has reached yet."""
    return StoppingSource(owner)


async def test_sleeps_for_the_time(token: StoppingSource) -> None:
    """A sleep that no stop interrupts lasts exactly as long as it was told to, and returns False."""
    results = []
    for sleep in (
        token.sleep(1.5),
        token.sleep(timedelta(seconds=2)),
        token.sleep(hours=1, minutes=1, seconds=1),
        token.sleep(minutes=2),
    ):
        began = current_time()
        results.append((await sleep, current_time() - began))

    assert results == [(False, 1.5), (False, 2), (False, 3661), (False, 120)]


async def test_the_stop_wakes_every_sleep_at_once(token: StoppingSource) -> None:
    """A stop ends every sleep at its instant; each returns True."""
    woken: list[tuple[bool, float]] = []

    async def sleeper(duration: float) -> None:
        woken.append((await token.sleep(duration), current_time()))

    async with create_task_group() as group:
        for duration in (100, 3600, math.inf):
            group.start_soon(sleeper, duration)
        group.start_soon(stop_at, token, 5)

    assert woken == [(True, 5)] * 3
    assert token.stop_requested


@pytest.mark.parametrize("stopped", [False, True])
async def test_sleep_is_always_a_checkpoint(token: StoppingSource, *, stopped: bool) -> None:
    """Even a sleep of 0 gives others a turn and notices a cancellation, before the stop and after it."""
    if stopped:
        token.request_stop()

    assert await is_cancelled_in(lambda: token.sleep(0))
    assert await is_cancelled_in(lambda: token.sleep(0))
    assert await is_cancelled_in(lambda: token.sleep(3600))
    assert await gives_others_a_turn(lambda: token.sleep(0))
    assert current_time() == 0


async def test_the_first_sleep_after_the_stop_returns_at_once(token: StoppingSource, owner: Owner) -> None:
    """After the stop the first sleep of every task returns True and takes no time."""
    token.request_stop()
    results: list[bool] = []

    async def sleeper() -> None:
        results.append(await token.sleep(3600))

    async with create_task_group() as group:
        for _ in range(3):
            group.start_soon(sleeper)

    assert results == [True] * 3
    assert current_time() == 0
    assert owner.warnings == 0


async def test_a_task_in_the_place_of_one_that_is_gone_is_another_one(token: StoppingSource, owner: Owner) -> None:
    """Each of many short tasks has its own first sleep, also where it has the address of one before it."""
    token.request_stop()

    for _ in range(20):
        async with create_task_group() as group:
            group.start_soon(token.sleep, 3600)

    assert current_time() == 0
    assert owner.warnings == 0


async def test_a_loop_that_ignores_the_stop_does_not_spin(token: StoppingSource, owner: Owner) -> None:
    """A task that keeps calling sleep after the stop does sleep, up to a second, and one warning says so."""
    token.request_stop()
    times = []

    for duration in (60, 60, 0.25, 0, math.inf):
        assert await token.sleep(duration)
        times.append(current_time())

    assert times == [0, 1, 1.25, 1.25, 2.25]
    assert owner.warnings == 1


async def test_a_token_warns_once_for_all_tasks(token: StoppingSource, owner: Owner) -> None:
    """Several tasks of a service that ignore the stop are one warning."""
    token.request_stop()

    async def ignore() -> None:
        for _ in range(3):
            await token.sleep(60)

    async with create_task_group() as group:
        for _ in range(3):
            group.start_soon(ignore)

    assert owner.warnings == 1
    assert current_time() == 2


async def test_a_sleep_that_the_stop_wakes_is_no_ignorance(token: StoppingSource, owner: Owner) -> None:
    """A task whose sleep was ended by the stop may still look once more without delay."""
    async with create_task_group() as group:
        group.start_soon(stop_at, token, 5)
        assert await token.sleep(60)
        assert await token.sleep(60)

    assert current_time() == 5
    assert owner.warnings == 0


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"duration": -1}, ValueError, "must not be negative or NaN, got -1"),
        ({"duration": math.nan}, ValueError, "must not be negative or NaN, got nan"),
        ({"duration": True}, TypeError, "must be seconds .* or a timedelta, got True"),
        ({"duration": "5"}, TypeError, "must be seconds .* or a timedelta, got '5'"),
        ({"seconds": -1}, ValueError, "seconds must not be negative or NaN, got -1"),
        ({}, TypeError, r"sleep\(\) takes one duration"),
        ({"duration": 1, "seconds": 1}, TypeError, r"sleep\(\) takes one duration"),
    ],
)
async def test_sleep_wants_a_duration(
    token: StoppingSource, arguments: dict[str, float], error: type[Exception], words: str, *, stopped: bool
) -> None:
    """A wrong duration is an error, also after the stop."""
    if stopped:
        token.request_stop()

    with pytest.raises(error, match=words):
        await token.sleep(**arguments)


async def test_a_cancellation_ends_a_sleep(token: StoppingSource) -> None:
    """A cancellation from elsewhere comes through a sleep, and leaves nothing behind in the token."""
    with anyio.move_on_after(5) as scope:
        await token.sleep(60)

    assert scope.cancelled_caught
    assert current_time() == 5
    assert not token._callbacks


async def test_waits_for_the_stop(token: StoppingSource) -> None:
    """`wait` returns at the stop, for every task that waits."""
    woken: list[float] = []

    async def waiter() -> None:
        await token.wait()
        woken.append(current_time())

    async with create_task_group() as group:
        for _ in range(3):
            group.start_soon(waiter)
        await stop_at(token, 7)

    assert woken == [7, 7, 7]


async def test_wait_after_the_stop_is_a_checkpoint(token: StoppingSource) -> None:
    """After the stop `wait` returns, and is a checkpoint all the same."""
    token.request_stop()

    await token.wait()

    assert await is_cancelled_in(token.wait)
    assert await gives_others_a_turn(token.wait)


async def test_a_wait_that_is_being_cancelled_is_not_woken(token: StoppingSource) -> None:
    """The stop finds a wait that was cancelled in the same breath, and leaves it at that."""
    async with create_task_group() as group:
        group.start_soon(token.wait)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        token.request_stop()

    assert group.cancel_scope.cancelled_caught


async def test_wait_can_be_cancelled(token: StoppingSource) -> None:
    """A wait for the stop is cancelled like any other, and can be made again."""
    with anyio.move_on_after(5) as scope:
        await token.wait()
    async with create_task_group() as group:
        group.start_soon(stop_at, token, 8)
        await token.wait()

    assert scope.cancelled_caught
    assert current_time() == 8


def test_callbacks_are_called_in_order(token: StoppingSource) -> None:
    """Callbacks are called once each, in the order of their registration, when the token is set already."""
    log: list[object] = []
    for name in ("a", "b", "c"):
        token.on_stop(lambda name=name: log.append((name, token.stop_requested)))  # type: ignore[misc]

    token.request_stop()
    token.request_stop()

    assert log == [("a", True), ("b", True), ("c", True)]


def test_a_callback_can_be_taken_back(token: StoppingSource) -> None:
    """The undo of a registration takes back that one and no other; twice, or after the stop, is fine."""
    log: list[str] = []
    callback = partial(log.append, "called")
    undo = token.on_stop(callback)
    token.on_stop(callback)

    undo()
    undo()
    token.request_stop()
    undo()

    assert log == ["called"]


def test_a_callback_can_take_back_another(token: StoppingSource) -> None:
    """A callback that another one has taken back at the stop is not called."""
    log: list[str] = []

    def first() -> None:
        log.append("first")
        undo_second()

    token.on_stop(first)
    undo_second = token.on_stop(partial(log.append, "second"))
    token.on_stop(partial(log.append, "third"))

    token.request_stop()

    assert log == ["first", "third"]


def test_a_late_callback_is_called_at_once(token: StoppingSource) -> None:
    """After the stop, and during it, a callback is called when it is registered; its undo does nothing."""
    log: list[str] = []

    def register() -> None:
        token.on_stop(partial(log.append, "during"))()

    token.on_stop(register)
    token.request_stop()
    token.on_stop(partial(log.append, "after"))()

    assert log == ["during", "after"]


def test_an_error_in_a_callback_keeps_no_other_from_running(token: StoppingSource, owner: Owner) -> None:
    """Errors of callbacks are handed to the log, and all callbacks run, late ones too."""
    log: list[str] = []

    def fail() -> None:
        raise OSError

    token.on_stop(fail)
    token.on_stop(partial(log.append, "second"))
    token.request_stop()
    token.on_stop(fail)

    assert log == ["second"]
    assert [type(error) for error in owner.errors] == [OSError, OSError]


async def test_an_error_in_a_callback_keeps_no_wait_asleep(token: StoppingSource) -> None:
    """Waits are woken whatever callbacks do."""

    def fail() -> None:
        raise OSError

    async with create_task_group() as group:
        group.start_soon(token.wait)
        group.start_soon(token.sleep, 3600)
        token.on_stop(fail)
        await anyio.wait_all_tasks_blocked()
        token.request_stop()

    assert current_time() == 0


async def no_callback() -> None:
    """Be no callback: it would have to be awaited."""


class AsyncCallable:
    async def __call__(self) -> None: ...
    async def method(self) -> None: ...


def generator() -> Iterator[None]:
    """Yield, by mistake."""
    yield


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (no_callback, "takes a synchronous function, got the async <function no_callback"),
        (partial(no_callback), "takes a synchronous function, got the async functools.partial"),
        (AsyncCallable(), "takes a synchronous function, got the async <"),
        (AsyncCallable().method, "takes a synchronous function, got the async <bound method"),
        (generator, "takes a function, got <function generator"),
        (None, "takes a function, got None"),
        ("name", "takes a function, got 'name'"),
    ],
)
@pytest.mark.parametrize("stopped", [False, True])
def test_refuses_what_is_no_callback(token: StoppingSource, callback: object, words: str, *, stopped: bool) -> None:
    """A callback is a synchronous function; others are refused at the line that gave them."""
    if stopped:
        token.request_stop()

    with pytest.raises(TypeError) as caught:
        token.on_stop(callback)  # type: ignore[arg-type]

    assert str(caught.value).startswith(f"on_stop() {words}")


def test_takes_every_synchronous_callable() -> None:
    """Functions, methods, classes, partials and callable objects are callbacks."""

    class SyncCallable:
        def __call__(self) -> None: ...

    for callback in (print, SyncCallable(), SyncCallable().__call__, dict, partial(print), lambda: None):
        require_sync(callback, "here")
        assert not is_async(callback)
        assert not is_generator(callback)


async def test_every_wait_is_a_sign_of_life(owner: Owner) -> None:
    """`beat`, and the begin and the end of every wait, are signs of life; while a wait lasts the service is idle."""
    beats: list[float] = []
    token = StoppingSource(owner, lambda: beats.append(current_time()))
    idle: list[bool] = []

    async def look() -> None:
        await anyio.sleep(0.5)
        idle.append(token.waiting)

    send, receive = create_memory_object_stream[int](1)
    async with send, receive, create_task_group() as group:
        token.beat()
        group.start_soon(look)
        await token.sleep(1)
        ticks = token.every(1)
        await anext(ticks)
        await anext(ticks)
        with token.cancel_on_stop():
            await anyio.sleep(1)
        send.send_nowait(1)
        await anext(token.until_stop(receive))
        group.start_soon(stop_at, token, 5)
        await token.wait()

    assert beats == [0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 5]
    assert idle == [True]
    assert token._waits == 0


async def test_a_wait_that_is_cut_is_over(owner: Owner) -> None:
    """A cancelled wait leaves no trace of idleness."""
    beats: list[None] = []
    token = StoppingSource(owner, lambda: beats.append(None))

    for step in (token.wait, partial(token.sleep, 60), partial(anext, token.every(1))):
        with anyio.move_on_after(0):
            await step()

    assert token._waits == 0
    assert len(beats) == 6


def test_a_beat_costs_nothing_where_nobody_watches(token: StoppingSource) -> None:
    """`beat` may be called anywhere, also outside the event loop."""
    token.beat()


def test_a_token_is_small() -> None:
    """There may be ten thousand tokens: they have no dictionary each."""
    assert not hasattr(StoppingSource(Owner()), "__dict__")


def test_no_time_is_limited_before_the_stop(token: StoppingSource, owner: Owner) -> None:
    """`time_left` is infinite while no stop is requested, then what the owner says, and never below 0."""
    before = token.time_left
    token.request_stop()
    after = token.time_left
    owner.left = -0.5

    assert (before, after, token.time_left) == (math.inf, 7.5, 0.0)
