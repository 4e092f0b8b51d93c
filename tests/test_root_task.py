"""A task outside every caller's cancel scope, and a post into its loop from anywhere."""

import gc
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group

from hostkit._execution.event_loop import EventLoop, loop_is_running
from hostkit.testing import virtual_time

PATIENCE = 20
"""Real seconds for a thread to do what it does at once."""
BACKENDS = [pytest.param("asyncio"), pytest.param("trio", marks=pytest.mark.needs("trio"))]

variable = ContextVar[str]("variable", default="default")


def test_needs_an_event_loop() -> None:
    """A root task belongs to a running event loop."""
    with pytest.raises(RuntimeError):
        EventLoop()


async def test_runs_outside_the_callers_scopes() -> None:
    """A cancellation of the caller does not reach the root task."""
    root, done = EventLoop(), Event()
    log: list[str] = []

    async def live() -> None:
        await anyio.sleep(5)
        log.append("lived")
        done.set()

    with CancelScope() as scope:
        async with create_task_group():
            root.spawn(live, copy_context(), on_lost=pytest.fail)
            await anyio.sleep(1)
            scope.cancel()
    log.append("cancelled")
    await done.wait()

    assert log == ["cancelled", "lived"]


async def test_runs_in_a_copy_of_the_context() -> None:
    """The task has the variables of the context, and what it sets stays its own."""
    root, done = EventLoop(), Event()
    seen: list[str] = []
    context = copy_context()
    context.run(variable.set, "of the context")

    async def live() -> None:
        seen.append(variable.get())
        variable.set("of the task")
        done.set()

    root.spawn(live, context, on_lost=pytest.fail)
    await done.wait()

    assert seen == ["of the context"]
    assert context[variable] == "of the context"
    assert variable.get() == "default"


async def test_is_held_while_it_runs() -> None:
    """The garbage collector does not end a task that waits, though the loop holds its tasks weakly."""
    root, done = EventLoop(), Event()

    async def live() -> None:
        await anyio.sleep(1)
        done.set()

    root.spawn(live, copy_context(), on_lost=pytest.fail)
    await anyio.wait_all_tasks_blocked()
    gc.collect()
    await done.wait()

    assert root.time() == 1


async def test_tells_the_loops_time() -> None:
    """The time is the event loop's, for other threads too."""
    root = EventLoop()
    await anyio.sleep(7)

    assert root.time() == anyio.current_time() == 7
    assert in_thread(root.time) == 7


def in_thread(function: Callable[[], object]) -> object:
    """Call *function* in another thread, while this one, with its event loop, stands still."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return results[0]


async def test_posts_into_the_loop() -> None:
    """A post is called in the loop soon, in order, never inside the caller's frame, and does not wait for that."""
    root = EventLoop()
    called: list[object] = []

    def callback(name: str) -> Callable[[], None]:
        return lambda: called.append((name, threading.current_thread() is threading.main_thread()))

    assert root.call_soon(callback("loop"))
    assert in_thread(lambda: root.call_soon(callback("thread"))) is True
    assert called == []
    await anyio.sleep(1)

    assert called == [("loop", True), ("thread", True)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_post_into_an_ended_loop_is_dropped(backend: str) -> None:
    """After the loop's end nothing is called and nothing raised: False says so."""
    called: list[str] = []

    async def main() -> EventLoop:
        return EventLoop()

    name, options = virtual_time(backend)
    root = anyio.run(main, backend=name, backend_options=options)

    assert root.call_soon(lambda: called.append("never")) is False
    assert called == []


async def test_is_not_cancelled_while_the_loop_runs() -> None:
    """Neither before it has a task nor while that runs is a root task cancelled."""
    root, done = EventLoop(), Event()
    found = [root.cancelled]

    async def live() -> None:
        found.append(root.cancelled)
        done.set()

    root.spawn(live, copy_context(), on_lost=pytest.fail)
    await done.wait()

    assert found == [False, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_sees_the_end_of_the_loop_coming(backend: str) -> None:
    """At its end asyncio cancels every task natively, and that is told from any other cancellation."""
    seen: list[object] = []

    async def main() -> EventLoop:
        root = EventLoop()

        async def live() -> None:
            try:
                await anyio.sleep(3600)
            except anyio.get_cancelled_exc_class():
                seen.append(root.cancelled)
                raise

        root.spawn(live, copy_context(), on_lost=pytest.fail)
        await anyio.sleep(1)
        return root

    name, options = virtual_time(backend)
    anyio.run(main, backend=name, backend_options=options)

    assert seen == [backend == "asyncio"]


def test_no_loop_runs_outside_one() -> None:
    """Where no event loop runs, none is found."""
    assert not loop_is_running()


async def test_a_loop_runs_in_its_tasks_and_callbacks() -> None:
    """A loop is found in its tasks, and where it calls back without any task; in other threads it does not run."""
    found: list[bool] = []
    EventLoop().call_soon(lambda: found.append(loop_is_running()))
    await anyio.sleep(1)

    assert found == [True]
    assert loop_is_running()
    assert in_thread(loop_is_running) is False


def test_a_loop_that_was_never_imported_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends are looked for only where they have been imported."""
    for name in ("asyncio", "trio"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    assert not loop_is_running()


async def test_knows_its_own_loop() -> None:
    """In it are its tasks and callbacks; other threads, and other loops, are not."""
    root = EventLoop()
    found: list[bool] = []

    async def elsewhere() -> bool:
        return root.in_loop

    root.call_soon(lambda: found.append(root.in_loop))
    await anyio.sleep(1)

    assert found == [True]
    assert root.in_loop
    assert in_thread(lambda: root.in_loop) is False
    assert in_thread(lambda: anyio.run(elsewhere)) is False
