"""What follows when a service ends: restarts with exact delays, limits, groups, stop requests in between."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, PuppetError, build, trace

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    Restart,
    RestartLimitError,
    ServiceStuckError,
    StoppingToken,
    StopTimeoutError,
)
from hostkit.events import HostEvent, ServiceFailed, ServiceRestarting, ServiceStarting

EXACT = Backoff(initial=1, factor=2, maximum=30, jitter=0)


def supervised(
    service: HostedService,
    *,
    on_failure: EndAction | Restart = EndAction.STOP_HOST,
    on_return: EndAction | Restart = EndAction.IGNORE,
    options: HostOptions = QUIET,
) -> tuple[Host, list[HostEvent]]:
    """Return a host of *service*, named a, and a plain one."""
    builder = HostBuilder(options)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    builder.add_service(service, name="a", on_failure=on_failure, on_return=on_return)
    builder.add_service(Plain(), name="plain")
    return builder.build(), events


def starts(events: Sequence[HostEvent]) -> list[float]:
    """Return when the runs of service a began."""
    return [event.at for event in events if isinstance(event, ServiceStarting) and event.service == "a"]


async def test_restarts_after_growing_delays() -> None:
    """Each failure in a row doubles the delay, up to the maximum; stop() is called before each restart."""
    puppet = Puppet(run=1, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(limit=None, backoff=Backoff(1, 2, 5, 0)))

    async with host:
        await anyio.sleep(25)

    assert starts(events) == [0, 2, 5, 10, 16, 22]
    assert puppet.calls == ["start", "execute", "stop"] * 6
    assert host.lifetime.exit_code == 0


async def test_gives_up_after_the_limit() -> None:
    """A service is restarted `limit` times, then its last failure ends the host."""
    puppet = Puppet(run=0, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(limit=3, backoff=EXACT))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    error = caught.value.exceptions[0]
    told = [event for event in events if isinstance(event, ServiceFailed)]
    assert starts(events) == [0, 1, 3, 7]
    assert [event.retried for event in told] == [True, True, True, True, False]
    assert told[-1].error is error
    assert isinstance(error, RestartLimitError)
    assert (error.service, error.failures) == ("a", 4)
    assert isinstance(error.__cause__, PuppetError)
    assert len(caught.value.exceptions) == 1


async def test_the_end_after_the_limit_may_be_ignored() -> None:
    """With then=IGNORE the service is given up and the host goes on."""
    policy = Restart(limit=1, backoff=EXACT, then=EndAction.IGNORE)
    host, events = supervised(Puppet(run=0, fails="execute"), on_failure=policy)

    async with host:
        await anyio.sleep(10)
        status = host.status()

    assert status.services[0].state == "failed"
    assert status.services[0].restarts == 1
    assert status.healthy
    assert isinstance([event for event in events if isinstance(event, ServiceFailed)][-1].error, RestartLimitError)
    assert host.lifetime.exit_code == 0


async def test_a_run_that_lasted_starts_the_count_afresh() -> None:
    """A run of reset_after seconds starts the count and the delays afresh, so that it is never given up."""
    puppet = Puppet(run=10, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(limit=1, reset_after=10, backoff=EXACT))

    async with host:
        await anyio.sleep(50)
        puppet.fails = ""

    assert starts(events) == [0, 11, 22, 33, 44]


async def test_a_start_that_takes_long_does_not_count_as_a_run_that_lasted() -> None:
    """Only the time that the service was ready counts."""
    puppet = Puppet(start=50, run=0, fails="execute")
    host, _ = supervised(puppet, on_failure=Restart(limit=2, reset_after=40, backoff=EXACT))

    with pytest.raises(HostFailedError):
        async with host:
            await host.wait()

    assert puppet.calls.count("execute") == 3


async def test_returns_can_be_restarted_and_count_apart() -> None:
    """on_return=Restart runs a service again when it returns; past the limit there is no failure to be the cause."""
    host, events = supervised(Puppet(run=1), on_return=Restart(limit=2, backoff=EXACT))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert starts(events) == [0, 2, 5]
    assert isinstance(caught.value.exceptions[0], RestartLimitError)
    assert caught.value.exceptions[0].__cause__ is None


async def test_failures_in_start_and_stop_of_a_restart_count_as_failures() -> None:
    """A restart whose start or stop fails is one more failure; a run whose start failed gets no stop()."""
    puppet = Puppet(run=1, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(limit=2, backoff=EXACT))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await anyio.sleep(0.5)
            puppet.fails = "start execute stop"
            await host.wait()

    assert puppet.calls == ["start", "execute", "stop", "start", "start"]
    assert starts(events) == [0, 2, 4]
    assert [type(error) for error in caught.value.exceptions] == [RestartLimitError]


async def test_the_first_start_has_no_policy() -> None:
    """A failing first start fails the start of the host, whatever the policy."""
    puppet = Puppet(fails="start")
    host, _ = supervised(puppet, on_failure=Restart())

    with pytest.raises(HostFailedError):
        await host.start()

    assert puppet.calls == ["start"]


async def test_a_stop_during_the_delay_comes_through_at_once() -> None:
    """A service that waits to be restarted is already stopped when the stop begins."""
    puppet = Puppet(run=0, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(backoff=Backoff(100, 2, 100, 0)))

    async with host:
        await anyio.sleep(5)
        assert host.status().services[0].state == "restarting"
        assert not host.status().healthy

    assert anyio.current_time() == 5
    assert puppet.calls == ["start", "execute", "stop"]
    assert trace(events)[-1] == "stopped plain"
    assert host.status().services[0].state == "stopped"
    assert host.lifetime.exit_code == 0


async def test_a_stop_during_the_start_of_a_restart_cancels_it() -> None:
    """The pending start of a restart is cancelled as any pending start."""
    puppet = Puppet(run=0, fails="execute")
    host, events = supervised(puppet, on_failure=Restart(backoff=EXACT))

    async with host:
        puppet.times["start"] = 100
        await anyio.sleep(5)

    assert anyio.current_time() == 5
    assert "cancelled a" in trace(events)
    assert host.lifetime.exit_code == 0


async def test_no_restart_after_a_stop_request() -> None:
    """From the stop on every failure counts, and nothing is run again."""
    puppet = Puppet(fails="execute")
    host, _ = supervised(puppet, on_failure=Restart(backoff=EXACT))

    with pytest.raises(HostFailedError):
        async with host:
            pass

    assert puppet.calls == ["start", "execute", "stop"]


async def test_a_stop_during_the_stop_hook_of_a_failed_run_ends_it() -> None:
    """A failure that was to be recovered is no failure of the host when the stop comes first."""
    puppet = Puppet(run=1, stop=10, fails="execute")
    host, _ = supervised(puppet, on_failure=Restart(backoff=EXACT))

    async with host:
        await anyio.sleep(5)

    assert anyio.current_time() == 11
    assert puppet.calls == ["start", "execute", "stop"]
    assert host.lifetime.exit_code == 0


async def test_a_failing_stop_after_a_return_is_a_failure() -> None:
    """A stop() that fails before a restart for a return falls under on_failure."""
    host, _ = supervised(Puppet(run=1, fails="stop"), on_return=Restart(backoff=EXACT))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [PuppetError]


async def test_a_restart_announces_itself() -> None:
    """The event of a restart says after how long, and which it is."""
    host, events = supervised(Puppet(run=0, fails="execute"), on_failure=Restart(backoff=EXACT))

    async with host:
        await anyio.sleep(4)

    restarts = [event for event in events if isinstance(event, ServiceRestarting)]
    assert [(event.delay, event.restarts) for event in restarts] == [(1, 1), (2, 2), (4, 3)]


async def test_a_group_starts_and_stops_together() -> None:
    """add_services is one step: its members start side by side and stop side by side."""
    builder = HostBuilder(QUIET)
    builder.add_services(Puppet(start=3, drain=3), Puppet(start=2, drain=2), Puppet(start=1, drain=1))
    host = builder.build()

    async with host:
        assert anyio.current_time() == 3
        assert list(host.services) == ["puppet", "puppet-2", "puppet-3"]

    assert anyio.current_time() == 6


async def test_a_group_is_rolled_back_as_one() -> None:
    """When a member fails to start, pending starts are cancelled, and those that had started are stopped together."""
    builder = HostBuilder(QUIET)
    first = builder.add_service(Puppet())
    ready, failing, pending = Puppet(drain=2), Puppet(start=1, fails="start"), Puppet(start=100)
    builder.add_services(ready, failing, pending)
    late = builder.add_service(Puppet())
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert anyio.current_time() == 3
    assert (ready.calls, failing.calls) == (["start", "execute", "stop"], ["start"])
    assert (pending.calls, late.calls) == (["start"], [])
    assert first.calls == ["start", "execute", "stop"]
    assert len(caught.value.exceptions) == 1


async def test_all_failures_of_a_group_are_kept() -> None:
    """Members that fail at the same instant are all in the error."""
    builder = HostBuilder(QUIET)
    builder.add_services(*(Puppet(start=1, fails="start") for _ in range(3)))
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert len(caught.value.exceptions) == 3


async def test_a_service_timeout_cancels_that_service_alone() -> None:
    """A service past its stop_timeout is cancelled, and the others keep their time."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(drain=15))
    builder.add_service(Puppet(drain=100), stop_timeout=2)
    builder.add_service(Puppet(drain=1))
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert anyio.current_time() == 1 + 2 + 15


