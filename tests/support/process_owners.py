"""Hosts that own their process, its signals, its log and its threads, for tests with real processes."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import NoReturn

import anyio
import anyio.lowlevel
from anyio import to_thread
from process_hosts import build, case, patient, say_later, wait_for_stop
from process_suspects import FOREVER, Neighbour, say

from hostkit import (
    BackgroundService,
    Backoff,
    HostBuilder,
    Restart,
    StoppingToken,
    ThreadService,
    ThreadStoppingToken,
)


@case
def handlers(backend: str, kind: str) -> None:
    """Have signal handlers of its own before, or take one over while the host runs."""

    def own(_number: int, _frame: object) -> NoReturn:
        raise AssertionError

    def taken(_number: int, _frame: object) -> None:
        """Stand in the host's place."""

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    if kind == "own":
        for number in numbers:
            signal.signal(number, own)
    before = [signal.getsignal(number) for number in numbers]

    async def taker(stopping_token: StoppingToken) -> None:
        if kind == "taken":
            signal.signal(signal.SIGUSR1, taken)
        await wait_for_stop(stopping_token)

    build(patient(backend), taker).run()
    after = [signal.getsignal(number) for number in numbers]
    say(f"restored: {[now is then for now, then in zip(after, before, strict=True)]}")
    say(f"taken: {signal.getsignal(signal.SIGUSR1) is taken}")
    say(f"threads: {threading.active_count()}")


@case
def takes_and_fails(backend: str) -> None:
    """Have a service whose first run takes a signal and fails, and whose second says who has the signal then."""
    runs: list[object] = []

    def taken(_number: int, _frame: object) -> None:
        """Stand in the host's place."""

    async def taker(stopping_token: StoppingToken) -> None:
        runs.append(None)
        if len(runs) == 1:
            signal.signal(signal.SIGUSR1, taken)
            message = "failed"
            raise OSError(message)
        say(f"taken: {signal.getsignal(signal.SIGUSR1) is taken}")
        await wait_for_stop(stopping_token)

    builder = HostBuilder(patient(backend))
    builder.add_service(taker, on_failure=Restart(backoff=Backoff(0)))
    builder.build().run()


@case
def forks(backend: str) -> None:
    """Terminate a child process that was forked while the host runs."""

    def child() -> None:
        say("forked")
        # A signal that comes just before a sleep does not interrupt it, so none is long; 30 s in all, as nothing else
        # ends the child if the test is killed.
        for _ in range(300):
            time.sleep(0.1)

    async def parent(stopping_token: StoppingToken) -> None:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        say(f"pid {process.pid}")
        await to_thread.run_sync(process.join)
        say(f"child ended with {process.exitcode}")
        await wait_for_stop(stopping_token)

    build(patient(backend), parent).run()


@case
def deaf_main_thread(backend: str) -> None:
    """Have signals come to another thread than the one that the event loop waits in."""

    def other() -> None:
        # A thread inherits the mask of the one that starts it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        say("ready")
        time.sleep(FOREVER)

    async def starter(stopping_token: StoppingToken) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=other, daemon=True).start()
        await stopping_token.wait()

    build(patient(backend), starter).run()


@case
def dump(backend: str, name: str) -> None:
    """Take the signal *name*, or none, as a wish to see the status."""

    async def worker(stopping_token: StoppingToken) -> None:
        say_later("settled")
        while not await stopping_token.sleep(60):  # found here
            pass

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.wait()  # found here

    build(patient(backend, dump_signal=None if name == "none" else name), Blocking(), worker).run()


@case
def talkative(backend: str, log_format: str, configured: str = "configured") -> None:
    """Log in all ways there are."""
    import logging

    from loguru import logger

    class Talker(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            logger.info("by loguru\nin two lines")
            logger.bind(order=17, level="high").info("with extras")
            logging.getLogger("somebody.else").warning("by %s", "logging")
            logging.getLogger("somebody.else").info("{no format}")
            password = f"hunter{os.getpid()}"
            say(password)
            self.sign_in(password)

        def sign_in(self, password: str) -> None:
            message = "refused"
            raise PermissionError(message)

    build(patient(backend, log_format=log_format), Talker()).run(configure_logging=configured == "configured")


@case
def idle(backend: str) -> None:
    """Count how often an idle host wakes up."""
    builder = HostBuilder(patient(backend))

    @builder.service()
    async def ticker(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(3600)

    @builder.service()
    async def waiter(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.wait()

    def wake_ups() -> int:
        own = threading.get_native_id()
        files = [path / "status" for path in Path("/proc/self/task").iterdir() if int(path.name) != own]
        lines = [line for file in files for line in file.read_text(encoding="ascii").splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    def observe() -> None:
        time.sleep(0.5)
        before = wake_ups()
        time.sleep(2)
        say(f"wake-ups: {wake_ups() - before}")
        builder.lifetime.request_stop()

    builder.add_service(Blocking())
    builder.lifetime.on_started(threading.Thread(target=observe).start)
    builder.build().run()


@case
def many_runs(backend: str) -> None:
    """Run many hosts one after the other, each with signals, dead-man and event loop of its own."""

    def run() -> None:
        builder = HostBuilder(patient(backend, hang_timeout=60, log_level="CRITICAL"))

        @builder.service()
        async def leaves() -> None:
            builder.lifetime.request_stop()

        builder.build().run()

    def holdings() -> list[object]:
        return [
            threading.active_count(),
            len(list(Path("/proc/self/fd").iterdir())),
            *map(signal.getsignal, (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)),
        ]

    run()
    before = holdings()
    for _ in range(100):
        run()
    say(f"nothing left: {holdings() == before}")


@case
def loses_reader(backend: str, log_format: str) -> None:
    """Write to standard error until nobody reads it any more, and then some more."""
    builder = HostBuilder(patient(backend, log_format=log_format))
    builder.add_service(Neighbour("first"), name="first")

    @builder.service()
    async def writer() -> None:
        from loguru import logger

        while True:
            try:
                os.write(2, b"to nobody?\n")
            except BrokenPipeError:
                break
            await anyio.sleep(0.05)
        say("reader lost")
        logger.info("to nobody")
        builder.lifetime.request_stop()

    builder.build().run()


@case
def traced(backend: str) -> None:
    """Say all that happens to three services, and stop when that has been told, at the latest."""
    builder = HostBuilder(patient(backend, log_level="CRITICAL"))

    class Traced(BackgroundService):
        def __init__(self, name: str) -> None:
            self._name = name

        async def start(self) -> None:
            await self.step("start")

        async def execute(self, stopping_token: StoppingToken) -> None:
            await self.step("execute")
            await stopping_token.wait()
            await self.step("told")

        async def stop(self) -> None:
            await self.step("stop")

        async def step(self, what: str) -> None:
            say(f"{self._name} {what}")
            await anyio.sleep(0.001)

    for name in "abc":
        builder.add_service(Traced(name), name=name)
    builder.build().run()
    say("returned")
    os._exit(0)  # the interpreter's own end takes longer than all this
