"""`StoppingToken.every` and `until_stop`: loops that end at the stop, and never in their body."""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Self

import anyio
import pytest
from anyio import CancelScope, create_memory_object_stream, create_task_group, current_time
from checkpoints import gives_others_a_turn, is_cancelled_in, stop_at
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from hostkit import BackgroundService, HostBuilder, HostFailedError, HostOptions, StoppingToken
from hostkit.testing import ManualStoppingToken, virtual_time


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What hostkit logs."""
    kept: list[str] = []
    sink = logger.add(kept.append, level=0, format="{message}", filter="hostkit")
    yield kept
    logger.remove(sink)


@pytest.fixture
def token(manual_stopping_token: ManualStoppingToken) -> ManualStoppingToken:
    """A token that no stop has reached yet."""
    return manual_stopping_token


async def ticks_of(token: ManualStoppingToken, period: float, bodies: Sequence[float]) -> list[float]:
    """Return when the ticks came, with a body that takes so long each time; after the last body the loop is left."""
    at = []
    left = list(bodies)
    async for _ in token.every(period):
        at.append(current_time())
        if not left:
            break
        await anyio.sleep(left.pop(0))
    return at


async def test_ticks_at_once_and_then_on_a_grid(token: ManualStoppingToken) -> None:
    """The first tick comes at once, the next ones on a grid from it, however long the body takes."""
    await anyio.sleep(3)

    at = await ticks_of(token, 60, [0, 1, 59.5, 60, 30])

    assert at == [3, 63, 123, 183, 243, 303]


async def test_late_ticks_coalesce(token: ManualStoppingToken) -> None:
    """A body that overruns gets one tick at once for all it has missed, then the grid again."""
    at = await ticks_of(token, 10, [25, 1, 30, 3, 0])

    assert at == [0, 25, 30, 60, 70, 80]


async def test_the_grid_lasts() -> None:
    """After hundreds of thousands of ticks the grid is still that of the first one."""
    token = ManualStoppingToken()
    ticks = token.every(0.1)
    await anext(ticks)
    await anyio.sleep(80_000.05)

    await anext(ticks)
    late = current_time()
    await anext(ticks)

    assert late == 80_000.05
    assert current_time() == pytest.approx(80_000.1, abs=1e-9)


async def test_a_period_in_parts(token: ManualStoppingToken) -> None:
    """A period is given like any duration."""
    at: list[float] = []
    for ticks in (token.every(timedelta(minutes=1)), token.every(hours=1, minutes=1), token.every(seconds=0.5)):
        began = current_time()
        await anext(ticks)
        await anext(ticks)
        at.append(current_time() - began)

    assert at == [60, 3660, 0.5]


async def test_the_stop_ends_the_wait_for_a_tick(token: ManualStoppingToken) -> None:
    """The stop ends the loop at once, without a last tick."""
    async with create_task_group() as group:
        group.start_soon(stop_at, token, 130)
        at = [current_time() async for _ in token.every(minutes=1)]

    assert at == [0, 60, 120]
    assert current_time() == 130


async def test_the_stop_never_interrupts_the_body(token: ManualStoppingToken) -> None:
    """A body that runs at the stop is finished; then the loop ends without a last tick, even if one was missed."""
    done = []

    async with create_task_group() as group:
        group.start_soon(stop_at, token, 65)
        async for _ in token.every(minutes=1):
            began = current_time()
            await anyio.sleep(100 if began else 10)
            done.append((began, current_time()))

    assert done == [(0, 10), (60, 160)]


async def test_no_tick_after_the_stop(token: ManualStoppingToken) -> None:
    """A loop that is entered after the stop has no tick, not even the first, and is a checkpoint."""
    token.request_stop()

    assert [tick async for tick in token.every(1)] == []
    assert await is_cancelled_in(lambda: anext(token.every(1), None))


async def test_a_stop_in_the_first_step_comes_first(token: ManualStoppingToken) -> None:
    """A stop that comes while the first tick is waited for leaves no tick."""
    ticks = token.every(1)

    async def consume() -> None:
        with pytest.raises(StopAsyncIteration):
            await anext(ticks)

    async with create_task_group() as group:
        token.on_stop(lambda: None)
        group.start_soon(consume)
        token.request_stop()


async def test_a_late_step_is_a_checkpoint(token: ManualStoppingToken) -> None:
    """A body slower than its period, which never waits itself, still lets others run and can be cancelled."""
    ticks = token.every(1e-9)
    await anext(ticks)

    assert await gives_others_a_turn(lambda: anext(ticks))
    assert await is_cancelled_in(lambda: anext(ticks))


async def test_ended_stays_ended(token: ManualStoppingToken) -> None:
    """Ticks that have ended do not come back."""
    ticks = token.every(1)
    await anext(ticks)
    token.request_stop()

    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(ticks)


async def test_a_break_leaves_nothing_behind(token: ManualStoppingToken) -> None:
    """Ticks are an iterator of their own, not an async generator: after `break` there is nothing to close."""
    ticks = token.every(1)
    assert aiter(ticks) is ticks
    assert not hasattr(ticks, "aclose")

    async for _ in ticks:
        break
    await anyio.sleep(10)

    assert not token._callbacks
    at = []
    async for _ in ticks:
        at.append(current_time())
        if len(at) == 2:
            break
    assert at == [10, 11]


async def test_a_cancelled_wait_for_a_tick_can_be_taken_up_again(token: ManualStoppingToken) -> None:
    """A timeout round a step does not disturb the grid."""
    ticks = token.every(10)
    await anext(ticks)

    with anyio.move_on_after(4):
        await anext(ticks)
    interrupted_at = current_time()
    await anext(ticks)

    assert (interrupted_at, current_time()) == (4, 10)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"duration": 1, "hours": 1}, TypeError),
        ({"duration": True}, TypeError),
        ({"duration": 0}, ValueError),
        ({"seconds": 0}, ValueError),
        ({"duration": -1}, ValueError),
        ({"duration": math.inf}, ValueError),
        ({"duration": math.nan}, ValueError),
    ],
)
def test_every_wants_a_period(token: ManualStoppingToken, arguments: dict[str, float], error: type[Exception]) -> None:
    """A missing or wrong period is an error of the call, not of the first step."""
    with pytest.raises(error):
        token.every(**arguments)


def expected_ticks(period: float, bodies: Sequence[float]) -> list[float]:
    """Return when ticks should come: the plain words of the manual, on whole numbers."""
    at = [0.0]
    for body in bodies:
        ready = at[-1] + body
        on_grid = (at[-1] // period + 1) * period
        at.append(max(ready, on_grid))
    return at


@pytest.mark.parametrize("backend", [pytest.param("asyncio"), pytest.param("trio", marks=pytest.mark.needs("trio"))])
def test_ticks_are_as_the_manual_says(backend: str) -> None:
    """Each tick comes on the grid, or as soon as the body has ended if that is later."""

    @settings(max_examples=50, deadline=None)
    @given(period=st.integers(1, 20), bodies=st.lists(st.integers(0, 100), max_size=8))
    def check(period: int, bodies: list[int]) -> None:
        name, options = virtual_time(backend)
        token = ManualStoppingToken()

        at = anyio.run(ticks_of, token, period, bodies, backend=name, backend_options=options)

        assert at == expected_ticks(period, bodies)

    check()


async def test_hands_on_the_items_of_a_source(token: ManualStoppingToken) -> None:
    """Without a stop the items of a source come until its end."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await anyio.sleep(1)
            yield number

    items = token.until_stop(numbers())

    assert [item async for item in items] == [0, 1, 2]
    assert not token._callbacks
    assert [item async for item in items] == []