async def test_a_service_past_its_timeout_in_stop_is_cancelled_there() -> None:
    """The stop_timeout counts from the service's turn and covers its stop() too."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(drain=1, stop=100), stop_timeout=2)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert anyio.current_time() == 2


async def test_a_stop_that_follows_a_cancelled_execute_has_the_cancellation_timeout() -> None:
    """After execute was cancelled, stop() has what is left of the cancellation timeout; then it is cancelled too."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(drain=100, stop=100), stop_timeout=2)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError]
    assert anyio.current_time() == 2 + 5


async def test_a_stuck_service_with_policy_ignore_is_still_stuck() -> None:
    """No policy covers a service that ignores its cancellation."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(drain=100, deaf="execute"), on_failure=EndAction.IGNORE)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [ServiceStuckError]
    await anyio.sleep(100)


async def test_the_wait_for_a_restart_can_only_be_ended_by_the_host() -> None:
    """A service whose delay is cancelled with the services' group does not begin again."""

    class Breaking(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            await stopping_token.sleep(1)
            anyio.CancelScope().__enter__()

    puppet = Puppet(run=0, fails="execute")
    builder = HostBuilder(QUIET)
    builder.add_service(puppet, on_failure=Restart(backoff=Backoff(100, 2, 100, 0)))
    builder.add_service(Breaking())
    host = builder.build()

    with pytest.raises(HostFailedError):
        async with host:
            await host.wait()

    assert puppet.calls == ["start", "execute", "stop"]


async def test_services_of_a_built_host_run_on_both_lives() -> None:
    """Restart counts start afresh with each lifecycle."""
    host, events = supervised(Puppet(run=0, fails="execute"), on_failure=Restart(limit=2, backoff=EXACT))

    for _ in range(2):
        with pytest.raises(HostFailedError):
            async with host:
                await host.wait()

    assert starts(events) == [0, 1, 3, 3, 4, 6]


async def test_a_callback_of_a_token_that_fails_is_logged_and_keeps_no_other_from_running() -> None:
    """Errors of on_stop callbacks neither fail the service nor the host."""
    called = []

    async def service(stopping_token: StoppingToken) -> None:
        stopping_token.on_stop(lambda: 1 / 0)  # type: ignore[arg-type]
        stopping_token.on_stop(lambda: called.append("second"))
        await stopping_token.wait()

    host, _ = build(service, options=HostOptions(log_level="ERROR"))
    async with host:
        await anyio.sleep(1)

    assert called == ["second"]
    assert host.lifetime.exit_code == 0


async def test_a_service_that_ignores_the_stop_does_not_spin() -> None:
    """A loop that ignores the answer of sleep() really sleeps, until it is cancelled."""
    turns = 0

    async def ignorant(stopping_token: StoppingToken) -> None:
        nonlocal turns
        while True:
            turns += 1
            await stopping_token.sleep(10)

    host, _ = build(ignorant, options=HostOptions(log_level="CRITICAL", shutdown_timeout=5.5))
    with pytest.raises(HostFailedError):
        async with host:
            await anyio.sleep(1)

    # The one that the stop has ended, the first after it, which returns at once, and one a second.
    assert turns == 1 + 1 + 6


async def test_a_stop_while_a_restart_that_failed_cleans_up_waits_for_that() -> None:
    """A restart that failed before it was ready is in its stop() when the stop begins: that is not cut."""

    class Server(BackgroundService):
        def __init__(self) -> None:
            self.runs = self.stopped = 0

        async def execute(
            self, stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            self.runs += 1
            if self.runs == 1:
                task_status.started()
            raise PuppetError

        async def stop(self) -> None:
            await anyio.sleep(3)
            self.stopped += 1

    server = Server()
    host, _ = supervised(server, on_failure=Restart(backoff=EXACT))

    async with host:
        await anyio.sleep(5)  # in the stop() of the second run, which began at 3 + 1

    assert (server.runs, server.stopped) == (2, 2)
    assert anyio.current_time() == 3 + 1 + 3


@pytest.mark.parametrize(("start", "stop"), [(50, 0), (0, 50)], ids=["start", "stop"])
async def test_only_the_time_of_being_up_starts_the_count_afresh(start: float, stop: float) -> None:
    """Neither a start nor a clean-up that takes long makes a run one that lasted."""
    builder = HostBuilder(QUIET)
    policy = Restart(limit=1, reset_after=40, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(Puppet(start=start, run=1, stop=stop, fails="execute"), on_failure=policy)
    host = builder.build()
    await host.start()

    with pytest.raises(HostFailedError) as caught, anyio.fail_after(500):
        await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [RestartLimitError]


async def test_failures_and_returns_count_apart() -> None:
    """A service may return as often as it may fail, and the one does not use up the other."""
    ends = ["fails", "returns", "fails"]

    async def moody(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)
        if ends.pop(0) == "fails":
            raise OSError

    builder = HostBuilder(QUIET)
    policy = Restart(limit=1, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(moody, on_failure=policy, on_return=policy)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert not ends
    (error,) = caught.value.exceptions
    assert isinstance(error, RestartLimitError)
    assert error.failures == 2


class Odd(Backoff):
    """Delays of the user's own kind."""

    def delay(self, failures: int) -> float:
        return [timedelta(seconds=3), -1.0][failures - 1]  # type: ignore[return-value]  # wrong


async def test_a_backoff_that_fails_is_a_failure_of_its_service() -> None:
    """A delay may be a `timedelta`; a wrong one, and an error in it, stop the host in order, and come out of it."""
    builder = HostBuilder(QUIET)
    other = Puppet(drain=1)
    builder.add_service(other, name="b")
    builder.add_service(Puppet(run=1, fails="execute"), name="a", on_failure=Restart(backoff=Odd()))
    host = builder.build()

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="the delay of a Backoff must not be negative")):
        async with host:
            await host.wait()

    assert anyio.current_time() == 1 + 3 + 1 + 1
    assert other.calls == ["start", "execute", "stop"]


async def test_a_run_that_has_ended_has_its_token_set_at_last() -> None:
    """What a run has left behind is told when the next run begins, and at the stop of the host."""
    told: list[int] = []
    runs = iter(range(3))

    async def service(stopping_token: StoppingToken) -> None:
        run = next(runs)
        stopping_token.on_stop(lambda: told.append(run))
        if run < 2:
            raise PuppetError

    builder = HostBuilder(QUIET)
    builder.add_service(service, on_failure=Restart(backoff=Backoff(initial=1, factor=1, jitter=0)))
    builder.add_service(Puppet())

    async with builder.build():
        await anyio.sleep(0.5)
        assert told == [0]
        await anyio.sleep(5)
        assert told == [0, 1]

    assert told == [0, 1, 2]
