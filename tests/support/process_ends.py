"""Hosts that end in one way each, for tests with real processes."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from process_hosts import build, case, options, patient, wait_for_stop
from process_suspects import FOREVER, Neighbour, say, work_in_pool

from hostkit import (
    BackgroundService,
    Host,
    HostBuilder,
    HostedService,
    HostLifetime,
    HostStateError,
    StoppingToken,
    ThreadService,
    ThreadStoppingToken,
)


@case
def iteration(backend: str) -> None:
    """Work in steps of some length."""

    async def worker(stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(hours=1):
            say("iteration begins")
            await anyio.sleep(0.3)
            say("iteration ends")

    build(patient(backend), worker).run()


@case
def starting(backend: str) -> None:
    """Take 3 s to start, in the third of four services."""

    class Slow(HostedService):
        async def start(self) -> None:
            say("slow starting")
            await anyio.sleep(3)
            say("slow started")

        async def stop(self) -> None:
            say("slow stop")

    build(patient(backend), Neighbour("second"), Slow(), Neighbour("last")).run()


@case
def crash(backend: str, hook: str) -> None:
    """Fail in a hook."""

    class Crasher(BackgroundService):
        async def start(self) -> None:
            self.fail_in("start")

        async def execute(self, stopping_token: StoppingToken) -> None:
            self.fail_in("execute")
            await stopping_token.wait()

        async def stop(self) -> None:
            self.fail_in("stop")

        def fail_in(self, here: str) -> None:
            if here == hook:
                message = f"{here} failed"
                raise OSError(message)
            say(f"suspect {here}")

    build(patient(backend), Crasher(), Neighbour("last")).run()


def way_out(what: str) -> BaseException:
    """Return what a service raises to end its process."""
    ways: dict[str, BaseException] = {
        "7": SystemExit(7),
        "none": SystemExit(),
        "words": SystemExit("no way"),
        "interrupt": KeyboardInterrupt(),
    }
    return ways[what]


class Leaver(BackgroundService):
    """A service that leaves in one of its hooks, or in a task of its own."""

    def __init__(self, lifetime: HostLifetime, what: str, where: str) -> None:
        self._lifetime = lifetime
        self._what = what
        self._where = where

    async def start(self) -> None:
        self.leave_in("start")

    async def execute(self, stopping_token: StoppingToken) -> None:
        say("ready")
        await self._lifetime.wait_started()
        self.leave_in("execute")
        async with anyio.create_task_group() as group:
            group.start_soon(self.have_a_task)
        await stopping_token.wait()

    async def have_a_task(self) -> None:
        self.leave_in("task")

    async def stop(self) -> None:
        self.leave_in("stop")

    def leave_in(self, here: str) -> None:
        if here == "execute" and self._what == "5":
            self._lifetime.request_stop("asked", exit_code=5)
        elif here == self._where.removesuffix("-and-failure"):
            raise way_out(self._what)


class ThreadLeaver(ThreadService):
    """A blocking service that leaves, or fails in the end."""

    def __init__(self, what: str, where: str) -> None:
        self._what = what
        self._where = where

    def execute(self, stopping_token: ThreadStoppingToken) -> None:
        if self._where == "thread":
            raise way_out(self._what)
        stopping_token.wait()
        if self._where.endswith("-and-failure"):
            message = "failed"
            raise OSError(message)


@case
def exits(backend: str, what: str, where: str) -> None:
    """Ask for an exit in one of several ways, in one of several places."""
    builder = HostBuilder(patient(backend))
    builder.add_service(Neighbour("first"), name="first")
    builder.add_service(Leaver(builder.lifetime, what, where))
    builder.add_service(ThreadLeaver(what, where))
    try:
        builder.build().run()
    except BaseException as error:
        say(f"came out: {error!r} because of {error.__cause__!r}")
        raise


@case
def run_async(backend: str, end: str) -> None:
    """Run inside an event loop that is there already."""

    async def fails() -> None:
        message = "failed"
        raise OSError(message)

    async def deaf() -> None:
        say("ready")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(FOREVER)  # found here

    services: dict[str, Callable[..., object]] = {"clean": wait_for_stop, "fails": fails, "stuck": deaf}
    host = build(options(backend) if end == "stuck" else patient(backend), services[end])

    async def app() -> int:
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, FOREVER)
            code = await host.run_async()
            group.cancel_scope.cancel()
        after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
        say(f"handlers restored: {handlers == after}")
        say(f"returned {code}, failure {host.lifetime.failure!r}")
        return code

    sys.exit(run_main(app, backend))


def run_main(function: Callable[[], Any], backend: str) -> Any:  # noqa: ANN401  # what it returns
    """Run an async function as an app of its own would."""
    if backend == "trio":
        import trio

        return trio.run(function)
    import asyncio

    factory = None
    if backend == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(function())


@case
def misuse(backend: str) -> None:
    """Run where a host cannot be run, and then once more where it can."""
    host = build(patient(backend), wait_for_stop)

    def refused(where: str) -> None:
        try:
            host.run()
        except HostStateError as error:
            say(f"{where}: {error}")

    async def in_loop() -> None:
        refused("in a loop")

    async def in_callback() -> None:
        anyio.lowlevel.current_token()
        done = anyio.Event()

        def call() -> None:
            refused("in a callback")
            done.set()

        if backend == "trio":
            import trio

            trio.lowlevel.current_trio_token().run_sync_soon(call)
        else:
            import asyncio

            asyncio.get_running_loop().call_soon(call)
        await done.wait()

    thread = threading.Thread(target=refused, args=["in a thread"])
    thread.start()
    thread.join()
    run_main(in_loop, backend)
    run_main(in_callback, backend)
    with host.start_in_thread():
        refused("started")


@case
def twice(backend: str) -> None:
    """Run a host that was run already."""
    host = build(patient(backend), wait_for_stop)
    host.run()
    try:
        host.run()
    except HostStateError as error:
        say(f"again: {error}")


@case
def resources(backend: str) -> None:
    """Have nothing but a resource, and say in what loop it lives."""

    class Resource(HostedService):
        async def start(self) -> None:
            if backend == "trio":
                import trio

                trio.lowlevel.current_task()
                say("a loop of trio's")
            else:
                import asyncio

                say(f"a loop of {type(asyncio.get_running_loop()).__module__.partition('.')[0]}'s")

    builder = HostBuilder(patient(backend))
    builder.add_service(Resource())
    builder.build().run()


@case
def two_owners(backend: str) -> None:
    """Run a host in a process that another one owns, and in a fork of it."""
    second = build(patient(backend))

    async def intruder() -> None:
        try:
            await second.run_async()
        except HostStateError as error:
            say(f"refused: {error}")
        async with second:
            say("started")
        await anyio.to_thread.run_sync(fork)

    def fork() -> None:
        with warnings.catch_warnings(action="ignore"):  # this process has threads
            child = os.fork()
        if not child:
            code = 9
            try:
                short_lived().run()
                code = 0
            finally:
                os._exit(code)
        say(f"fork ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")

    def short_lived() -> Host:
        builder = HostBuilder(patient(backend))
        builder.add_service(anyio.lowlevel.checkpoint, name="short-lived")
        return builder.build()

    builder = HostBuilder(patient(backend))
    builder.add_service(intruder)
    builder.build().run()
    say("again")
    short_lived().run()


@case
def run_async_in_thread(backend: str) -> None:
    """Run inside an event loop that is not the main thread's."""
    host = build(patient(backend), wait_for_stop)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_main(host.run_async, backend)))
    # Before the host says that it is ready, and the signal comes.
    signal.signal(signal.SIGTERM, lambda _number, _frame: host.lifetime.request_stop("the app's own handler"))
    thread.start()
    thread.join()
    say(f"returned {codes}")


