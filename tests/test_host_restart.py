"""`Host.restart`: one service is ended and run again, while the others go on."""

import contextlib

import anyio
import pytest
from anyio.abc import TaskStatus
from puppet import QUIET, Plain, Puppet, PuppetError, build, instants, trace

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostStateError,
    Restart,
    ServiceState,
    ServiceStuckError,
    StoppingToken,
)
from hostkit.events import HostEvent, ServiceCancelled, ServiceRestarting


def state_of(host: Host, name: str = "a") -> ServiceState:
    """Return the state of one service."""
    return next(service.state for service in host.status().services if service.name == name)


async def test_a_running_service_is_ended_and_run_again() -> None:
    """The token, the end, `stop()`, and at once the next run; the call returns when it is ready; others go on."""
    service, other = Puppet(start=2, drain=1, stop=3), Puppet()
    host, events = build(service, other)

    async with host:
        events.clear()
        began = anyio.current_time()
        await host.restart("a")
        took = anyio.current_time() - began
        seen = trace(events)

    assert took == 1 + 3 + 2
    assert seen == ["stopping a", "stopped a", "restarting a", "starting a", "started a"]
    assert service.calls == ["start", "execute", "stop"] * 2
    assert other.calls == ["start", "execute", "stop"]
    assert host.lifetime.exit_code == 0


async def test_a_service_without_a_loop_is_restarted() -> None:
    """A service that has only `start()` and `stop()` is stopped and started."""
    service = Plain()
    host, _ = build(service, Puppet())

    async with host:
        await host.restart("a")
        stopped = service.stopped

    assert (stopped, service.stopped) == (1, 2)


async def test_one_call_is_one_run() -> None:
    """The run that follows a restart may fail, and has ended: it was asked for once."""
    service = Puppet(run=10, fails="execute")
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="a", on_failure=EndAction.IGNORE)
    builder.add_service(Puppet(), name="b")

    async with builder.build() as host:
        await host.restart("a")
        await anyio.sleep(20)
        ended = host.service_status("a")

    assert (ended.state, ended.restarts) == (ServiceState.FAILED, 1)
    assert service.calls == ["start", "execute", "stop"] * 2


@pytest.mark.parametrize("fails", ["", "execute"])
async def test_a_service_that_has_ended_is_run_again(fails: str) -> None:
    """A service that has returned, or failed under IGNORE, is run again by hand."""
    service = Puppet(run=1, fails=fails)
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="a", on_failure=EndAction.IGNORE)
    builder.add_service(Puppet(), name="b")
    host = builder.build()

    async with host:
        await anyio.sleep(2)
        ended = state_of(host)
        await host.restart("a")
        again = state_of(host)
        await anyio.sleep(2)

    assert (ended, again) == ("failed" if fails else "started", "started")
    assert service.calls.count("execute") == 2


async def test_a_service_that_waits_for_its_restart_is_run_at_once() -> None:
    """The backoff is left out."""
    service = Puppet(run=1, fails="execute")
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="a", on_failure=Restart(backoff=Backoff(initial=600, maximum=600, jitter=0)))
    builder.add_service(Puppet(), name="b")

    async with builder.build() as host:
        await anyio.sleep(2)
        waiting = host.status().services[0]
        began = anyio.current_time()
        await host.restart("a")
        took = anyio.current_time() - began
        running = host.status().services[0]
        service.fails = ""

    assert (waiting.state, running.state, took) == ("restarting", "started", 0)
    assert (waiting.failures_in_a_row, waiting.restart_limit) == (1, 5)
    assert waiting.restart_at is not None
    assert running.restart_at is None


