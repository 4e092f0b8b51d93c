"""`Host.check`: whether the services are well."""

from asyncio import CancelledError
from collections.abc import Mapping
from datetime import timedelta

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, PuppetError, build

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    HostBuilder,
    HostedService,
    HostOptions,
    HostStateError,
    Restart,
    ServiceStuckError,
    StoppingToken,
)


class Checked(HostedService):
    """A service with an answer."""

    def __init__(self, error: BaseException | None = None, delay: float = 0) -> None:
        self.error = error
        self.delay = delay

    async def check(self) -> None:
        await anyio.sleep(self.delay)
        if self.error is not None:
            raise self.error


async def test_checks_are_asked_side_by_side() -> None:
    """Every service's check() is asked; each answer is reported, in start order."""
    error = OSError("no route")
    host, _ = build(Checked(delay=2), Checked(error, delay=2), Checked(delay=100), Plain())

    results: Mapping[str, Exception | None] = {}
    async with host:
        results = await host.check(timeout=timedelta(seconds=3))

    assert anyio.current_time() == 3
    assert list(results) == ["a", "b", "c", "d"]
    assert results["a"] is results["d"] is None
    assert results["b"] is error
    assert isinstance(results["c"], TimeoutError)
    assert str(results["c"]) == "check() of service 'c' took longer than 3 s"


@pytest.mark.parametrize("error", [SystemExit(4), KeyboardInterrupt(), GeneratorExit(), CancelledError()])
async def test_whatever_ends_a_check_is_its_answer(error: BaseException) -> None:
    """A check that awaits what other code has cancelled is not well; nor is one that would leave the process."""
    host, _ = build(Checked(error), Checked(delay=1))

    results: Mapping[str, Exception | None] = {}
    async with host:
        results = await host.check()

    problem = results["a"]
    assert isinstance(problem, HostStateError)
    assert str(problem) == f"check() of service 'a' raised {error!r}"
    assert problem.__cause__ is error
    assert results["b"] is None


async def test_the_caller_of_the_checks_may_be_cancelled() -> None:
    """A cancellation of the caller ends the checks, and is no answer."""
    host, _ = build(Checked(delay=100))

    async with host:
        with anyio.move_on_after(2) as scope:
            await host.check(timeout=50)

    assert scope.cancelled_caught
    assert anyio.current_time() == 2


