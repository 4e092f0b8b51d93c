"""The life of a host in somebody else's event loop: order, the one stop path, deadlines, what comes out."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextvars import ContextVar

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, PuppetError, build, instants, trace

from hostkit import (
    BackgroundService,
    EndAction,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostState,
    HostStateError,
    ServiceCancelledError,
    ServiceStuckError,
    StartupTimeoutError,
    StoppingToken,
    StopTimeoutError,
)
from hostkit.events import HostStarted, HostStopped, ServiceCancelled, ServiceStopped, StopRequested
from hostkit.jobs import JobQueue


async def failure_of(host: Host) -> HostFailedError:
    """Wait for *host* to fail."""
    with pytest.raises(HostFailedError) as caught:
        await host.wait()
    return caught.value


async def test_starts_in_order_and_stops_in_reverse() -> None:
    """Each service is ready before the next begins, and each has stopped before the one before it is told."""
    host, events = build(Puppet(start=1, drain=1), Puppet(start=2, stop=3))

    async with host:
        assert host.lifetime.state is HostState.STARTED

    assert trace(events) == [
        "starting a",
        "started a",
        "starting b",
        "started b",
        "stopping b",
        "stopped b",
        "stopping a",
        "stopped a",
    ]
    assert [type(event) for event in events if isinstance(event, (HostStarted, StopRequested, HostStopped))] == [
        HostStarted,
        StopRequested,
        HostStopped,
    ]
    assert [event.duration for event in events if isinstance(event, ServiceStopped)] == [3, 1]
    assert host.lifetime.exit_code == 0


async def test_the_hooks_of_a_run_share_task_and_context() -> None:
    """What start() opens, a task group or a context variable, execute() sees and stop() can close."""
    variable = ContextVar[str]("variable")
    seen: list[object] = []

    class Classic(BackgroundService):
        async def start(self) -> None:
            self.group = await anyio.create_task_group().__aenter__()
            self.group.start_soon(anyio.sleep_forever)
            variable.set("set in start")
            self.task = anyio.get_current_task().id

        async def execute(self, stopping_token: StoppingToken) -> None:
            seen.append((variable.get(), anyio.get_current_task().id == self.task))
            await stopping_token.wait()

        async def stop(self) -> None:
            seen.append((variable.get(), anyio.get_current_task().id == self.task))
            self.group.cancel_scope.cancel()
            await self.group.__aexit__(None, None, None)

    host, _ = build(Classic(), Puppet())
    async with host:
        await anyio.sleep(1)

    assert seen == [("set in start", True), ("set in start", True)]
    assert variable.get(None) is None


async def test_services_see_the_context_of_the_start() -> None:
    """Services run in a copy of the context in which the host was started."""
    variable = ContextVar[str]("variable")
    seen = []

    async def service(stopping_token: StoppingToken) -> None:
        seen.append(variable.get())
        variable.set("changed in the service")

    host, _ = build(service)
    variable.set("of the caller")
    await host.start()
    await host.wait()

    assert seen == ["of the caller"]
    assert variable.get() == "of the caller"


async def test_execute_runs_even_if_the_stop_comes_at_once() -> None:
    """A started service's execute runs exactly once, also when the host is stopped or hurried before its first step."""
    puppet = Puppet()
    host, _ = build(puppet)

    await host.start()
    await host.stop()

    assert puppet.calls == ["start", "execute", "stop"]


@pytest.mark.parametrize("hook", ["start", "execute", "stop"])
async def test_a_failure_comes_out_as_it_was_raised(hook: str) -> None:
    """A failing hook ends in a HostFailedError whose member is the error itself, with a note that names the service."""
    host, events = build(Puppet(), Puppet(run=1, fails=hook), Puppet())

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await anyio.sleep(2)

    assert [type(error) for error in caught.value.exceptions] == [PuppetError]
    assert caught.value.exceptions[0].__notes__ == ["service 'b'"]
    assert host.lifetime.exit_code == 1
    assert trace(events)[-1] == "stopped a"