async def test_a_restart_by_hand_counts_for_no_policy() -> None:
    """However often a service is restarted by hand, its `Restart` is not used up, and `on_return` does not matter."""
    builder = HostBuilder(QUIET)
    builder.add_service(
        Puppet(), name="a", on_failure=Restart(limit=1, backoff=Backoff(0, jitter=0)), on_return=EndAction.STOP_HOST
    )
    events: list[HostEvent] = []
    builder.on_event(events.append)

    async with builder.build() as host:
        for _ in range(5):
            await host.restart("a")
        status = host.status().services[0]

    assert (status.restarts, status.failures_in_a_row) == (5, 0)
    restarts = [event for event in events if isinstance(event, ServiceRestarting)]
    assert [(event.delay, event.in_a_row, event.limit) for event in restarts] == [(0, 0, None)] * 5
    assert host.lifetime.exit_code == 0


async def test_a_long_run_starts_the_count_afresh_also_where_it_is_ended_by_hand() -> None:
    """Failures before a run that was ready for `reset_after` seconds are forgotten, whatever has ended that run."""
    service = Puppet(run=1, fails="execute")
    builder = HostBuilder(QUIET)
    policy = Restart(limit=2, reset_after=60, backoff=Backoff(1, jitter=0))
    builder.add_service(service, name="a", on_failure=policy, on_return=policy)

    async with builder.build() as host:
        await anyio.sleep(3.5)  # it has failed twice
        service.run, service.fails = 1000, ""
        await host.restart("a")
        before = host.service_status("a").failures_in_a_row
        await anyio.sleep(60)
        await host.restart("a")
        after = host.service_status("a").failures_in_a_row

    assert (before, after) == (2, 0)


