"""Hosts with something that does not end, or takes its time, for tests with real processes."""

import concurrent.futures
import contextlib
import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import cast

import anyio
import anyio.lowlevel
from anyio import to_thread
from process_hosts import build, case, options, patient, say_later, wait_for_stop
from process_suspects import FOREVER, SUSPECTS, Neighbour, Way, say

from hostkit import (
    HostBuilder,
    StoppingToken,
    ThreadService,
    ThreadStoppingToken,
)

# Its functions keep the interpreter to themselves, as a long computation does; `sleep` leaves the processor to others.
KEEPING = ctypes.PyDLL(None)


@case
def suspect(backend: str, name: str, way: str) -> None:
    """Run a suspect between two good neighbours."""
    # Where nothing is to be forced by time, there is enough of it on a busy machine.
    obeys = name in ("clean", "start-fails", "execute-fails", "stop-fails")
    waits = obeys or (way in ("second", "third") and name != "blocks-in-c")
    survives = obeys or name == "overruns" or (way == "third" and name != "blocks-in-c")
    builder = HostBuilder(
        options(backend, shutdown_timeout=60 if waits else 0.3, cancellation_timeout=60 if survives else 1)
    )
    builder.add_service(Neighbour("first"), name="first")
    builder.add_service(SUSPECTS[name](builder.lifetime, cast(Way, way)), name="suspect")
    builder.add_service(Neighbour("last"), name="last")
    builder.build().run()