async def test_a_failed_start_rolls_back_what_had_started() -> None:
    """A failed start stops what had started, in reverse; what failed or never started is not told."""
    first, second, third = Puppet(), Puppet(fails="start"), Puppet()
    host, events = build(first, second, third)

    with pytest.raises(HostFailedError):
        await host.start()

    assert trace(events) == [
        "starting a",
        "started a",
        "starting b",
        "failed b",
        "stopped b",
        "stopping a",
        "stopped a",
    ]
    assert (first.calls, second.calls, third.calls) == (["start", "execute", "stop"], ["start"], [])
    assert host.lifetime.state is HostState.STOPPED


async def test_the_cause_comes_first_then_what_the_rollback_adds() -> None:
    """A failing stop never hides the cause."""
    host, _ = build(Puppet(fails="stop"), Puppet(fails="start"))

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert [error.__notes__ for error in caught.value.exceptions] == [["service 'b'"], ["service 'a'"]]


async def test_a_failed_start_has_a_fresh_budget_for_the_rollback() -> None:
    """The roll-back's deadline counts from the failure, however long the start took."""
    host, _ = build(Puppet(drain=19), Puppet(start=50, fails="start"))

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert len(caught.value.exceptions) == 1
    assert anyio.current_time() == 50 + 19


async def test_a_start_that_takes_too_long_is_cancelled_and_named() -> None:
    """The startup timeout is one for the whole start; its error names the service that was late."""
    options = HostOptions(log_level="CRITICAL", startup_timeout=3)
    host, _ = build(Puppet(start=2), Puppet(start=2), options=options)

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    error = caught.value.exceptions[0]
    assert isinstance(error, StartupTimeoutError)
    assert error.services == ("b",)
    assert anyio.current_time() == 3


async def test_without_a_startup_timeout_a_start_may_take_as_long_as_it_likes() -> None:
    """None means no limit."""
    host, _ = build(Puppet(start=10_000), options=HostOptions(log_level="CRITICAL", startup_timeout=None))

    async with host:
        assert anyio.current_time() == 10_000


async def test_a_stop_during_the_start_cancels_the_pending_start_and_raises_nothing() -> None:
    """When a stop is asked for during the start, start() returns with a host that has stopped."""
    first, second = Puppet(), Puppet(start=50)
    host, events = build(first, second)

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop("changed my mind", exit_code=9)

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.exit_code == 9
    assert "cancelled b" in trace(events)
    assert second.calls == ["start"]
    assert first.calls == ["start", "execute", "stop"]
    assert anyio.current_time() == 1


async def test_a_stop_before_the_start_is_remembered() -> None:
    """A host that was asked to stop before it was started starts nothing."""
    puppet = Puppet()
    host, events = build(puppet)

    host.lifetime.request_stop("not today")
    await host.start()

    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.stop_reason == "not today"
    assert puppet.calls == []
    assert trace(events) == []


async def test_one_failing_stop_keeps_no_other_from_stopping() -> None:
    """Every service is stopped, and every failure kept."""
    puppets = [Puppet(fails="stop") for _ in range(3)]
    host, _ = build(*puppets)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [error.__notes__ for error in caught.value.exceptions] == [["service 'c'"], ["service 'b'"], ["service 'a'"]]


async def test_deadlines_are_absolute_and_shared() -> None:
    """At the end of the shutdown timeout every service is cancelled, last first; budgets never add up."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)
    host, events = build(Puppet(), Puppet(drain=8), Puppet(drain=8), options=options)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError, StopTimeoutError]
    assert [(event.service, event.at) for event in events if isinstance(event, ServiceCancelled)] == [
        ("b", 10),
        ("a", 10),
    ]
    assert anyio.current_time() == 10


async def test_a_deaf_service_starves_no_other() -> None:
    """From the shutdown timeout on each step has an equal share of what is left, and is told and cancelled."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)
    first = Puppet(stop=1)
    host, events = build(first, Puppet(), Puppet(deaf="execute", run=None, drain=0), options=options)
    deaf = host.services["c"]
    assert isinstance(deaf, Puppet)

    async with anyio.create_task_group() as group:
        # Else the deaf one would end as soon as its token is set.
        deaf.times["drain"] = 100
        deaf.deaf = "execute"

        with pytest.raises(HostFailedError) as caught:
            async with host:
                pass
        group.cancel_scope.cancel()

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError, StopTimeoutError, ServiceStuckError]
    assert first.calls == ["start", "execute", "stop"]
    assert [(event.service, event.at) for event in events if isinstance(event, ServiceCancelled)] == [
        ("c", 10),
        ("b", 12),
        ("a", 12),
    ]
    assert host.lifetime.exit_code == 3
    await anyio.sleep(200)


