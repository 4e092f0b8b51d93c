"""The lifetime: its instants, and the door to ask for a stop."""

import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest
from puppet import Plain, Puppet, build

from hostkit import HostBuilder, HostFailedError, HostLifetime, HostOptions, HostState, HostStateError, StoppingToken
from hostkit.events import StopRequested


async def test_states_follow_each_other() -> None:
    """created, starting, started, stopping, stopped."""
    host, _ = build(Puppet(start=1, drain=1))
    lifetime = host.lifetime
    states = [lifetime.state]

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(0.5)
        states.append(lifetime.state)
    states.append(lifetime.state)
    lifetime.request_stop()
    states.append(lifetime.state)
    await lifetime.wait_stopping()
    states.append(lifetime.state)
    await lifetime.wait_stopped()
    states.append(lifetime.state)

    assert states == ["created", "starting", "started", "started", "stopping", "stopped"]


async def test_the_first_reason_and_the_first_code_win() -> None:
    """request_stop may be called any number of times; the reason is there at once."""
    host, _ = build(Plain())
    await host.start()

    host.lifetime.request_stop("first")
    host.lifetime.request_stop("second", exit_code=255)
    host.lifetime.request_stop("third", exit_code=6)

    assert host.lifetime.stop_reason == "first"
    await host.wait()
    assert host.lifetime.stop_reason == "first"
    assert host.lifetime.exit_code == 255


async def test_nothing_follows_in_the_callers_frame() -> None:
    """State, callbacks and tokens follow in the event loop, never inside request_stop()."""
    tokens: list[StoppingToken] = []

    async def service(stopping_token: StoppingToken) -> None:
        tokens.append(stopping_token)
        await stopping_token.wait()

    host, _ = build(service)
    await host.start()
    await anyio.sleep(1)
    called: list[str] = []
    host.lifetime.on_stopping(lambda: called.append("stopping"))

    host.lifetime.request_stop()

    assert host.lifetime.state is HostState.STARTED
    assert not host.status().ready
    assert called == []
    assert not tokens[0].stop_requested
    await host.wait()
    assert called == ["stopping"]


async def test_a_request_after_the_end_does_nothing() -> None:
    """After the end it does nothing, not even for the next lifecycle."""
    puppet = Puppet()
    host, _ = build(puppet)
    async with host:
        pass

    host.lifetime.request_stop("too late", exit_code=9)

    assert host.lifetime.exit_code == 0
    async with host:
        assert host.lifetime.stop_reason is None
    assert puppet.calls == ["start", "execute", "stop"] * 2


@pytest.mark.real_time
async def test_request_stop_from_a_thread() -> None:
    """Any thread may ask for the stop."""
    host, _ = build(Plain())
    await host.start()

    thread = threading.Thread(target=host.lifetime.request_stop, args=("from a thread",))
    thread.start()
    await host.wait()
    thread.join()

    assert host.lifetime.stop_reason == "from a thread"


@pytest.mark.parametrize("code", [-1, 256, "1", True, 1.5])
def test_a_wrong_exit_code_is_refused(code: object) -> None:
    """An exit code is an int from 0 to 255; another would be cut to something else by the system."""
    with pytest.raises(ValueError, match="exit_code must be"):
        HostLifetime().request_stop(exit_code=code)  # type: ignore[arg-type]


async def test_a_reason_that_is_no_str_is_refused() -> None:
    """It goes into log lines and the status; the call that gives it is the one that fails."""
    host, _ = build(Plain())

    with pytest.raises(TypeError, match=r"reason must be a str, got OSError\(\)"):
        host.lifetime.request_stop(OSError())  # type: ignore[arg-type]  # wrong
    with pytest.raises(TypeError, match="reason must be a str, got None"):
        await host.stop(None)  # type: ignore[arg-type]  # wrong

    assert host.lifetime.stop_reason is None


async def test_a_callback_that_is_added_by_another_is_called_once() -> None:
    """In the instant that it waits for it is called at once, and not a second time with the others."""
    host, _ = build(Plain())
    called: list[str] = []

    def outer() -> None:
        called.append("outer")
        host.lifetime.on_started(lambda: called.append("inner"))

    host.lifetime.on_started(outer)
    async with host:
        pass

    assert called == ["outer", "inner"]


