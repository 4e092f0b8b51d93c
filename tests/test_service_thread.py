"""A daemon thread of a service's own, beside the event loop."""

import sys
import threading
from contextvars import ContextVar

import anyio
import pytest
from anyio import CancelScope, create_task_group

from hostkit._core.service_thread import ServiceThread
from hostkit._execution.event_loop import RootTask

PATIENCE = 20
"""Real seconds for a thread to do what it does at once."""
BACKENDS = [pytest.param("asyncio"), pytest.param("trio", marks=pytest.mark.needs("trio"))]

variable = ContextVar[str]("variable", default="default")
pytestmark = pytest.mark.real_time


def join(name: str) -> None:
    """Wait for the end of the thread of that name."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Gate:
    """Blocks a thread until the test lets it go."""

    def __init__(self, *, error: BaseException | None = None) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self._error = error

    def __call__(self) -> None:
        self.entered.set()
        self.open.wait(PATIENCE)
        if self._error is not None:
            raise self._error


async def test_runs_on_a_thread_of_its_own() -> None:
    """The function runs on a daemon thread with the service's name, in a copy of the caller's context."""
    seen: list[object] = []

    def work() -> None:
        thread = threading.current_thread()
        seen.extend([thread.name, thread.daemon, thread.ident, variable.get()])
        variable.set("of the thread")

    variable.set("of the caller")
    service_thread = ServiceThread(work, "pump", RootTask())
    before = (service_thread.ident, service_thread.alive)
    await service_thread.run()
    join("pump")

    assert before == (None, False)
    assert seen == ["pump", True, service_thread.ident, "of the caller"]
    assert variable.get() == "of the caller"
    assert not service_thread.alive


@pytest.mark.parametrize("error", [OSError("no route"), SystemExit(7), KeyboardInterrupt()])
async def test_raises_what_the_function_raises(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    """What the function raises comes out where the service is awaited, and nowhere else."""

    def fail() -> None:
        raise error

    service_thread = ServiceThread(fail, "pump", RootTask())
    with pytest.raises(type(error)) as caught:
        await service_thread.run()

    join("pump")
    assert caught.value is error
    assert capsys.readouterr().err == ""


async def test_a_cancellation_does_not_end_the_wait() -> None:
    """A thread cannot be cancelled, and neither is the wait for it."""
    gate = Gate()
    service_thread = ServiceThread(gate, "pump", RootTask())
    log: list[str] = []

    async def run() -> None:
        await service_thread.run()
        log.append("ended")

    async with create_task_group() as group:
        group.start_soon(run)
        await anyio.to_thread.run_sync(gate.entered.wait, PATIENCE)
        alive = service_thread.alive
        group.cancel_scope.cancel()
        with CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            log.append("still waiting")
        gate.open.set()
    join("pump")

    assert alive
    assert log == ["still waiting", "ended"]


@pytest.mark.parametrize("error", [None, OSError("no route")])
async def test_abandoning_ends_the_wait(error: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
    """The wait for an abandoned thread ends; what the thread raises after that is a line on standard error."""
    gate = Gate(error=error)
    service_thread = ServiceThread(gate, "pump", RootTask())

    async with create_task_group() as group:
        group.start_soon(service_thread.run)
        await anyio.to_thread.run_sync(gate.entered.wait, PATIENCE)
        service_thread.abandon()
    alive = service_thread.alive
    gate.open.set()
    join("pump")

    assert alive
    assert capsys.readouterr().err == (
        "" if error is None else "hostkit: abandoned thread 'pump' failed: OSError('no route')\n"
    )


async def outlived(gate: Gate) -> None:
    """Start a thread, and end the event loop while it runs."""
    service_thread = ServiceThread(gate, "pump", RootTask())
    async with create_task_group() as group:
        group.start_soon(service_thread.run)
        await anyio.to_thread.run_sync(gate.entered.wait, PATIENCE)
        service_thread.abandon()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_may_outlive_the_loop(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A thread that ends after the loop is dropped; its error is a line on standard error."""
    for error in (None, OSError("no route")):
        gate = Gate(error=error)
        anyio.run(outlived, gate, backend=backend)
        gate.open.set()
        join("pump")

    assert capsys.readouterr().err == "hostkit: abandoned thread 'pump' failed: OSError('no route')\n"


def test_a_thread_needs_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no standard error, nothing is written and nothing raised."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    gate = Gate(error=OSError("no route"))
    anyio.run(outlived, gate)
    monkeypatch.setattr(sys, "stderr", None)
    gate.open.set()
    join("pump")

    assert failed == []
