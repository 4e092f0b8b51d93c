"""The line of code where a task or a thread is."""

import gc
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from types import FunctionType, coroutine

import anyio
import pytest
from anyio import create_task_group, wait_all_tasks_blocked
from children import PYTHON, Child

from hostkit._execution.stack import coroutine_line, current_frames, frame_line, task_lines, thread_line

PATIENCE = 20
"""Real seconds for a thread to do what it does at once."""


def line(function: object, offset: int = 1) -> str:
    """Return how the line so far below the beginning of *function* is told."""
    assert isinstance(function, FunctionType)
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno + offset} in {code.co_qualname}"


async def inner() -> None:
    """Wait."""
    await anyio.sleep_forever()


async def middle() -> None:
    """Wait below."""
    await inner()


async def outer(step: Callable[[], Awaitable[None]] = middle) -> None:
    """Wait two floors below."""
    await step()


async def line_of(work: Coroutine[object, object, None]) -> str | None:
    """Return the line of *work* when it waits in a task."""
    async with create_task_group() as group:
        handle = group.create_task(work)
        await wait_all_tasks_blocked()
        found = coroutine_line(handle.coro)
        group.cancel_scope.cancel()
    return found


async def test_finds_the_innermost_line_of_the_users_own() -> None:
    """The line is the one that waits, not the library's that it waits in."""
    assert await line_of(outer()) == line(inner, 2)


async def test_finds_the_line_in_a_method() -> None:
    """The function is told with its class."""

    class Service:
        async def execute(self) -> None:
            await anyio.sleep_forever()

    found = await line_of(Service().execute())

    assert found == line(Service.execute)
    assert found.endswith(" in test_finds_the_line_in_a_method.<locals>.Service.execute")


async def test_looks_through_old_coroutines() -> None:
    """A coroutine that is a generator has a line as well."""

    @coroutine
    def old() -> Generator[object, object, None]:
        yield from middle()

    assert await line_of(outer(lambda: old())) == line(inner, 2)  # noqa: PLW0108  # to be awaited


async def test_an_async_generator_ends_the_chain() -> None:
    """Of an `async for` the line of the loop is found; Python does not tell where its generator is."""

    async def numbers() -> AsyncIterator[int]:
        await anyio.sleep_forever()
        yield 1

    async def loop() -> None:
        async for _ in numbers():
            pass

    assert await line_of(loop()) == line(loop)


async def test_an_async_generator_has_a_line() -> None:
    """An async generator that is asked directly tells where it stands."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    generator = numbers()
    await anext(generator)

    assert coroutine_line(generator) == line(numbers)
    await generator.aclose()  # type: ignore[attr-defined]


def test_a_coroutine_that_has_not_begun_stands_at_its_head() -> None:
    """Before its first step a coroutine is at the line of its `def`."""
    waiting = inner()

    assert coroutine_line(waiting) == line(inner, 0)
    waiting.close()
    assert coroutine_line(waiting) is None


async def test_finds_the_line_of_a_coroutine_that_runs() -> None:
    """A coroutine that is asked while it runs tells the line that asks, or the one that calls a library there."""
    found: list[str | None] = []

    async def ask() -> None:
        found.append(coroutine_line(handle.coro))
        found.extend(map(coroutine_line, [handle.coro]))
        await below()

    async def below() -> None:
        found.append(coroutine_line(handle.coro))

    async with create_task_group() as group:
        handle = group.create_task(ask())

    assert found == [line(ask, 1), line(ask, 2), line(below, 1)]


async def test_a_running_coroutine_of_a_library_has_the_line_below_it() -> None:
    """Where the coroutine is a library's, the line is the innermost of the user's that it runs."""
    found: list[str | None] = []

    async def ask() -> None:
        found.append(coroutine_line(running))

    running = hosted(ask)
    await running

    assert found == [line(ask, 1)]


# As if it were hostkit's.
hosted: Callable[[Callable[[], Awaitable[None]]], Coroutine[object, object, None]] = FunctionType(
    outer.__code__, {"__name__": "hostkit._core.service_run"}
)


def test_a_coroutine_that_blocks_its_loop_has_a_line() -> None:
    """A coroutine that never comes to its next wait is found from another thread."""
    began, end = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        end.wait(PATIENCE)

    blocking = block()
    thread = threading.Thread(target=anyio.run, args=(lambda: blocking,))
    thread.start()
    assert began.wait(PATIENCE)
    # Between the two lines there may be an instant.
    lines = {coroutine_line(blocking) for _ in range(1000)}
    end.set()
    thread.join(PATIENCE)

    assert line(block, 2) in lines
    assert lines <= {line(block, 1), line(block, 2)}
    assert coroutine_line(blocking) is None


def test_a_coroutine_that_has_just_ended_has_no_line() -> None:
    """A coroutine that ends between two looks is nowhere."""

    class Ended:
        cr_running = True
        cr_frame = None

    assert coroutine_line(Ended()) is None


@pytest.mark.parametrize("nothing", [None, 3, "text", inner])
def test_what_is_no_coroutine_has_no_line(nothing: object) -> None:
    """Of anything else there is no line."""
    assert coroutine_line(nothing) is None


async def test_a_librarys_own_coroutine_has_no_line() -> None:
    """Where none of the frames is the user's, there is no line."""
    assert await line_of(anyio.sleep_forever()) is None