@case
def thread_service(backend: str) -> None:
    """Have a blocking service that does not look at its token."""

    class Deaf(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            say("ready")
            time.sleep(FOREVER)  # found here

    build(options(backend), Deaf()).run()


@case
def sixty_threads(backend: str) -> None:
    """Have more blocking services than anyio has threads, and use anyio's threads beside them."""
    builder = HostBuilder(patient(backend))

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.wait()

    async def in_thread() -> None:
        await to_thread.run_sync(int)

    @builder.service()
    async def app() -> None:
        await builder.lifetime.wait_started()
        say(sum(thread.name.startswith("blocking") for thread in threading.enumerate()))
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(in_thread)
        say("all done")
        builder.lifetime.request_stop()

    for _ in range(60):
        builder.add_service(Blocking())
    builder.build().run()


class Leftovers:
    """Services that leave something behind, each in one way."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._kept: list[object] = []

    def work(self) -> None:
        self.over.wait(FOREVER)  # found here

    async def abandon(self) -> None:
        say("ready")
        await to_thread.run_sync(self.work, abandon_on_cancel=True)

    async def asyncio(self) -> None:
        import asyncio

        say("ready")
        await asyncio.to_thread(self.work)

    async def task(self, stopping_token: StoppingToken) -> None:
        import asyncio

        async def deaf() -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(FOREVER)

        self._kept.append(asyncio.get_running_loop().create_task(deaf()))
        await wait_for_stop(stopping_token)

    async def busy_pool(self, stopping_token: StoppingToken) -> None:
        concurrent.futures.ThreadPoolExecutor().submit(self.work)
        await wait_for_stop(stopping_token)

    held = busy_pool

    async def idle_pool(self, stopping_token: StoppingToken) -> None:
        pool = concurrent.futures.ThreadPoolExecutor()
        pool.submit(int).result()
        self._kept.append(pool)
        await wait_for_stop(stopping_token)

    async def finishing(self, stopping_token: StoppingToken) -> None:
        def finish() -> None:
            time.sleep(0.5)
            say("finished")

        threading.Thread(target=finish, name="finishing").start()
        await wait_for_stop(stopping_token)

    async def before(self, stopping_token: StoppingToken) -> None:
        await wait_for_stop(stopping_token)


@case
def leftover(backend: str, kind: str) -> None:
    """Leave a thread or a task behind, or find a thread that is there already."""
    leftovers = Leftovers()
    if kind == "before":
        threading.Thread(target=leftovers.work).start()
    budgets = patient(backend) if kind in ("idle-pool", "finishing", "before") else options(backend)
    if kind == "held":
        budgets = options(backend, shutdown_timeout=60)
    build(budgets, getattr(leftovers, kind.replace("-", "_"))).run()
    say("returned")
    leftovers.over.set()


@case
def hang(backend: str, kind: str) -> None:
    """Block the event loop while nobody asks for a stop; or use what time there is, but no more."""

    async def blocker(stopping_token: StoppingToken) -> None:
        await anyio.sleep(0.7)
        say("ready")
        if kind == "in-python":
            time.sleep(FOREVER)  # noqa: ASYNC251  # found here
        elif kind == "in-c":
            KEEPING.sleep(FOREVER)  # found here
        await stopping_token.wait()
        threading.Thread(target=late).start()

    def late() -> None:
        time.sleep(2)
        say("late thread")

    build(patient(backend, hang_timeout=1 if kind == "not" else 0.8), blocker).run()
    say("returned")


@case
def blocked_for_a_while(backend: str) -> None:
    """Block the event loop when the stop comes, but not for too long."""

    async def blocker(stopping_token: StoppingToken) -> None:
        say("ready")
        while not stopping_token.stop_requested:
            time.sleep(0.05)  # noqa: ASYNC251  # not for too long
            await anyio.lowlevel.checkpoint()
        say("heard")
        time.sleep(0.5)  # noqa: ASYNC251  # likewise
        say("free again")

    build(patient(backend), blocker).run()


@case
def time_sleep(backend: str) -> None:
    """Block the event loop in one long sleep."""

    async def sleeper() -> None:
        say_later("settled")
        time.sleep(FOREVER)  # noqa: ASYNC251  # found here

    build(options(backend), sleeper).run()


@case
def delayed_sleep(backend: str) -> None:
    """Block the event loop where the stop is announced a while before."""

    async def sleeper() -> None:
        say_later("settled")
        time.sleep(FOREVER)  # noqa: ASYNC251  # found here

    build(options(backend, stop_delay=0.1), sleeper).run()


@case
def patient_sleep(backend: str) -> None:
    """Block the event loop when there is much time for the stop, with something said that is not flushed yet."""
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")  # with a buffer, whatever the environment says

    async def sleeper() -> None:
        sys.stdout.write("not flushed\n")
        say_later("settled")
        # In short sleeps: of two signals at once the system may give the second to another thread, and Python's handler
        # waits for the main thread then.
        while True:
            time.sleep(0.01)  # noqa: ASYNC251  # found here

    build(options(backend, shutdown_timeout=FOREVER), sleeper).run()


@case
def spin(backend: str) -> None:
    """Block the event loop in a loop that never ends."""

    async def spinner() -> None:
        say_later("settled")
        while True:  # found here
            pass  # found here

    build(options(backend), spinner).run()


@case
def long_c_call(backend: str) -> None:
    """Keep the interpreter in a long call in C, from the stop on."""

    async def computer(stopping_token: StoppingToken) -> None:
        say("ready")
        await stopping_token.wait()
        KEEPING.sleep(FOREVER)  # found here

    build(options(backend), computer).run()


@case
def long_c_calls(backend: str) -> None:
    """Make one call in C after the other that keeps the interpreter to itself, from the stop on."""

    async def computer(stopping_token: StoppingToken) -> None:
        say("ready")
        await stopping_token.wait()
        while True:
            KEEPING.sleep(3)  # found here

    build(options(backend), computer).run()


@case
def late_request(backend: str) -> None:
    """Idle for longer than the budgets, then be stopped from another thread."""
    builder = HostBuilder(options(backend, shutdown_timeout=1))

    @builder.service()
    async def drains(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        await anyio.sleep(0.1)
        say("drained")

    def ask() -> None:
        time.sleep(1.5)
        builder.lifetime.request_stop("late")

    threading.Thread(target=ask).start()
    builder.build().run()


@case
def long_budgets(backend: str) -> None:
    """Have more time than fits into a clock."""
    build(options(backend, shutdown_timeout=1e15, cancellation_timeout=1e15, hang_timeout=1e15), wait_for_stop).run()


@case
def floods(backend: str) -> None:
    """Write more to standard error than anybody reads, and block the event loop with that."""

    async def writer() -> None:
        say_later("settled")
        while True:
            sys.stderr.write("x" * 100_000)

    build(options(backend), writer).run()


@case
def without_errors(backend: str, name: str, path: str) -> None:
    """Have no standard error, but a file in its place, as a process without one gets it."""
    with Path(path).open("w", encoding="utf-8") as file:
        say(f"descriptor {file.fileno()}, {sys.stderr}")
        suspect(backend, name, "signal")


@case
def quiet(backend: str, level: str) -> None:
    """Be stuck, and log next to nothing."""

    async def deaf() -> None:
        say("ready")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(FOREVER)  # found here

    if level == "unconfigured":
        from loguru import logger

        logger.remove()
        build(options(backend), deaf).run(configure_logging=False)
    else:
        build(options(backend, log_level=level), deaf).run()