async def test_callbacks_are_called_in_every_life() -> None:
    """on_started, on_stopping and on_stopped are kept; an error in one is logged and keeps no other from running."""
    called: list[str] = []
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(Plain())
    lifetime = builder.lifetime
    for name in ("on_started", "on_stopping", "on_stopped"):
        register: Callable[[Callable[[], object]], None] = getattr(lifetime, name)
        register(lambda: 1 / 0)
        register(lambda name=name: called.append(name))  # type: ignore[misc]
    host = builder.build()

    for _ in range(2):
        async with host:
            pass

    assert called == ["on_started", "on_stopping", "on_stopped"] * 2


async def test_a_callback_for_an_instant_that_has_passed_is_called_at_once() -> None:
    """A late registration misses nothing."""
    called: list[str] = []
    host, _ = build(Plain())

    async with host:
        host.lifetime.on_started(lambda: called.append("started"))
        host.lifetime.on_stopped(lambda: called.append("stopped"))
        assert called == ["started"]

    host.lifetime.on_stopping(lambda: called.append("stopping"))
    assert called == ["started", "stopped", "stopping"]


@pytest.mark.parametrize("name", ["on_started", "on_stopping", "on_stopped"])
def test_an_async_callback_is_refused(name: str) -> None:
    """Callbacks are synchronous; an async one would never be awaited."""

    async def callback() -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="synchronous"):
        getattr(HostLifetime(), name)(callback)


async def test_wait_started_ends_when_the_start_fails() -> None:
    """wait_started() raises if the host ends without having started, and does not wait for ever."""
    host, _ = build(Puppet(start=1, fails="start"))
    errors: list[HostStateError] = []

    async def watch() -> None:
        with pytest.raises(HostStateError) as caught:
            await host.lifetime.wait_started()
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(HostFailedError):
            await host.start()

    assert len(errors) == 1


async def test_waits_belong_to_the_life_they_were_called_in() -> None:
    """A host that has started and stopped is past its instants; the next life has its own."""
    host, _ = build(Plain())
    async with host:
        await host.lifetime.wait_started()
    await host.lifetime.wait_started()
    await host.lifetime.wait_stopping()
    await host.lifetime.wait_stopped()

    async with host:
        with anyio.move_on_after(1) as scope:
            await host.lifetime.wait_stopping()

    assert scope.cancelled_caught


def test_there_is_no_status_before_the_host_is_built() -> None:
    """A lifetime shows the status of its host, which must be there."""
    builder = HostBuilder(HostOptions())

    with pytest.raises(HostStateError, match="has not been built"):
        builder.lifetime.status()

    assert builder.build().lifetime.status().state is HostState.CREATED
    assert builder.lifetime.exit_code == 0
    assert builder.lifetime.failure is None


async def test_a_host_that_was_asked_to_stop_is_not_ready_when_nothing_is_left_to_do() -> None:
    """A request comes first, also when the last service ends in the same turn of the loop."""

    async def last(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)
        host.lifetime.request_stop("enough")

    host, _ = build(last)
    await host.start()
    await host.wait()

    assert host.lifetime.stop_reason == "enough"
    assert not host.status().ready


async def test_the_status_of_a_lifetime_is_the_whole_one() -> None:
    """It has the services, and their lines."""
    host, _ = build(Puppet(), Plain())

    async with host:
        await anyio.sleep(1)
        services = host.lifetime.status().services

    assert [service.name for service in services] == ["a", "b"]
    assert services[0].waiting_at is not None


async def test_the_first_request_is_the_reason() -> None:
    """A service that asks for the stop and fails at once has asked first; the failure is kept as well."""

    async def leaver() -> None:
        host.lifetime.request_stop("asked")
        raise OSError

    host, events = build(leaver)

    with pytest.raises(HostFailedError):
        async with host:
            await host.wait()

    assert host.lifetime.stop_reason == "asked"
    assert [event.reason for event in events if isinstance(event, StopRequested)] == ["asked"]