async def family() -> None:
    """Have children and grandchildren, and wait for them."""
    async with create_task_group() as group:
        group.start_soon(inner)
        group.start_soon(inner)
        group.start_soon(parent)


async def parent() -> None:
    """Have a child."""
    async with create_task_group() as group:
        group.start_soon(grandchild)


async def grandchild() -> None:
    """Wait."""
    await anyio.sleep_forever()


async def test_finds_the_lines_of_the_tasks_it_has_made() -> None:
    """A service that waits for tasks of its own is told with theirs, each line once, and nobody else's."""
    async with create_task_group() as group:
        group.start_soon(outer)
        handle = group.create_task(family())
        await wait_all_tasks_blocked()
        found = task_lines(handle.coro)
        group.cancel_scope.cancel()

    assert found is not None
    first, *rest = found.split("; ")
    assert first == line(family, 2)
    assert sorted(rest) == sorted([line(inner, 2), line(parent, 2), line(grandchild, 2)])


async def test_a_task_without_lines() -> None:
    """Of what is no task there are no lines."""
    assert task_lines(None) is None


def test_finds_the_line_of_a_thread() -> None:
    """A thread is told by the line that blocks, not by the library's that it blocks in."""
    began, end = threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        end.wait(PATIENCE)

    thread = threading.Thread(target=block)
    thread.start()
    assert began.wait(PATIENCE)
    # Between the two lines there may be an instant.
    lines = {thread_line(thread.ident) for _ in range(1000)}
    end.set()
    thread.join(PATIENCE)

    assert line(block, 2) in lines
    assert lines <= {line(block, 1), line(block, 2)}
    assert thread_line(thread.ident) is None


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_collected_while_threads_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, *, collects: bool
) -> None:
    """The garbage collector is as it was before, whichever way."""
    during: list[bool] = []
    monkeypatch.setattr(sys, "_current_frames", lambda: during.append(gc.isenabled()))
    request.addfinalizer(gc.enable)
    if not collects:
        gc.disable()

    current_frames()

    assert during == [False]
    assert gc.isenabled() is collects


FREES_THREAD_LOCALS = """
import gc, threading
from hostkit._execution.stack import thread_line

class Cycle:
    def __init__(self):
        self.local, self.myself = threading.local(), self

end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(20)]
for thread in threads:
    thread.start()
for allocations in range(1, 60):
    gc.disable()
    gc.collect()
    Cycle()
    gc.set_threshold(gc.get_count()[0] + allocations)
    gc.enable()
    thread_line(threads[0].ident)
end.set()
"""


def test_threads_are_looked_at_while_others_are_freed() -> None:
    """The interpreter did not come back from it where the collector freed a `threading.local` at that instant."""
    with Child(*PYTHON, "-c", FREES_THREAD_LOCALS) as child:
        assert child.end() == 0


def test_no_thread_has_no_line() -> None:
    """A thread that was never started is nowhere."""
    assert thread_line(None) is None
    assert thread_line(0) is None


def test_finds_the_line_of_a_stack() -> None:
    """A running stack is told by its innermost line that is the user's."""
    import sys

    assert frame_line(sys._getframe()) == line(test_finds_the_line_of_a_stack, 4)
    assert frame_line(None) is None
