"""A host inside somebody else's app: cancelled, failing, entered and left anywhere."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
from loguru import logger
from puppet import QUIET, Plain, Puppet, PuppetError, build, trace

from hostkit import (
    BackgroundService,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostState,
    StoppingToken,
)
from hostkit.testing import virtual_time

# trio has no native cancellation of a task.
ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", [virtual_time("asyncio")], ids=["asyncio"])
ORDERLY = ["stopping b", "stopped b", "stopping a", "stopped a"]


async def leave_by_scope(host: Host) -> None:
    """Leave by a cancelled scope."""
    with anyio.move_on_after(1) as scope:
        async with host:
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def leave_by_group(host: Host) -> None:
    """Leave by a failing sibling."""
    with pytest.RaisesGroup(PuppetError):
        async with anyio.create_task_group() as group:
            group.start_soon(live, host)
            await anyio.sleep(1)
            raise PuppetError


async def live(host: Host) -> None:
    """Hold *host* until cancelled."""
    async with host:
        await anyio.sleep_forever()


@pytest.mark.parametrize("leave", [leave_by_scope, leave_by_group])
async def test_a_cancelled_embedder_gets_an_ordered_stop_and_then_its_cancellation(
    leave: Callable[[Host], Awaitable[None]],
) -> None:
    """The services are outside the caller's cancel scopes: they drain in order before the cancellation goes on."""
    host, events = build(Puppet(drain=2), Puppet(drain=3, stop=1))

    await leave(host)

    assert trace(events)[-4:] == ORDERLY
    assert anyio.current_time() == 1 + 3 + 1 + 2
    assert host.lifetime.exit_code == 0


async def test_the_end_of_async_with_is_the_reason() -> None:
    """It is told apart how the body ended."""
    host, _ = build(Plain())
    error = PuppetError("broken")

    async with host:
        pass
    assert host.lifetime.stop_reason == "the end of async with"

    with pytest.raises(PuppetError):
        async with host:
            raise error
    assert host.lifetime.stop_reason == f"async with left by {error!r}"