async def test_a_stop_hook_that_takes_too_long_is_cancelled() -> None:
    """A running stop() is cancelled at the shutdown timeout; one that begins later has until the very end."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)
    host, _ = build(Puppet(drain=30, stop=30), Puppet(stop=30), options=options)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [StopTimeoutError, StopTimeoutError]
    assert anyio.current_time() == 16
    assert host.lifetime.exit_code == 1


async def test_a_stop_hook_without_a_start_hook_is_cancelled_as_well() -> None:
    """It is stop() that is cancelled then, not the execute() that has ended."""

    class Slow(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            await stopping_token.wait()

        async def stop(self) -> None:
            await anyio.sleep(30)

    host, _ = build(Slow(), options=HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6))

    with pytest.raises(HostFailedError):
        async with host:
            pass

    assert anyio.current_time() == 10


async def test_a_stop_hook_whose_turn_comes_late_is_cancelled_at_the_very_end() -> None:
    """It is a timeout like any other, at a line of its own; the cancellation is told, and is no failure besides."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=10, cancellation_timeout=6)
    host, events = build(Puppet(run=1, stop=30), Puppet(drain=30), options=options)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await anyio.sleep(2)  # until its loop has ended and it waits for its turn

    errors = caught.value.exceptions
    cancelled = [event for event in events if isinstance(event, ServiceCancelled)]
    assert [type(error) for error in errors] == [StopTimeoutError, StopTimeoutError]
    assert "'a'" in str(errors[1])
    assert "puppet.py" in str(errors[1])
    assert [(event.at, event.service, event.reason) for event in cancelled] == [
        (12, "b", "the shutdown_timeout has passed"),
        (18, "a", "no time is left"),
    ]


async def test_a_service_timeout_only_shortens() -> None:
    """A service past its own stop timeout is cancelled; the ladder goes on when its cancellation timeout has passed."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=20, cancellation_timeout=5))
    first = builder.add_service(Puppet())
    builder.add_service(Puppet(deaf="execute", drain=100), name="deaf", stop_timeout=2)
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            pass

    assert [type(error) for error in caught.value.exceptions] == [ServiceStuckError]
    assert anyio.current_time() == 2 + 5
    assert first.calls == ["start", "execute", "stop"]
    await anyio.sleep(200)


async def test_a_start_that_ignores_its_cancellation_is_abandoned() -> None:
    """A pending start has the cancellation timeout to end, from the stop's first instant."""
    host, _ = build(Puppet(), Puppet(start=100, deaf="start"))

    async with anyio.create_task_group() as group:
        group.start_soon(expect_failure, host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert anyio.current_time() == 1 + 5
    assert host.lifetime.exit_code == 3
    with pytest.raises(HostStateError, match="last lifecycle still run: 'b'"):
        await host.start()
    await anyio.sleep(200)


async def expect_failure(function: Callable[[], Coroutine[object, object, None]]) -> None:
    """Call *function*, which raises a `HostFailedError`."""
    with pytest.raises(HostFailedError):
        await function()


async def test_a_foreign_cancellation_is_a_failure() -> None:
    """A cancellation that the host did not cause is a ServiceCancelledError, not a quiet end; stop() is called."""

    class Cancelled(Puppet):
        async def start(self) -> None:
            await super().start()
            self.group = await anyio.create_task_group().__aenter__()

        async def execute(self, stopping_token: StoppingToken) -> None:
            await stopping_token.sleep(1)
            self.group.cancel_scope.cancel()
            await anyio.sleep_forever()

        async def stop(self) -> None:
            self.calls.append("stop")
            await self.group.__aexit__(None, None, None)

    puppet = Cancelled()
    host, _ = build(puppet)
    await host.start()

    failure = await failure_of(host)

    assert [type(error) for error in failure.exceptions] == [ServiceCancelledError]
    assert puppet.calls == ["start", "stop"]


async def test_exit_requests_come_out_as_they_are() -> None:
    """SystemExit raised in a service is an ordered stop with its code, and then comes out."""

    async def leaving(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)
        raise SystemExit(7)

    puppet = Puppet()
    host, _ = build(puppet, leaving)

    with pytest.raises(SystemExit) as caught:
        async with host:
            await host.lifetime.wait_stopping()

    assert caught.value.code == 7
    assert host.lifetime.exit_code == 7
    assert puppet.calls == ["start", "execute", "stop"]


async def test_an_exit_request_in_a_group_is_found_and_the_rest_fails() -> None:
    """A leaf of a group counts as well; what else is in the group is the cause, and gives the exit code."""

    async def leaving(stopping_token: StoppingToken) -> None:
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("besides")])

    host, _ = build(leaving)
    await host.start()

    with pytest.raises(KeyboardInterrupt) as caught:
        await host.wait()

    assert isinstance(caught.value.__cause__, HostFailedError)
    assert host.lifetime.exit_code == 1