async def test_the_stop_ends_the_wait_for_an_item(token: ManualStoppingToken) -> None:
    """The stop ends the wait for the next item, and never the body; what was not taken is still there."""
    send, receive = create_memory_object_stream[int](10)
    done = []

    async with create_task_group() as group, send, receive:
        group.start_soon(stop_at, token, 15)
        send.send_nowait(1)
        send.send_nowait(2)
        send.send_nowait(3)
        async for item in token.until_stop(receive):
            await anyio.sleep(10)
            done.append((item, current_time()))
        left = receive.receive_nowait()

    assert done == [(1, 10), (2, 20)]
    assert left == 3
    assert current_time() == 20


async def test_the_stop_wakes_the_wait_for_an_item(token: ManualStoppingToken) -> None:
    """A wait for an item that does not come is ended at the stop's instant."""
    send, receive = create_memory_object_stream[int]()

    async with create_task_group() as group, send, receive:
        group.start_soon(stop_at, token, 15)
        assert [item async for item in token.until_stop(receive)] == []

    assert current_time() == 15


@pytest.mark.parametrize("stop_first", [False, True])
async def test_nothing_that_was_taken_from_a_stream_is_dropped(token: ManualStoppingToken, *, stop_first: bool) -> None:
    """An item that is sent in the same instant as the stop is either handed on or still in the stream."""
    send, receive = create_memory_object_stream[int](10)
    seen: list[int] = []

    async def consume() -> None:
        seen.extend([item async for item in token.until_stop(receive)])

    async with create_task_group() as group, send, receive:
        group.start_soon(consume)
        await anyio.wait_all_tasks_blocked()
        if stop_first:
            token.request_stop()
        send.send_nowait(1)
        token.request_stop()
        await anyio.wait_all_tasks_blocked()
        left = receive.statistics().current_buffer_used

    assert len(seen) + left == 1