@ONLY_ASYNCIO
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_native_cancellations_do_not_cut_the_stop_short(times: int) -> None:
    """Asyncio's own task.cancel(), once or again while the stop waits, comes out only when the host has ended."""
    host, events = build(Puppet(drain=2), Puppet(drain=3, stop=1))
    task = asyncio.get_running_loop().create_task(live(host))

    for _ in range(times):
        await anyio.sleep(1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert trace(events)[-4:] == ORDERLY
    assert anyio.current_time() == 1 + 3 + 1 + 2


@ONLY_ASYNCIO
async def test_asyncio_timeouts_round_a_host_work() -> None:
    """asyncio.timeout() round an embedded host ends in TimeoutError, after an ordered stop."""
    host, events = build(Puppet(drain=2), Puppet(drain=3))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await live(host)

    assert trace(events)[-4:] == ORDERLY


async def test_a_failure_wins_over_a_cancellation() -> None:
    """When the host has failed, its failure comes out and not the cancellation, which would hide it."""
    host, _ = build(Puppet(fails="stop"))

    with pytest.raises(HostFailedError), anyio.move_on_after(1):
        async with host:
            await anyio.sleep_forever()


async def test_a_cancelled_start_rolls_back() -> None:
    """A cancelled start() leaves nothing behind, and then the cancellation comes out."""
    first, second = Puppet(), Puppet(start=100)
    host, events = build(first, second)

    with anyio.move_on_after(1) as scope:
        await host.start()

    assert scope.cancelled_caught
    assert host.lifetime.state is HostState.STOPPED
    assert trace(events)[-4:] == ["cancelled b", "stopped b", "stopping a", "stopped a"]


async def test_a_cancelled_start_that_fails_raises_the_failure() -> None:
    """A failure of the roll-back wins over the cancellation."""
    host, _ = build(Puppet(fails="stop"), Puppet(start=100))

    with pytest.raises(HostFailedError), anyio.move_on_after(1):
        await host.start()


async def test_cancelling_a_wait_changes_nothing() -> None:
    """A cancelled wait() leaves the host alone."""
    host, _ = build(Puppet())

    async with host:
        with anyio.move_on_after(1):
            await host.wait()
        assert host.lifetime.state is HostState.STARTED


async def test_an_error_of_the_body_comes_out_as_itself() -> None:
    """An exception of the body is not wrapped; failures of the host are its notes, none lost."""
    host, _ = build(Puppet(fails="stop"))

    with pytest.raises(ValueError, match="of the body") as caught:
        async with host:
            message = "of the body"
            raise ValueError(message)

    assert len(caught.value.__notes__) == 1
    assert "PuppetError('stop')" in caught.value.__notes__[0]
    assert "service 'a'" in caught.value.__notes__[0]


async def test_the_hosts_own_failure_passes_the_exit() -> None:
    """A HostFailedError that wait() raised in the body is not noted on itself."""
    host, _ = build(Puppet(run=1, fails="execute"))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert not hasattr(caught.value, "__notes__")


async def test_enter_and_exit_in_different_tasks() -> None:
    """start() in one task and stop() in another."""
    puppet = Puppet()
    host, _ = build(puppet)

    for step in (host.start, host.stop):
        async with anyio.create_task_group() as group:
            group.start_soon(step)

    assert puppet.calls == ["start", "execute", "stop"]


async def test_stop_from_many_tasks() -> None:
    """stop() may be called any number of times, from anywhere; all callers see the same end."""
    host, _ = build(Puppet(drain=3))
    await host.start()
    ends = []

    async def stop() -> None:
        await host.stop()
        ends.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(stop)
    await host.stop()

    assert ends == [3, 3, 3]


async def test_a_lifespan_is_the_host() -> None:
    """host.lifespan starts and stops the host; the same host any number of times."""
    puppet = Puppet()
    host, _ = build(puppet)

    for _ in range(10):
        async with host.lifespan(object()):
            assert host.status().ready

    assert puppet.calls == ["start", "execute", "stop"] * 10


async def test_a_crash_is_seen_at_once() -> None:
    """A crash stops the others in order, marks the host failed at once, calls on_fatal, and comes out at the exit."""
    fatal: list[HostFailedError] = []
    builder = HostBuilder(QUIET)
    other = builder.add_service(Puppet(drain=1))
    builder.add_service(Puppet(run=1, fails="execute"))
    builder.on_fatal(lambda error: 1 / 0)  # type: ignore[arg-type]  # logged, and keeps no other from running
    builder.on_fatal(fatal.append)
    host = builder.build()

    await host.start()
    await anyio.sleep(1.5)

    assert len(fatal) == 1
    assert host.lifetime.failure is not None
    assert not host.status().healthy
    assert not host.status().ready
    await host.lifetime.wait_stopped()
    assert other.calls == ["start", "execute", "stop"]
    with pytest.raises(HostFailedError):
        await host.stop()


async def test_on_fatal_is_not_for_a_failed_start_or_stop() -> None:
    """What comes out of start() or stop() anyway needs no callback."""
    fatal: list[HostFailedError] = []
    builder = HostBuilder(QUIET)
    builder.on_fatal(fatal.append)
    puppet = builder.add_service(Puppet(fails="start"))
    host = builder.build()

    with pytest.raises(HostFailedError):
        await host.start()
    puppet.fails = "stop"
    await host.start()
    with pytest.raises(HostFailedError):
        await host.stop()

    assert fatal == []


def test_a_stopped_host_starts_again_in_another_event_loop() -> None:
    """One host at module level, entered in one event loop after the other."""
    puppet = Puppet()
    host, _ = build(puppet)

    async def main() -> None:
        async with host:
            await anyio.lowlevel.checkpoint()

    for backend in ("asyncio", "asyncio"):
        anyio.run(main, backend=backend)

    assert puppet.calls == ["start", "execute", "stop"] * 2


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
def test_a_host_still_running_when_its_loop_ends_is_stopped(backend: str) -> None:
    """When the event loop ends under a running host, its services are stopped in reverse, without failures."""
    first, second, plain = Puppet(), Puppet(), Plain()
    host, events = build(first, second, plain)

    anyio.run(host.start, backend=backend)

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.stop_reason == "event loop ended"
    assert host.lifetime.failure is None
    assert first.calls == second.calls == ["start", "execute", "stop"]
    assert plain.stopped == 1
    assert [line for line in trace(events) if line.startswith("stopped")] == ["stopped c", "stopped b", "stopped a"]


@pytest.mark.parametrize("services", [1, 3])
def test_every_service_can_clean_up_when_its_loop_ends(services: int) -> None:
    """Asyncio's cancellation of all tasks cuts no `stop()`, in whatever order it reaches them."""

    class Cleans(Plain):
        async def stop(self) -> None:
            await anyio.sleep(1)
            await super().stop()

    backend, options = virtual_time("asyncio")
    for _ in range(20):
        cleaning = [Cleans() for _ in range(services)]
        host, _ = build(*cleaning)
        anyio.run(host.start, backend=backend, backend_options=options)

        assert [service.stopped for service in cleaning] == [1] * services


@pytest.mark.parametrize("first", ["a", "hostkit", "hostkit: end of the loop", "hostkit: group"])
def test_the_end_of_the_loop_is_the_reason_whoever_notices_it_first(first: str) -> None:
    """Asyncio cancels all tasks at once, in any order: a service may be the first that ends."""
    host, _ = build(Waits())
    backend, options = virtual_time("asyncio")

    async def main() -> None:
        await host.start()
        await anyio.sleep(1)
        tasks = {task.get_name(): task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        tasks[first].cancel()
        for task in tasks.values():
            if task is not tasks[first]:
                task.cancel()
        await host.wait()

    anyio.run(main, backend=backend, backend_options=options)

    assert host.lifetime.stop_reason == "event loop ended"


class Waits(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


def end_the_loop_during_the_start(host: Host, turns: int) -> None:
    """Let the loop end, on virtual time, so many turns after a task has begun to start *host*."""
    backend, options = virtual_time("asyncio")

    async def main() -> None:
        task = asyncio.create_task(host.start())
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend, backend_options=options)


@pytest.mark.parametrize("service", [Puppet, Plain, Waits])
@pytest.mark.parametrize("turns", range(8))
def test_a_host_is_stopped_when_its_loop_ends_during_the_start(turns: int, service: type[HostedService]) -> None:
    """Asyncio cancels at its end also tasks that have not had their first step: none of them is waited for."""
    host, events = build(*(service() for _ in range(10)))

    end_the_loop_during_the_start(host, turns)

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.failure is None
    assert {status.state for status in host.status().services} <= {"created", "stopped"}
    assert all(event.at == 0 for event in events)


@pytest.mark.parametrize("service", [Puppet, Waits])
@pytest.mark.parametrize("turns", range(8))
def test_a_host_is_stopped_when_its_loop_ends_during_a_restart(turns: int, service: type[HostedService]) -> None:
    """Nor is a next run that has not had its first step, of which nothing is left."""
    host, _ = build(service(), Plain())
    backend, options = virtual_time("asyncio")

    async def main() -> None:
        await host.start()
        task = asyncio.create_task(host.restart("a"))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend, backend_options=options)

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.failure is None
    assert [status.state for status in host.status().services] == ["stopped", "stopped"]


@pytest.mark.parametrize("turns", range(1, 9))
def test_a_large_host_is_stopped_when_its_loop_ends_during_the_start(turns: int) -> None:
    """Also between two batches of services that are begun in one turn."""
    builder = HostBuilder(QUIET)
    for number in range(200):
        builder.add_service(Waits(), name=str(number))
    host = builder.build()

    end_the_loop_during_the_start(host, turns)

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.failure is None


async def test_a_failure_after_the_end_is_logged() -> None:
    """What an abandoned service raises when the host has ended is a line of the log; its late end is none."""
    released = anyio.Event()

    async def deaf(stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            await released.wait()
        raise PuppetError

    async def slow(stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            await released.wait()

    host, _ = build(deaf, slow, options=HostOptions(log_level="ERROR", shutdown_timeout=1, cancellation_timeout=1))
    await host.start()
    with pytest.raises(HostFailedError):
        await host.stop()
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {extra[service]} {message}", backtrace=False)

    try:
        released.set()
        await anyio.sleep(1)
    finally:
        logger.remove(sink)

    assert [line.splitlines()[0] for line in lines] == [
        "ERROR a service a was abandoned and has failed since: PuppetError()"
    ]


async def test_an_endless_swallower_is_abandoned_and_released() -> None:
    """Embedded, the host never ends the process: the waiters are released at the end, with the service named."""
    released = anyio.Event()

    async def deaf(stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            await released.wait()

    host, _ = build(
        deaf, Plain(), options=HostOptions(log_level="CRITICAL", shutdown_timeout=1, cancellation_timeout=1)
    )
    await host.start()

    with pytest.raises(HostFailedError, match=r"ignores its cancellation and was abandoned, at .*test_embedding\.py"):
        await host.stop()

    assert host.status().services[0].state == "abandoned"
    assert anyio.current_time() == 2
    released.set()
    await anyio.sleep(1)
    async with host:
        assert host.status().services[0].state == "started"


@pytest.mark.parametrize("anyio_backend", [virtual_time("asyncio")], ids=["asyncio"])
async def test_a_native_cancellation_of_a_stop_is_not_lost() -> None:
    """A task.cancel() of asyncio's that finds its task in the stop comes out of it, when the host has ended."""
    host, _ = build(Puppet(drain=3))

    async def live() -> None:
        async with host:
            pass

    task = asyncio.get_running_loop().create_task(live())
    await anyio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert host.lifetime.state is HostState.STOPPED
    assert anyio.current_time() == 3


@pytest.mark.needs("trio")
def test_the_end_of_a_trio_loop_is_an_ordered_stop() -> None:
    """When trio's main task ends under a running host, its services drain one after the other, uncancelled."""
    host, events = build(Puppet(drain=2), Puppet(drain=3, stop=1))
    backend, options = virtual_time("trio")

    anyio.run(host.start, backend=backend, backend_options=options)

    assert trace(events)[-4:] == ["stopping b", "stopped b", "stopping a", "stopped a"]
    assert events[-1].at - events[-5].at == 3 + 1 + 2