@pytest.mark.parametrize(("stop_timeout", "seconds"), [(None, 20), (3, 3)])
async def test_a_service_that_does_not_end_is_cancelled(stop_timeout: float | None, seconds: float) -> None:
    """It has its `stop_timeout`, or the host's time, and knows how much; cancelling it then is no failure."""
    left: list[float] = []

    class Slow(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            stopping_token.on_stop(lambda: left.append(stopping_token.time_left))
            await stopping_token.wait()
            if len(left) == 1:
                await anyio.sleep_forever()

    builder = HostBuilder(QUIET)
    builder.add_service(Slow(), name="a", stop_timeout=stop_timeout)

    async with builder.build() as host:
        began = anyio.current_time()
        await host.restart("a")
        took = anyio.current_time() - began
        state = state_of(host)

    assert (left[0], took, state) == (seconds, seconds, "started")
    assert host.lifetime.exit_code == 0


async def test_a_service_that_ignores_its_cancellation_is_abandoned() -> None:
    """What does not end is abandoned, which stops the host."""
    host, _ = build(Puppet(deaf="execute", drain=1000), options=HostOptions(log_level="CRITICAL", shutdown_timeout=3))
    await host.start()
    began = anyio.current_time()

    with pytest.raises(HostStateError):
        await host.restart("a")
    took = anyio.current_time() - began

    assert took == 3 + 5
    with pytest.RaisesGroup(ServiceStuckError):
        await host.wait()
    await anyio.sleep(1000)


async def test_a_restart_that_fails_to_start_is_told() -> None:
    """A new run that ends before it was ready is an error of the call, and what the policy says for the host."""

    class Once(Puppet):
        async def start(self) -> None:
            if "start" in self.calls:
                raise PuppetError
            await super().start()

    builder = HostBuilder(QUIET)
    builder.add_service(Once(), name="a", on_failure=EndAction.IGNORE)
    builder.add_service(Puppet(), name="b")

    async with builder.build() as host:
        with pytest.raises(HostStateError, match="service 'a' has ended before it was ready"):
            await host.restart("a")
        assert state_of(host) == "failed"


async def test_what_cannot_be_restarted_is_refused() -> None:
    """Unknown names, and hosts that are not started."""
    host, _ = build(Puppet(drain=5), Plain())

    with pytest.raises(ValueError, match="there is no service named 'x'; there are: 'a', 'b'"):
        await host.restart("x")
    with pytest.raises(HostStateError, match="the host is created"):
        await host.restart("a")
    async with host:
        host.lifetime.request_stop()
        await host.lifetime.wait_stopping()
        with pytest.raises(HostStateError, match="the host is stopping"):
            await host.restart("a")


async def test_a_stop_ends_the_call() -> None:
    """When the host begins to stop meanwhile, the call ends with an error, and the service is stopped once."""
    service = Puppet(drain=10)
    host, _ = build(service)
    refused: list[str] = []

    async def restart() -> None:
        with pytest.raises(HostStateError) as caught:
            await host.restart("a")
        refused.append(str(caught.value))

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(restart)
        await anyio.sleep(1)
        await host.stop()

    assert refused == ["the host has begun to stop meanwhile"]
    assert service.calls == ["start", "execute", "stop"]


async def test_a_service_does_not_wait_for_its_own_restart() -> None:
    """A service that awaits its own restart would wait for itself; another one may be restarted from it."""
    refused: list[str] = []

    class Steering(BackgroundService):
        host: Host

        async def execute(self, stopping_token: StoppingToken) -> None:
            await stopping_token.sleep(1)
            await self.host.restart("b")
            with pytest.raises(HostStateError) as caught:
                await self.host.restart("a")
            refused.append(str(caught.value))
            await stopping_token.wait()

    steering, other = Steering(), Puppet()
    steering.host, _ = build(steering, other)
    async with steering.host:
        await anyio.sleep(2)

    assert refused == ["service 'a' awaits restart() of itself, which waits for its end; return instead"]
    assert other.calls.count("start") == 2


class Brief(BackgroundService):
    """Ends after a second, with no `stop()` to wait for."""

    def __init__(self) -> None:
        self.runs = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.runs += 1
        await stopping_token.sleep(1)


@pytest.mark.parametrize(("other", "end"), [(2.5, 3), (10, 10)])
async def test_a_service_that_is_gone_is_run_again(other: float, end: float) -> None:
    """A service without a `stop()` that has returned is run again; then its end counts once more."""
    brief = Brief()
    host, _ = build(brief, Puppet(run=other))

    async with host:
        await anyio.sleep(2)
        await host.restart("a")
        again = state_of(host)
        await host.wait()

    assert (again, brief.runs) == ("started", 2)
    assert host.lifetime.stop_reason == "nothing left to do: every service has ended"
    assert anyio.current_time() == end


async def test_a_restart_is_run_at_once_in_the_same_turn() -> None:
    """The backoff is left out also when its wait has not begun yet."""
    builder = HostBuilder(QUIET)
    service = Puppet(run=1, fails="execute")
    builder.add_service(service, name="a", on_failure=Restart(backoff=Backoff(initial=600, maximum=600, jitter=0)))
    builder.add_service(Puppet(), name="b")
    host = builder.build()

    def restart(event: HostEvent) -> None:
        if isinstance(event, ServiceRestarting):
            group.start_soon(host.restart, "a")

    host.on_event(restart)
    async with host, anyio.create_task_group() as group:
        await anyio.sleep(1.5)
        service.fails = ""
        state = state_of(host)

    assert state == "started"


async def test_a_next_run_is_not_given_up_with_the_one_before() -> None:
    """A `stop()` that ends only when it is cancelled last of all is followed by the next run, which goes on."""
    service = Puppet(drain=1000, stop=1000)
    host, events = build(service, options=HostOptions(log_level="CRITICAL", shutdown_timeout=3))

    async with host:
        await host.restart("a")
        service.times |= {"drain": 0, "stop": 0}
        state = state_of(host)
        await anyio.sleep(100)

    assert state == "started"
    assert "abandoned a" not in trace(events)
    assert host.lifetime.exit_code == 0


async def test_a_call_that_is_given_up_changes_nothing() -> None:
    """The service has no more time when the caller has gone: it is cancelled in time, and run again."""
    service = Puppet(drain=1000)
    host, events = build(service)

    async with host:
        began = anyio.current_time()
        with anyio.move_on_after(1):
            await host.restart("a")
        await anyio.sleep(100)
        service.times["drain"] = 0
        state = state_of(host)

    assert state == "started"
    assert instants(events, ServiceCancelled) == [("a", began + 20)]
    assert host.lifetime.exit_code == 0


@pytest.mark.parametrize("deaf", ["", "stop"])
async def test_a_stop_leaves_a_service_that_was_cancelled_the_time_it_had(deaf: str) -> None:
    """A service that cleans up after it was cancelled for a restart has all of its `cancellation_timeout`."""
    service = Puppet(drain=1000, stop=4, deaf=deaf)
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="a", stop_timeout=2)
    host = builder.build()

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(refused_restart, host)
        await anyio.sleep(3)  # it was cancelled at 2
        await host.stop()

    assert anyio.current_time() == 6
    assert not service.entered
    assert host.lifetime.exit_code == 0


