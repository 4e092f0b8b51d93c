"""Callbacks of the user's that raise what is no `Exception`: the host stays whole, and an exit is a request to stop."""

from collections.abc import Callable

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, PuppetError, build, trace

from hostkit import BackgroundService, HostBuilder, HostFailedError, HostState, StoppingToken
from hostkit.events import HostEvent, HostStarted, HostStopped, ServiceStarted, ServiceStopped, StopRequested

Hook = Callable[[HostBuilder, Callable[..., None]], None]


def on(kind: type[HostEvent]) -> Hook:
    """Return what adds a listener to one kind of event."""

    def add(builder: HostBuilder, raises: Callable[..., None]) -> None:
        builder.on_event(lambda event: raises() if isinstance(event, kind) else None)

    return add


class Registering(BackgroundService):
    """Has a callback in its token."""

    def __init__(self, callback: Callable[..., None]) -> None:
        self.callback = callback

    async def execute(self, stopping_token: StoppingToken) -> None:
        stopping_token.on_stop(self.callback)
        await stopping_token.wait()


def in_a_token(builder: HostBuilder, raises: Callable[..., None]) -> None:
    """Add a service with a callback in its token."""
    builder.add_service(Registering(raises))


HOOKS: dict[str, tuple[Hook, str]] = {
    "service started": (on(ServiceStarted), "a listener"),
    "started": (on(HostStarted), "a listener"),
    "stopping": (on(StopRequested), "a listener"),
    "service stopped": (on(ServiceStopped), "a listener"),
    "stopped": (on(HostStopped), "a listener"),
    "on_started": (lambda builder, raises: builder.lifetime.on_started(raises), "a lifetime callback"),
    "on_stopping": (lambda builder, raises: builder.lifetime.on_stopping(raises), "a lifetime callback"),
    "on_stopped": (lambda builder, raises: builder.lifetime.on_stopped(raises), "a lifetime callback"),
    "on_stop": (in_a_token, "an on_stop callback of service 'registering'"),
}
AT_THE_START = {"service started", "started", "on_started"}


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_an_exit_stops_the_host_and_comes_out(hook: str, error: BaseException) -> None:
    """Everything is stopped in order before that; the first one is the one that comes out."""

    def leave(*_: object) -> None:
        raise error

    add, who = HOOKS[hook]
    events: list[HostEvent] = []
    builder = HostBuilder(QUIET)
    builder.on_event(events.append)
    builder.add_service(Puppet(), name="a")
    builder.add_service(Puppet(), name="b")
    add(builder, leave)
    host = builder.build()

    with pytest.raises(type(error)) as caught:
        async with host:
            await anyio.sleep(1)

    stopped = [line for line in trace(events) if line.startswith("stopped") and "registering" not in line]
    assert caught.value is error
    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.failure is None
    assert host.lifetime.exit_code == (7 if isinstance(error, SystemExit) else 130)
    assert stopped == (["stopped a"] if hook == "service started" else ["stopped b", "stopped a"])
    if hook in AT_THE_START:
        assert host.lifetime.stop_reason == f"{who} raised {error!r}"


@pytest.mark.parametrize("hook", HOOKS)
async def test_a_cancellation_is_an_error_of_the_hook(hook: str) -> None:
    """One that it got from a cancelled future, say: it is logged, and nothing else follows."""
    kind = anyio.get_cancelled_exc_class()
    called: list[str] = []

    def fail(*_: object) -> None:
        called.append(hook)
        raise kind.__new__(kind)

    events: list[HostEvent] = []
    builder = HostBuilder(QUIET)
    HOOKS[hook][0](builder, fail)
    builder.on_event(events.append)
    builder.add_service(Puppet(), name="a")
    host = builder.build()

    async with host:
        await anyio.sleep(1)

    assert called
    assert "stopped a" in trace(events)
    assert host.lifetime.stop_reason == "the end of async with"
    assert host.lifetime.exit_code == 0


async def test_an_exit_of_on_fatal_comes_out_with_the_failure() -> None:
    """The failure is its cause."""

    def leave(_error: HostFailedError) -> None:
        raise SystemExit(7)

    builder = HostBuilder(QUIET)
    builder.on_fatal(leave)
    builder.add_service(Puppet(run=1, fails="execute"))
    host = builder.build()

    with pytest.raises(SystemExit) as caught:
        async with host:
            await host.wait()

    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, HostFailedError)
    assert [type(error) for error in caught.value.__cause__.exceptions] == [PuppetError]


async def test_a_hook_of_a_host_that_has_ended() -> None:
    """A callback for an instant that has passed is called at once; what it raises stops nothing any more."""
    host, events = build(Plain())
    async with host:
        pass
    before = len(events)

    def leave() -> None:
        raise SystemExit(7)

    host.lifetime.on_stopped(leave)

    assert (len(events), host.lifetime.state) == (before, HostState.STOPPED)


async def test_a_running_host_takes_listeners() -> None:
    """A listener that is added to a host hears what comes from then on, before, during and after a lifecycle."""
    host, _ = build(Puppet(), Plain())
    heard: list[str] = []
    detailed: list[str] = []

    def listen(event: HostEvent) -> None:
        heard.append(type(event).__name__)

    remove = host.on_event(listen)
    async with host:
        first = list(heard)
        remove()
        remove()
        again = host.on_event(lambda event: detailed.append(type(event).__name__))
    again()
    async with host:
        pass

    assert first[0] == "HostStarting"
    assert first[-1] == "HostStarted"
    assert heard == first
    assert detailed[0] == "StopRequested"
    assert detailed[-1] == "HostStopped"
    assert "ServiceStopping" in detailed
    assert detailed.count("HostStopped") == 1


def test_a_host_refuses_what_is_no_listener() -> None:
    """A listener is a plain function."""
    host, _ = build(Plain())

    async def listen(event: HostEvent) -> None:
        """Hear nothing."""

    with pytest.raises(TypeError, match=r"on_event\(\) takes a synchronous function"):
        host.on_event(listen)  # type: ignore[arg-type]  # a mistake of the user's