@case
def delayed(backend: str) -> None:
    """Stop a while after the first signal."""

    async def watcher(stopping_token: StoppingToken) -> None:
        say("ready")
        while not host.lifetime.stop_reason:
            await anyio.sleep(0.01)
        say(f"announced, ready {host.status().ready}, state {host.lifetime.state}")
        await stopping_token.wait()
        say("stopping")
        await anyio.sleep(FOREVER)

    host = build(patient(backend, stop_delay=60), watcher)
    host.run()


@case
def takes_signals(backend: str, kind: str) -> None:
    """Have a library with signal handlers of its own inside a service, which ends at the first signal."""

    async def bot(stopping_token: StoppingToken) -> None:
        if kind == "loop":
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                say("bot has the signals")
                async for number in received:
                    say(f"library got {number.name}")
                    break
        else:
            got: list[int] = []
            signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
            say("bot has the signals")
            while not got:
                await anyio.sleep(0.01)
            say("library got SIGTERM")

    build(patient(backend), bot, wait_for_stop).run()


@case
def interrupted_loop(backend: str) -> None:
    """Have a library that puts back Python's own handler of Ctrl-C, which ends the loop by an exception."""

    async def library(stopping_token: StoppingToken) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        await wait_for_stop(stopping_token)

    build(patient(backend), library).run()


@case
def pool(backend: str, protected: str) -> None:
    """Work in a process pool whose workers get the signals of the process group."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    os.setpgid(0, 0)

    async def worker(stopping_token: StoppingToken) -> None:
        initializer: dict[str, Any] = {"initializer": signal.signal, "initargs": (signal.SIGTERM, signal.SIG_IGN)}
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), **(initializer if protected == "protected" else {})
        ) as executor:
            await anyio.to_thread.run_sync(executor.submit(work_in_pool).result)
            say("worked")

    build(patient(backend), worker).run()


@case
def no_descriptors(backend: str) -> None:
    """Have no descriptor left when the status is asked for and the stop comes."""
    import resource

    async def greedy(stopping_token: StoppingToken) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        opened = []
        while True:
            try:
                opened.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        say("ready")
        await stopping_token.wait()
        say("told")

    build(patient(backend), greedy).run()


@case
def chatty(backend: str) -> None:
    """Have print buffer what it says, and never end by itself."""
    sys.stdout = open(1, "w", buffering=100_000, closefd=False)  # noqa: SIM115  # a descriptor
    print("buffered")  # noqa: T201

    async def deaf(stopping_token: StoppingToken) -> None:
        say("ready")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(FOREVER)

    build(patient(backend), deaf).run()


@case
def after_the_end(backend: str) -> None:
    """Send itself signals when the host of the command has stopped, before the interpreter is gone."""
    import atexit

    from hostkit.cli import main

    def late() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            os.kill(os.getpid(), number)
        say("late")

    atexit.register(late)
    builder = HostBuilder(patient(backend))

    @builder.service
    async def ends() -> None:
        """End at once, and the host with it."""

    module = sys.modules["ends_at_once"] = ModuleType("ends_at_once")
    vars(module)["builder"] = builder
    main(["run", "ends_at_once"])
    late()


@case
def two_exits(backend: str) -> None:
    """Have the stop asked for with one exit code, and then a service exit with another."""
    builder = HostBuilder(patient(backend))

    @builder.service
    async def exits(stopping_token: StoppingToken) -> None:
        builder.lifetime.request_stop("enough", exit_code=5)
        await stopping_token.wait()
        sys.exit(8)

    builder.build().run()