async def test_a_service_cannot_wait_for_its_own_host() -> None:
    """A service that awaits its own host's stop() or wait() gets an error that names request_stop()."""
    errors: list[str] = []

    async def impatient(stopping_token: StoppingToken) -> None:
        for method in (host.wait, host.stop):
            try:
                await method()
            except HostStateError as error:
                errors.append(str(error))

    host, _ = build(impatient, Plain())
    await host.start()
    await host.wait()

    assert errors == [
        f"service 'a' awaits {method} of its own host, which waits for that service; "
        "call lifetime.request_stop() instead"
        for method in ("wait()", "stop()")
    ]
    assert host.lifetime.exit_code == 0


async def test_a_service_can_wait_for_another_host() -> None:
    """A service may stop and wait for a host that it is no part of, such as one that it has started."""
    inner, events = build(Plain())

    async def nesting(stopping_token: StoppingToken) -> None:
        await inner.start()
        await inner.stop()
        await inner.wait()

    host, _ = build(nesting)
    await host.start()
    await host.wait()

    assert trace(events) == ["starting a", "started a", "stopping a", "stopped a"]
    assert host.lifetime.exit_code == 0


async def test_a_stopped_host_can_be_started_again() -> None:
    """A stopped host starts afresh: state, reason and failure are those of the new lifecycle."""
    puppet = Puppet(run=1, fails="execute")
    host, _ = build(puppet, Plain())
    await host.start()
    await failure_of(host)

    puppet.fails = ""
    async with host:
        assert host.lifetime.failure is None
        assert host.lifetime.stop_reason is None
        assert host.lifetime.exit_code == 0
        with pytest.raises(HostStateError, match="started"):
            await host.start()

    assert puppet.calls == ["start", "execute", "stop"] * 2