async def test_a_service_without_a_check_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of a thousand of them makes no task for each."""
    asked: list[HostedService] = []

    async def check(service: HostedService) -> None:
        asked.append(service)

    monkeypatch.setattr(HostedService, "check", check)
    host, _ = build(Plain(), Checked())

    async with host:
        results = await host.check()

    assert dict(results) == {"a": None, "b": None}
    assert not asked


async def test_a_check_has_five_seconds() -> None:
    """Each check, not all of them together."""
    host, _ = build(Checked(delay=4.9), Checked(delay=5.1))

    results: Mapping[str, Exception | None] = {}
    async with host:
        results = await host.check()

    assert [type(error) for error in results.values()] == [type(None), TimeoutError]
    assert anyio.current_time() == 5


async def test_a_wrong_timeout_of_a_check_is_refused() -> None:
    """The timeout is a duration."""
    host, _ = build(Plain())

    with pytest.raises(ValueError, match="timeout must not be negative"):
        await host.check(timeout=-1)


class Asked(BackgroundService):
    """Counts how often it is asked; its loop does what it is given."""

    def __init__(self, run: float | None = None, *, fails: bool = False, start: float = 0) -> None:
        self.asked = 0
        self.run = run
        self.fails = fails
        self.time_to_start = start

    async def start(self) -> None:
        await anyio.sleep(self.time_to_start)

    async def execute(self, stopping_token: StoppingToken) -> None:
        if self.run is None:
            await stopping_token.wait()
        elif not await stopping_token.sleep(self.run) and self.fails:
            raise PuppetError("dead")

    async def check(self) -> None:
        self.asked += 1


async def problem_of(
    service: Asked, after: float, on_failure: EndAction | Restart = EndAction.IGNORE
) -> Exception | None:
    """Return what is wrong with *service*, so many seconds after the start of its host has begun."""
    builder = HostBuilder(QUIET)
    builder.add_service(service, name="feed", on_failure=on_failure)
    builder.add_service(Puppet(), name="other")
    host = builder.build()
    results: Mapping[str, Exception | None] = {}

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(after)
        results = await host.check()
        await host.stop()
    assert results["other"] is None or service.time_to_start
    return results["feed"]


async def test_a_service_that_has_failed_is_not_well() -> None:
    """A failure is a problem, also one that is ignored; its `check()` is not asked."""
    service = Asked(1, fails=True)

    problem = await problem_of(service, 2)

    assert isinstance(problem, HostStateError)
    assert str(problem) == "service 'feed' has failed: PuppetError: dead"
    assert isinstance(problem.__cause__, PuppetError)
    assert service.asked == 0


async def test_a_service_that_waits_for_its_restart_is_not_well() -> None:
    """A service that is to be restarted does not work now."""
    service = Asked(1, fails=True)

    problem = await problem_of(service, 2, Restart(backoff=Backoff(initial=10, jitter=0)))

    assert str(problem) == "service 'feed' has ended and is to be restarted: PuppetError: dead"
    assert service.asked == 0


async def test_a_service_that_starts_is_not_well() -> None:
    """Before it is ready, a service is not asked."""
    service = Asked(start=5)

    problem = await problem_of(service, 2)

    assert str(problem) == "service 'feed' is not ready yet"
    assert service.asked == 0


async def test_a_service_that_returned_is_well() -> None:
    """A return that was fine is no problem; the service is not asked any more."""
    service = Asked(1)

    assert await problem_of(service, 2) is None
    assert service.asked == 0


async def test_a_host_that_was_not_started_is_not_well() -> None:
    """Before the first start no service is."""
    host, _ = build(Asked(), Plain())

    results = await host.check()

    assert [str(error) for error in results.values()] == [
        "service 'a' has not been started",
        "service 'b' has not been started",
    ]


async def test_a_service_behind_one_that_starts_is_not_well() -> None:
    """A service whose turn in the start has not come has not been started."""
    host, _ = build(Asked(start=5), Asked())
    results: Mapping[str, Exception | None] = {}

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        results = await host.check()
        await host.stop()

    assert str(results["b"]) == "service 'b' has not been started"


async def test_a_service_that_is_stalled_is_not_well() -> None:
    """A service that is silent for too long is not asked."""

    async def silent(stopping_token: StoppingToken) -> None:
        await anyio.sleep(1)
        stopping_token.beat()
        await anyio.sleep(100)
        await stopping_token.wait()

    builder = HostBuilder(QUIET)
    builder.add_service(silent, heartbeat_timeout=10)
    results: Mapping[str, Exception | None] = {}
    async with builder.build() as host:
        await anyio.sleep(13)
        results = await host.check()
        await anyio.sleep(100)

    assert str(results["silent"]) == "service 'silent' is stalled: silent for 12.0 s"


async def test_a_service_that_was_abandoned_is_not_well() -> None:
    """A service that ignores its cancellation has a problem for good."""
    options = HostOptions(log_level="CRITICAL", shutdown_timeout=1, cancellation_timeout=1)
    host, _ = build(Puppet(deaf="execute", drain=100), options=options)
    await host.start()
    with pytest.RaisesGroup(ServiceStuckError):
        await host.stop()

    results = await host.check()

    assert str(results["a"]).startswith("service 'a' was abandoned: ServiceStuckError: service 'a' ignores ")
    await anyio.sleep(100)


async def test_a_service_is_asked_while_it_stops() -> None:
    """A service that stops in order is still asked."""
    host, _ = build(Checked(OSError("no route")), Puppet(drain=5))
    results: Mapping[str, Exception | None] = {}
    await host.start()
    host.lifetime.request_stop()
    await anyio.sleep(1)
    results = await host.check()
    await host.stop()

    assert isinstance(results["a"], OSError)