@pytest.mark.parametrize(("stop_timeout", "seconds", "exit_code"), [(None, 15, 0), (12, 12, 1)])
async def test_a_stop_gives_a_service_that_drains_its_own_time(
    stop_timeout: float | None, seconds: float, exit_code: int
) -> None:
    """A stop that comes before the end of a restart's time gives the host's time anew, but no other `stop_timeout`."""
    service = Puppet(drain=15)
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=14))
    builder.add_service(service, name="a", stop_timeout=stop_timeout)
    host = builder.build()

    async with anyio.create_task_group() as group:
        await host.start()
        group.start_soon(refused_restart, host)
        await anyio.sleep(3)
        with contextlib.suppress(HostFailedError):
            await host.stop()

    assert anyio.current_time() == seconds
    assert host.lifetime.exit_code == exit_code


async def test_a_second_call_before_the_first_is_ready_is_a_restart_as_well() -> None:
    """A service that says itself when it is ready may return when it is asked before that: that is no failure."""
    ready: list[bool] = [True, False, True]

    async def service(stopping_token: StoppingToken, *, task_status: TaskStatus[None]) -> None:
        if ready.pop(0):
            task_status.started()
        await stopping_token.wait()

    host, _ = build(service, Puppet())
    async with host, anyio.create_task_group() as group:
        group.start_soon(host.restart, "a")
        await anyio.sleep(1)
        await host.restart("a")

    assert not ready
    assert host.lifetime.exit_code == 0


async def test_a_service_that_was_run_again_keeps_the_host() -> None:
    """A service that had returned, and waits for its turn to stop, counts as one that runs when it is run again."""
    service = Puppet(run=5)
    host, _ = build(service, Puppet(run=7))

    async with host:
        await anyio.sleep(6)
        await host.restart("a")
        await host.wait()

    assert anyio.current_time() == 6 + 5


async def test_a_run_that_is_ready_and_over_at_once_is_a_restart() -> None:
    """A service that returns in the very turn in which it is ready was restarted all the same."""
    runs: list[int] = []

    async def service(stopping_token: StoppingToken) -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            await stopping_token.wait()

    host, _ = build(service, Puppet())
    async with host:
        await host.restart("a")
        await host.restart("a")

    assert len(runs) == 3


async def test_a_drain_before_a_restart_is_no_stall() -> None:
    """A service that was asked to end is not watched any more, as at the stop of the host."""
    service = Puppet(drain=10)
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="a", heartbeat_timeout=2, on_failure=Restart(on_stall=True))

    async with builder.build() as host:
        await host.restart("a")
        status = host.service_status("a")

    assert (status.failures_in_a_row, status.last_failure) == (0, None)
    assert anyio.current_time() == 20


async def refused_restart(host: Host) -> None:
    """Restart a service of a host that begins to stop meanwhile."""
    with pytest.raises(HostStateError, match="begun to stop"):
        await host.restart("a")
