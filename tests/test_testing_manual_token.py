"""`hostkit.testing.ManualStoppingToken` and `ManualThreadStoppingToken`: an `execute` tested without a host."""

import math
import threading
from datetime import timedelta

import anyio
import pytest

from hostkit import BackgroundService, StoppingToken, ThreadStoppingToken
from hostkit.testing import ManualStoppingToken, ManualThreadStoppingToken

PATIENCE = 10
"""Real seconds for a thread to do what it does at once."""


class Counter(BackgroundService):
    def __init__(self) -> None:
        self.rounds = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(hours=1):
            self.rounds += 1


async def test_drives_a_service_by_hand(manual_stopping_token: ManualStoppingToken) -> None:
    """The `execute` of a service runs with a manual token until the test asks for the stop."""
    counter = Counter()

    async with anyio.create_task_group() as group:
        group.start_soon(counter.execute, manual_stopping_token)
        await anyio.sleep(2.5 * 3600)
        manual_stopping_token.request_stop()

    assert counter.rounds == 3
    assert anyio.current_time() == 2.5 * 3600
    assert manual_stopping_token.stop_requested


async def test_may_be_set_before_anything_waits() -> None:
    """A token that was set first ends a loop at once; setting it again does nothing."""
    token, counter = ManualStoppingToken(), Counter()
    token.request_stop()
    token.request_stop()

    await counter.execute(token)

    assert counter.rounds == 0


async def test_refuses_to_sleep_on_after_the_stop() -> None:
    """A loop that ignores the stop fails the test, instead of hanging it."""
    token = ManualStoppingToken()
    token.request_stop()
    ignored = 0

    async def ignore() -> None:
        nonlocal ignored
        while True:
            ignored += await token.sleep(60)

    with pytest.raises(AssertionError, match=r"^goes on sleeping in its token after the stop: .*leave the loop then$"):
        await ignore()

    assert ignored == 1


def fail() -> None:
    """Fail, as a callback may."""
    message = "no route"
    raise OSError(message)


async def test_errors_of_callbacks_come_out() -> None:
    """What `on_stop` callbacks raise comes out of `request_stop()`, after all of them were called."""
    token = ManualStoppingToken()
    called: list[str] = []
    token.on_stop(fail)
    token.on_stop(lambda: called.append("second"))
    token.on_stop(lambda: called.append("undone"))()

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no route")):
        token.request_stop()

    assert called == ["second"]
    token.request_stop()


async def test_errors_of_late_callbacks_come_out() -> None:
    """A callback that is registered after the stop is called at once, and its error comes out there."""
    token = ManualStoppingToken()
    token.request_stop()
    called: list[str] = []

    token.on_stop(lambda: called.append("late"))()
    with pytest.RaisesGroup(OSError):
        token.on_stop(fail)

    assert called == ["late"]


@pytest.fixture
def thread_token() -> ManualThreadStoppingToken:
    """A token for a thread."""
    return ManualThreadStoppingToken()


def test_drives_a_thread_by_hand(thread_token: ManualThreadStoppingToken) -> None:
    """Blocking code runs in a thread of the test's until the test asks for the stop."""
    ticked = threading.Event()
    rounds: list[None] = []

    def execute(stopping_token: ThreadStoppingToken) -> None:
        for tick in stopping_token.every(hours=1):
            rounds.append(tick)
            ticked.set()

    thread = threading.Thread(target=execute, args=(thread_token,))
    thread.start()
    assert ticked.wait(PATIENCE)
    thread_token.request_stop()
    thread_token.request_stop()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert rounds == [None]


def test_a_thread_may_not_sleep_on_after_the_stop(thread_token: ManualThreadStoppingToken) -> None:
    """A blocking loop that ignores the stop fails, without sleeping."""
    thread_token.request_stop()

    assert thread_token.sleep(60)
    with pytest.raises(AssertionError, match="goes on sleeping"):
        thread_token.sleep(60)


@pytest.mark.parametrize("kind", [ManualStoppingToken, ManualThreadStoppingToken])
def test_the_time_that_is_left_is_given(kind: type[ManualStoppingToken | ManualThreadStoppingToken]) -> None:
    """A manual token tells the time that the test gave, once the stop has been requested."""
    token = kind(time_left=timedelta(seconds=3))

    before = token.time_left
    token.request_stop()

    assert (before, token.time_left) == (math.inf, 3.0)


@pytest.mark.parametrize("kind", [ManualStoppingToken, ManualThreadStoppingToken])
def test_a_wrong_time_is_refused(kind: type[ManualStoppingToken | ManualThreadStoppingToken]) -> None:
    """A negative time is an error at the call."""
    with pytest.raises(ValueError, match="time_left must not be negative or NaN, got -1"):
        kind(time_left=-1)


def test_errors_of_callbacks_of_a_thread_token_come_out() -> None:
    """What an `on_stop` callback raises comes out of `request_stop`, or of `on_stop` after it."""
    token = ManualThreadStoppingToken()

    def fail() -> None:
        message = "no route"
        raise OSError(message)

    token.on_stop(fail)

    with pytest.RaisesGroup(OSError):
        token.request_stop()
    with pytest.RaisesGroup(OSError):
        token.on_stop(fail)
