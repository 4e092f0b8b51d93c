"""`time_left`: how long a service still has after it was asked to stop."""

import math
import threading

import anyio
import anyio.lowlevel
import pytest

from hostkit import (
    BackgroundService,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    StoppingToken,
    ThreadService,
    ThreadStoppingToken,
)

OPTIONS = HostOptions(shutdown_timeout=10, cancellation_timeout=5, log_level="CRITICAL")


class Reporting(BackgroundService):
    """Notes the time that is left before the stop, at the stop, and some seconds after it."""

    def __init__(self, *after: float) -> None:
        self.after = after
        self.left: list[float] = []

    async def execute(self, stopping_token: StoppingToken) -> None:
        def note() -> None:
            self.left.append(stopping_token.time_left)

        stopping_token.on_stop(note)
        note()
        await stopping_token.wait()
        for seconds in self.after:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)
            note()


@pytest.mark.parametrize(("stop_timeout", "left"), [(None, [math.inf, 9, 7]), (4, [math.inf, 4, 2])])
async def test_a_service_knows_how_much_time_is_left(stop_timeout: float | None, left: list[float]) -> None:
    """`time_left` counts to the host's deadline or the service's own, whichever is nearer, from the first instant."""
    builder = HostBuilder(OPTIONS)
    service = Reporting(2)
    builder.add_service(service, stop_timeout=stop_timeout)
    builder.add_service(Reporting(1), name="stops first")

    async with builder.build():
        await anyio.sleep(1)

    assert service.left == left


async def test_no_time_is_left_after_the_deadline() -> None:
    """A service that is cancelled has no time left, and never less than none."""
    builder = HostBuilder(OPTIONS)
    service = Reporting(9, 2)
    builder.add_service(service)

    with pytest.raises(HostFailedError):
        async with builder.build():
            await anyio.sleep(1)

    assert service.left == [math.inf, 10, 1, 0]


def second_signal(host: Host) -> None:
    """Do what the second signal does."""
    assert host._runner.lifecycle is not None
    host._runner.lifecycle.shutdown.cancel_all(anyio.current_time())


async def test_a_second_signal_leaves_no_time() -> None:
    """When everything is cancelled at once, no time is left."""
    builder = HostBuilder(OPTIONS)
    service = Reporting(4)
    builder.add_service(service)
    host = builder.build()

    with pytest.raises(HostFailedError):
        async with host:
            host.lifetime.request_stop()
            await anyio.sleep(3)
            second_signal(host)

    assert service.left == [math.inf, 10, 0]


async def test_a_start_that_is_cut_has_no_time() -> None:
    """The token of a service that was not ready when the stop came tells that it is cancelled already."""
    builder = HostBuilder(OPTIONS)
    service = Reporting()

    class Slow(Reporting):
        async def execute(self, stopping_token: StoppingToken, *, task_status: object = None) -> None:
            await super().execute(stopping_token)

    slow = Slow()
    builder.add_service(service)
    builder.add_service(slow)
    host = builder.build()

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert slow.left == [math.inf, 0]
    assert service.left == [math.inf, 10]


@pytest.mark.real_time
async def test_a_thread_knows_how_much_time_is_left() -> None:
    """`ThreadStoppingToken.time_left` is the same for a blocking service, read on its thread."""
    builder = HostBuilder(OPTIONS)
    left: list[float] = []

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            left.append(stopping_token.time_left)
            stopping_token.wait()
            left.append(stopping_token.time_left)

    builder.add_service(Blocking())
    async with builder.build():
        while not left:
            await anyio.lowlevel.checkpoint()

    before, after = left
    assert before == math.inf
    assert 0 < after <= 10


@pytest.mark.real_time
async def test_a_library_that_blocks_is_ended_by_a_callback() -> None:
    """`ThreadStoppingToken.on_stop` ends a library with a blocking `run_forever()` and a `stop()`."""
    ended = threading.Event()
    began = threading.Event()
    builder = HostBuilder(OPTIONS)

    class Consumer(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.on_stop(ended.set)
            began.set()
            ended.wait()

    builder.add_service(Consumer())
    host = builder.build()
    async with host:
        while not began.is_set():
            await anyio.lowlevel.checkpoint()

    assert host.lifetime.exit_code == 0


@pytest.mark.real_time
async def test_an_exit_asked_for_by_a_late_callback_is_taken() -> None:
    """A `SystemExit` of a callback that a thread registers after the stop comes out of the host."""
    builder = HostBuilder(OPTIONS)

    class Late(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.wait()
            stopping_token.on_stop(self.leave)

        def leave(self) -> None:
            raise SystemExit(7)

    builder.add_service(Late())
    host = builder.build()
    with pytest.raises(SystemExit) as caught:
        async with host:
            pass

    assert caught.value.code == 7
    assert host.lifetime.exit_code == 7