class Slow:
    """A source that takes an item, and hands it over only when it has acknowledged it, whatever comes between."""

    def __init__(self) -> None:
        self.taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        self.taken += 1
        with CancelScope(shield=True):
            await anyio.sleep(10)
        return self.taken


async def test_an_item_that_was_handed_over_is_never_dropped(token: ManualStoppingToken) -> None:
    """An item that the source returns after the stop is still handed on; then the loop ends."""
    source = Slow()

    async with create_task_group() as group:
        group.start_soon(stop_at, token, 25)
        seen = [(item, current_time()) async for item in token.until_stop(source)]

    assert seen == [(1, 10), (2, 20), (3, 30)]
    assert source.taken == 3


async def test_a_generator_in_the_middle_is_ended(token: ManualStoppingToken) -> None:
    """A generator that fetches at the stop is cancelled; its clean-up runs."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep(3600)
            yield 2
        finally:
            log.append(f"closed at {current_time():g}")

    async with create_task_group() as group:
        group.start_soon(stop_at, token, 15)
        log.extend([f"item {item}" async for item in token.until_stop(numbers())])

    assert log == ["closed at 15", "item 1"]


async def test_an_error_of_the_source_comes_out(token: ManualStoppingToken) -> None:
    """What a source raises is raised in the loop."""

    async def failing() -> AsyncIterator[int]:
        yield 1
        message = "no route"
        raise OSError(message)

    items = token.until_stop(failing())

    assert await anext(items) == 1
    with pytest.raises(OSError, match="no route"):
        await anext(items)
    assert not token._callbacks


class Reviving:
    """A source that ends, and has more to say when it is asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        self.asked += 1
        if self.asked == 2:
            raise StopAsyncIteration
        return self.asked


async def test_an_ended_source_is_not_asked_again(token: ManualStoppingToken) -> None:
    """Items that have ended stay ended, be it by the source or by the stop."""
    source = Reviving()
    items = token.until_stop(source)

    assert [item async for item in items] == [1]
    assert [item async for item in items] == []
    assert source.asked == 2
    token.request_stop()
    assert [item async for item in token.until_stop(source)] == []
    assert source.asked == 2


async def test_no_item_after_the_stop(token: ManualStoppingToken) -> None:
    """After the stop nothing more is taken; the step is a checkpoint."""
    send, receive = create_memory_object_stream[int](1)
    token.request_stop()

    async with send, receive:
        send.send_nowait(1)
        items = token.until_stop(receive)

        assert aiter(items) is items
        assert [item async for item in items] == []
        assert await is_cancelled_in(lambda: anext(items, None))
        assert receive.receive_nowait() == 1


async def test_a_break_from_items_leaves_nothing_behind(token: ManualStoppingToken) -> None:
    """After `break` the source can be read on, by the same iterator or directly."""
    send, receive = create_memory_object_stream[int](10)
    async with send, receive:
        for number in (1, 2, 3):
            send.send_nowait(number)
        items = token.until_stop(receive)

        async for _ in items:
            break

        assert not hasattr(items, "aclose")
        assert not token._callbacks
        assert await anext(items) == 2
        assert await receive.receive() == 3


def test_a_source_is_async(token: ManualStoppingToken) -> None:
    """What is no async iterable is refused by the call."""
    with pytest.raises(TypeError):
        token.until_stop([1, 2])  # type: ignore[arg-type]


async def test_a_generator_that_keeps_a_scope_open_is_named(lines: list[str]) -> None:
    """A source with a scope open across its `yield` breaks the service's scopes; the log names it, and what to do."""

    class Feed:
        """Does what a generator with a `yield` within a scope does."""

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            CancelScope().__enter__()
            return 1

    class Reader(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            async for _ in stopping_token.until_stop(Feed()):
                """Take it."""

    builder = HostBuilder(HostOptions(log_level="ERROR"))
    builder.add_service(Reader(), name="reader")

    with pytest.raises(HostFailedError):
        async with builder.build() as host:
            await host.wait()

    assert lines[0].startswith("service reader failed: RuntimeError('<")
    assert ".Feed object at " in lines[0]
    assert "cannot be used in until_stop(): put the loop into cancel_on_stop() instead" in lines[0]


async def test_an_error_of_a_source_comes_out_as_it_is(token: ManualStoppingToken) -> None:
    """A `RuntimeError` of the source itself is not changed."""
    error = RuntimeError("broken feed")

    async def feed() -> AsyncIterator[int]:
        raise error
        yield 1

    with pytest.raises(RuntimeError) as caught:
        await anext(token.until_stop(feed()))

    assert caught.value is error