async def test_a_host_that_was_started_before_a_fork_names_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process than the one that has started it, a second start says where the host is to be made."""
    host, _ = build(Plain())
    async with host:
        other = os.getpid() + 1
        monkeypatch.setattr(os, "getpid", lambda: other)
        with pytest.raises(HostStateError, match="forked after the host was started; make the host in the child"):
            await host.start()
        monkeypatch.undo()


async def test_the_host_ends_when_nothing_is_left_to_do() -> None:
    """When every service is a background service and all have ended, the host stops and stays ready."""
    host, _ = build(Puppet(run=1), Puppet(run=2, fails=""))
    await host.start()
    await host.wait()

    assert anyio.current_time() == 2
    assert host.lifetime.exit_code == 0
    assert host.lifetime.stop_reason == "nothing left to do: every service has ended"
    assert host.status().ready


async def test_a_host_waits_on_while_it_has_services_without_a_loop() -> None:
    """When only idle hosted services remain, the host goes on until it is stopped."""
    plain = Plain()
    host, _ = build(plain, Puppet(run=1))

    async with host:
        await anyio.sleep(100)
        assert host.lifetime.state is HostState.STARTED

    assert plain.stopped == 1


async def test_a_host_without_services_ends_at_once() -> None:
    """A host with nothing to do starts and ends."""
    host, _ = build()

    await host.start()
    await host.wait()

    assert host.lifetime.state is HostState.STOPPED


@pytest.mark.parametrize("on_failure", [EndAction.IGNORE, EndAction.STOP_HOST])
async def test_on_failure_decides(on_failure: EndAction) -> None:
    """A failure that is ignored is in the status, and neither in the exit code nor in the error."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(run=1, fails="execute"), name="a", on_failure=on_failure)
    builder.add_service(Plain())
    host = builder.build()

    await host.start()
    await anyio.sleep(2)

    ignored = on_failure is EndAction.IGNORE
    status = host.status()
    assert status.services[0].last_failure == "PuppetError: execute"
    assert status.services[0].state == "failed"
    assert status.healthy is ignored
    assert status.ready is ignored
    if ignored:
        await host.stop()
    else:
        with pytest.raises(HostFailedError):
            await host.stop()


