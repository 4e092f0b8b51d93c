"""A coroutine in a context of its own, in somebody else's task."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context

import anyio
import pytest

from hostkit._execution.context import ContextCoroutine
from hostkit._execution.stack import coroutine_line

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


async def drive(function: Callable[[], Awaitable[str]]) -> str:
    """Run *function* in a context of its own."""
    context = copy_context()
    coroutine = function()
    first = context.run(coroutine.send, None)  # type: ignore[attr-defined]
    return await ContextCoroutine(coroutine, context, first)  # type: ignore[arg-type]


async def test_steps_are_taken_in_the_own_context() -> None:
    """What is set stays in the coroutine's context, over every wait, and its tasks and generators see it."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(WHO.get())

    async def job() -> str:
        WHO.set("job")
        for _ in range(3):
            await anyio.sleep(1)
            seen.append(WHO.get())
        async with anyio.create_task_group() as group:
            group.start_soon(look)
        return WHO.get()

    result = await drive(job)

    assert result == "job"
    assert seen == ["job"] * 4
    assert WHO.get() == "nobody"


async def test_errors_go_in_and_come_out() -> None:
    """A cancellation arrives where the coroutine waits, in its own context, and what it raises comes out."""
    seen: list[str] = []

    async def job() -> str:
        WHO.set("job")
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(WHO.get())
        raise AssertionError

    async def fail() -> str:
        await anyio.sleep(1)
        raise OSError

    with anyio.move_on_after(1) as scope:
        await drive(job)
    with pytest.raises(OSError):  # noqa: PT011  # it has no text
        await drive(fail)

    assert scope.cancelled_caught
    assert seen == ["job"]


async def test_others_see_where_it_waits() -> None:
    """The line where the coroutine waits is found through it."""
    lines: list[str | None] = []

    async def job() -> str:
        await anyio.sleep(2)
        return ""

    async with anyio.create_task_group() as group:
        handle = group.create_task(drive(job))
        await anyio.sleep(1)
        lines.append(coroutine_line(handle.coro))

    assert lines[0] is not None
    assert lines[0].endswith("job")


def test_is_closed_with_its_task() -> None:
    """A task that is thrown away closes the coroutine, in its own context."""
    seen: list[str] = []

    class Wait:
        def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            yield "waiting"

    async def job() -> str:
        WHO.set("job")
        try:
            await Wait()
        finally:
            seen.append(WHO.get())
        return ""

    task = drive(job)
    first = task.send(None)
    task.close()

    assert first == "waiting"
    assert seen == ["job"]


def test_passes_values_on() -> None:
    """What the event loop sends is handed on to the coroutine; what else can be awaited has no line."""

    class Wait:
        def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            return (yield "waiting")

    async def job() -> str:
        answer: str = await Wait()
        return answer

    coroutine = job()
    context = copy_context()
    steps = ContextCoroutine(coroutine, context, context.run(coroutine.send, None))
    frame = steps.cr_frame

    with pytest.raises(StopIteration) as stopped:
        iter(steps).send("answer")

    assert stopped.value.value == "answer"
    assert frame is not None
    assert ContextCoroutine(object(), context, None).cr_frame is None  # type: ignore[arg-type]
    assert ContextCoroutine(object(), context, None).cr_await is None  # type: ignore[arg-type]