async def test_on_return_decides() -> None:
    """With on_return=STOP_HOST the end of the service is the end of the host."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(run=3), name="a", on_return=EndAction.STOP_HOST)
    builder.add_service(Plain())
    host = builder.build()

    await host.start()
    await host.wait()

    assert anyio.current_time() == 3
    assert host.lifetime.stop_reason == "service 'a' has returned"
    assert host.lifetime.exit_code == 0


async def test_task_status_makes_a_service_ready() -> None:
    """A service with a keyword parameter task_status is ready when it says so."""

    class Server(BackgroundService):
        async def execute(
            self, stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            await anyio.sleep(3)
            task_status.started()
            with pytest.raises(HostStateError, match="twice"):
                task_status.started()
            await stopping_token.wait()

    host, _ = build(Server())
    async with host:
        assert anyio.current_time() == 3


@pytest.mark.parametrize("ending", ["fails", "returns"])
async def test_a_service_that_ends_before_it_is_ready_fails_the_start(ending: str) -> None:
    """An execute that fails or returns before started() is a failed start, but its stop() is called."""

    class Server(HostedServiceWithStop):
        async def execute(
            self, stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            await anyio.sleep(1)
            if ending == "fails":
                raise PuppetError(ending)

    server = Server()
    host, _ = build(Puppet(), server)

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    assert [type(error) for error in caught.value.exceptions] == [PuppetError if ending == "fails" else HostStateError]
    assert server.stopped == 1


async def test_a_start_by_task_status_that_is_cut_has_its_stop_called() -> None:
    """An execute that is stopped before started() is a cancelled start, but its stop() is called."""

    class Server(HostedServiceWithStop):
        async def execute(
            self, stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            try:
                await anyio.sleep(100)
            finally:
                task_status.started()  # too late

    server = Server()
    host, events = build(server)

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert trace(events) == ["starting a", "cancelled a", "stopped a"]
    assert server.stopped == 1
    assert host.lifetime.exit_code == 0


class HostedServiceWithStop(BackgroundService):
    """A base for services that count their stops."""

    def __init__(self) -> None:
        self.stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


async def test_a_start_that_swallows_its_cancellation_is_stopped_and_not_run() -> None:
    """From the stop on nothing new starts: a start() that returns all the same is followed by stop() alone."""

    class Stubborn(Puppet):
        async def start(self) -> None:
            self.calls.append("start")
            try:
                await anyio.sleep(100)
            except anyio.get_cancelled_exc_class():
                return  # that is the fault

        async def stop(self) -> None:
            self.calls.append("stop")

    stubborn = Stubborn()
    host, _ = build(stubborn)

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert stubborn.calls == ["start", "stop"]
    assert host.lifetime.exit_code == 0


async def test_a_stop_after_a_failed_start_has_its_time() -> None:
    """A service that failed before it was ready, and cleans up already, is not given up as one that starts."""

    class Slow(BackgroundService):
        stopped_at = 0.0

        async def execute(self, stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None]) -> None:  # type: ignore[override]  # also
            raise PuppetError

        async def stop(self) -> None:
            await anyio.sleep(15)
            self.stopped_at = anyio.current_time()

    slow = Slow()
    host, events = build(slow)

    with pytest.RaisesGroup(PuppetError):
        await host.start()

    assert slow.stopped_at == 15
    assert "cancelled a" not in trace(events)


async def test_hooks_of_one_object_count_as_well() -> None:
    """An object may be given hooks of its own, with no class for it."""
    called: list[str] = []

    async def opened() -> None:
        called.append("open")

    async def closed() -> None:
        called.append("closed")

    async def check() -> None:
        raise PuppetError

    adapter = HostedService()
    adapter.start, adapter.stop, adapter.check = opened, closed, check  # type: ignore[method-assign]  # so
    adapter.details = lambda: {"a": 1}  # type: ignore[method-assign]  # likewise
    host, _ = build(adapter)

    async with host:
        details = host.service_status("a").details
        problem = (await host.check())["a"]

    assert called == ["open", "closed"]
    assert details == {"a": 1}
    assert isinstance(problem, PuppetError)


@pytest.mark.parametrize("opens", [False, True])
async def test_a_stop_after_a_start_that_withstood_has_its_time(*, opens: bool) -> None:
    """What a shielded start() has opened is closed in order; a scope that it has left open can be left all the same."""

    class Pool(HostedService):
        async def start(self) -> None:
            if opens:
                self.group = await anyio.create_task_group().__aenter__()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)

        async def stop(self) -> None:
            if opens:
                await self.group.__aexit__(None, None, None)
            else:
                await anyio.sleep(3)
                closed_at.append(anyio.current_time())

    closed_at: list[float] = []
    host, events = build(Pool())

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert closed_at == ([] if opens else [5])
    assert trace(events) == ["starting a", "cancelled a", "stopped a"]
    assert host.lifetime.exit_code == 0


async def test_wait_before_the_start_is_misuse() -> None:
    """There is nothing to wait for before the start; stop() is remembered."""
    host, _ = build(Puppet())

    with pytest.raises(HostStateError, match="has not been started"):
        await host.wait()
    await host.stop("never mind")

    assert host.lifetime.stop_reason == "never mind"


async def test_every_call_raises_a_new_group_over_the_same_failures() -> None:
    """One error object raised again and again would pile up tracebacks."""
    host, _ = build(Puppet(run=1, fails="execute"))
    await host.start()

    first, second = await failure_of(host), await failure_of(host)

    assert first is not second
    assert first.exceptions == second.exceptions


@pytest.mark.long
async def test_ten_thousand_services() -> None:
    """Many services start and stop; the event loop turns meanwhile."""
    builder = HostBuilder(QUIET)

    class Small(BackgroundService):
        async def execute(self, stopping_token: StoppingToken) -> None:
            await stopping_token.wait()

    for _ in range(10_000):
        builder.add_service(Small)
    host = builder.build()

    async with host:
        assert len(host.services) == 10_000
        assert list(host.services)[-1] == "small-10000"

    assert all(status.state == "stopped" for status in host.status().services)


async def test_services_are_read_only() -> None:
    """The mapping of services cannot be changed."""
    host, _ = build(Plain())

    with pytest.raises(TypeError):
        host.services["b"] = HostedService()  # type: ignore[index]


async def test_a_cancellation_says_why() -> None:
    """The event of a cancellation names its reason and the line where the service was."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=5))
    events: list[ServiceCancelled] = []
    builder.on_event(lambda event: events.append(event) if isinstance(event, ServiceCancelled) else None)
    builder.add_service(Puppet(drain=100))
    builder.add_service(Puppet(drain=100), stop_timeout=1)
    builder.add_service(Puppet(start=100))
    host = builder.build()

    async with anyio.create_task_group() as group:
        group.start_soon(expect_failure, host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop()

    assert [event.reason for event in events] == [
        "its start was pending",
        "its stop_timeout has passed",
        "the shutdown_timeout has passed",
    ]
    assert all("puppet.py" in (event.waiting_at or "") for event in events)


async def test_the_first_exit_request_wins() -> None:
    """Of several services that ask to exit, the first one's code is the host's."""

    def leaving(after: float, code: int) -> Callable[[StoppingToken], Coroutine[object, object, None]]:
        async def service(stopping_token: StoppingToken) -> None:
            await anyio.sleep(after)
            raise SystemExit(code)

        return service

    builder = HostBuilder(QUIET)
    builder.add_service(leaving(2, 8), name="second")
    builder.add_service(leaving(1, 7), name="first")
    host = builder.build()
    await host.start()

    with pytest.raises(SystemExit):
        await host.wait()

    assert host.lifetime.exit_code == 7


async def test_a_services_own_generator_exit_is_an_exit() -> None:
    """A service that raises `GeneratorExit` itself stops the host like any other that asks to exit."""

    async def leaving() -> None:
        raise GeneratorExit

    host, events = build(Puppet(), leaving)

    with pytest.raises(GeneratorExit):
        async with host:
            await host.wait()

    assert trace(events)[-1] == "stopped a"
    assert host.lifetime.stop_reason == "service 'b' raised GeneratorExit()"
    assert host.lifetime.exit_code == 1


@pytest.mark.parametrize("service", [Puppet, Plain])
def test_a_run_that_is_closed_without_its_loop_goes_silently(service: type[HostedService]) -> None:
    """When a loop was closed under a host, the collector may close what its tasks ran: nothing can be awaited then."""
    host, events = build(service())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(host.start())
    loop.close()
    told = len(events)
    assert host._runner.lifecycle is not None
    (supervisor,) = host._runner.lifecycle.supervisors.values()
    assert supervisor.run._handle is not None

    supervisor.run._handle.coro.close()  # which would say so if the coroutine went on

    assert len(events) == told


async def test_a_late_service_of_a_library_is_named_with_the_lines_of_its_tasks() -> None:
    """Where a service has no line of its own, as a queue has none, those of its tasks are told; else they are not."""

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep_forever()

    async def child() -> None:
        await anyio.sleep_forever()

    queue = JobQueue()
    host, _ = build(queue, parent)

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await queue.enqueue(child)
            await anyio.sleep(1)

    own, tasks = map(str, caught.value.exceptions)
    assert own.endswith(f" in {parent.__qualname__}")
    assert ";" not in own
    assert tasks.endswith(f" in {child.__qualname__}")


def test_a_service_has_no_details_of_its_own() -> None:
    """A service that says nothing of itself can still be asked, as by a subclass that adds to it."""
    assert HostedService().details() == {}


async def test_a_late_start_names_only_what_is_late() -> None:
    """The error of a start that takes too long names the late members of the group, and not the others."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", startup_timeout=5))
    builder.add_service(Puppet(start=1), name="before")
    builder.add_services(Puppet(start=1), Puppet(start=100))
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        await host.start()

    (error,) = caught.value.exceptions
    assert isinstance(error, StartupTimeoutError)
    assert error.services == ("puppet-2",)


async def test_a_service_that_is_done_is_cleaned_up_at_its_turn() -> None:
    """A service whose execute has ended has its stop() called when all that started after it have stopped."""
    first, second = Puppet(run=1, stop=1), Puppet(drain=2)
    host, events = build(first, second)
    await host.start()
    await anyio.sleep(5)
    before = list(first.calls)

    await host.stop()

    assert before == ["start", "execute"]
    assert instants(events, ServiceStopped) == [("b", 5 + 2), ("a", 5 + 2 + 1)]
