"""The promises of the design, section 4, checked against the recorded events of random scenarios, on both backends.

Each scenario is a random host (services and groups that take their time, fail, restart, ignore their cancellation), a
random cause of the stop and random deadlines, on virtual time.
"""

import math
import re
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from puppet import Puppet

from hostkit import (
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostState,
    Restart,
    RestartLimitError,
    ServiceStuckError,
    StopTimeoutError,
)
from hostkit.events import (
    HostEvent,
    HostStarted,
    HostStopped,
    ServiceAbandoned,
    ServiceCancelled,
    ServiceEvent,
    ServiceFailed,
    ServiceRestarting,
    ServiceStarted,
    ServiceStarting,
    ServiceStopped,
    ServiceStopping,
    StopRequested,
)
from hostkit.testing import virtual_time

pytestmark = pytest.mark.needs("trio")
POLICIES = (
    EndAction.STOP_HOST,
    EndAction.IGNORE,
    Restart(limit=1, reset_after=3, backoff=Backoff(1, 2, 4, 0)),
    Restart(limit=None, backoff=Backoff(1, 2, 4, 0)),
)
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
NEVER_MIND = 60.0  # after so long a scenario that has no other end is stopped


@dataclass(frozen=True)
class Script:
    """What one service does."""

    start: float = 0
    run: float | None = None
    drain: float = 0
    stop: float = 0
    fails: tuple[str, ...] = ()
    deaf: tuple[str, ...] = ()
    policy: EndAction | Restart = EndAction.STOP_HOST
    on_return: EndAction | Restart = EndAction.IGNORE


@dataclass(frozen=True)
class Scenario:
    """A host, and how it ends."""

    steps: tuple[tuple[Script, ...], ...]
    cause: str = "request"
    at: float = 1.5
    shutdown: float = 10
    cancellation: float = 4


@dataclass
class Outcome:
    """What happened."""

    events: list[HostEvent]
    names: list[list[str]]
    ready: list[bool]
    error: BaseException | None
    host: Host
    puppets: dict[str, Puppet] = field(default_factory=dict)

    def first(self, kind: type[HostEvent]) -> int:
        """Return the place of the first event of *kind*, or one past the last event."""
        return next((place for place, event in enumerate(self.events) if isinstance(event, kind)), len(self.events))

    def places(self, kind: type[ServiceEvent], service: str) -> list[int]:
        """Return the places of the events of *kind* of one service."""
        return [
            place for place, event in enumerate(self.events) if isinstance(event, kind) and event.service == service
        ]


times = st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0])
hooks = st.lists(st.sampled_from(["start", "execute", "stop"]), max_size=1).map(tuple)
scripts = st.builds(
    Script,
    start=times,
    run=st.sampled_from([None, None, None, 1.0, 3.0]),
    drain=times,
    stop=times,
    fails=st.one_of(st.just(()), hooks),
    deaf=st.one_of(st.just(()), st.just(()), hooks),
    policy=st.sampled_from(POLICIES),
    on_return=st.sampled_from(POLICIES[:3]),
)
scenarios = st.builds(
    Scenario,
    steps=st.lists(st.lists(scripts, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple),
    cause=st.sampled_from(["request", "request", "scope", "stop", "nothing"]),
    at=st.sampled_from([0.0, 0.5, 1.5, 4.5, 7.5]),
    shutdown=st.sampled_from([0.0, 1.0, 3.0, 10.0]),
    cancellation=st.sampled_from([0.0, 1.0, 4.0]),
)


def play(scenario: Scenario, backend: str) -> Outcome:
    """Play *scenario* on virtual time."""
    name, options = virtual_time(backend)
    return anyio.run(_play, scenario, backend=name, backend_options=options)


async def _play(scenario: Scenario) -> Outcome:
    builder = HostBuilder(
        HostOptions(
            log_level="CRITICAL", shutdown_timeout=scenario.shutdown, cancellation_timeout=scenario.cancellation
        )
    )
    events: list[HostEvent] = []
    ready: list[bool] = []
    names: list[list[str]] = []
    puppets: dict[str, Puppet] = {}
    for number, step in enumerate(scenario.steps):
        names.append([])
        # A group has one policy, that of its first member.
        members: list[Puppet] = []
        for script in step:
            # No two things at one instant: their order would be a toss-up.
            odd = math.sqrt(PRIMES[len(puppets) + len(members)]) / 1000
            puppet = Puppet(
                start=script.start + odd,
                run=None if script.run is None else script.run + odd * 1.1,
                drain=script.drain + odd * 1.3,
                stop=script.stop + odd * 1.7,
                fails=" ".join(script.fails),
                deaf=" ".join(script.deaf),
            )
            members.append(puppet)
        builder.add_services(*members, on_failure=step[0].policy, on_return=step[0].on_return)
        for puppet, registration in zip(members, builder._steps[number], strict=True):
            names[-1].append(registration.name)
            puppets[registration.name] = puppet
    lifetime = builder.lifetime
    builder.on_event(events.append)
    builder.on_event(lambda event: ready.append(lifetime.status().ready))
    host = builder.build()
    error: BaseException | None = None
    try:
        await _end(host, scenario)
    except HostFailedError as failure:
        error = failure
    # What was abandoned ends now, so that the loop can.
    await anyio.sleep(200)
    return Outcome(events, names, ready, error, host, puppets)


async def _end(host: Host, scenario: Scenario) -> None:
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:

            async def stop() -> None:
                await anyio.sleep(NEVER_MIND if scenario.cause == "nothing" else scenario.at)
                if scenario.cause == "scope":
                    scope.cancel()
                else:
                    host.lifetime.request_stop("as the scenario wants it")

            group.start_soon(stop)
            try:
                await host.start()
                if scenario.cause == "scope":
                    async with _Leaving(host):
                        await host.wait()
                await host.wait()
            except HostFailedError:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await host.lifetime.wait_stopped()
                scope.cancel()
        group.cancel_scope.cancel()
    if host.lifetime.failure is not None:
        raise host.lifetime.failure


class _Leaving:
    """Stops a host when its body is cancelled, as ``async with host`` does after its start."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def __aenter__(self) -> None:
        """Do nothing: the host was started."""

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._host.stop()


def check(scenario: Scenario, outcome: Outcome) -> None:
    """Check every promise."""
    check_well_formed(outcome)
    check_order_of_start(outcome)
    check_nothing_starts_after_the_stop(outcome)
    check_hooks(outcome)
    check_deadlines(scenario, outcome)
    check_reverse(scenario, outcome)
    check_rungs(outcome)
    check_failures(outcome)
    check_readiness(outcome)


def check_well_formed(outcome: Outcome) -> None:
    """Each run: starting, then perhaps started, stopping, cancelled, failed, and one end; runs are tied by restarts."""
    letters = {
        ServiceStarting: "s",
        ServiceStarted: "r",
        ServiceStopping: "t",
        ServiceCancelled: "c",
        ServiceFailed: "f",
        ServiceStopped: "g",
        ServiceAbandoned: "a",
        ServiceRestarting: "R",
    }
    run = "s(cf*|f*|r(f*t?f*c?f*))(g|a)"
    whole = re.compile(f"({run}R)*({run}f?)?")
    for service in outcome.puppets:
        trace = "".join(
            letters[type(e)] for e in outcome.events if isinstance(e, ServiceEvent) and e.service == service
        )
        assert whole.fullmatch(trace), f"{service}: {trace}"
    assert isinstance(outcome.events[-1], HostStopped)
    assert sum(isinstance(event, (StopRequested, HostStopped)) for event in outcome.events) == 2


def check_order_of_start(outcome: Outcome) -> None:
    """Promise 1: a step begins only when every service of the step before is ready."""
    for before, after in pairwise(outcome.names):
        begins = [places[0] for name in after if (places := outcome.places(ServiceStarting, name))]
        for name in before if begins else ():
            assert outcome.places(ServiceStarted, name)[0] < min(begins)


def check_nothing_starts_after_the_stop(outcome: Outcome) -> None:
    """Promise 4: from the stop on nothing new starts."""
    stop = outcome.first(StopRequested)
    assert not any(isinstance(event, ServiceStarting) for event in outcome.events[stop:])


def check_hooks(outcome: Outcome) -> None:
    """Promises 2 and 4: stop() once for every run whose start() returned, and for no other; execute once before it."""
    for name, puppet in outcome.puppets.items():
        calls = " ".join(puppet.calls)
        assert re.fullmatch(r"((start execute stop ?)|(start stop ?)|(start ?))*", calls), f"{name}: {calls}"
        assert puppet.entered == 0
        ready_runs = len(outcome.places(ServiceStarted, name))
        assert puppet.calls.count("execute") == ready_runs
        assert puppet.calls.count("stop") >= ready_runs


def check_deadlines(scenario: Scenario, outcome: Outcome) -> None:
    """Promise 5: the end comes within one budget, however many services there are."""
    stop = outcome.events[outcome.first(StopRequested)]
    end = outcome.events[-1]
    assert end.at <= stop.at + scenario.shutdown + scenario.cancellation + 1e-6


def check_reverse(scenario: Scenario, outcome: Outcome) -> None:
    """Promise 4: a step is told only when every later one has ended, as long as nothing has to be forced."""
    end = outcome.events[outcome.first(StopRequested)].at + scenario.shutdown
    forced = next((place for place, event in enumerate(outcome.events) if event.at >= end), len(outcome.events))
    for number, step in enumerate(outcome.names):
        for name in step:
            told = [place for place in outcome.places(ServiceStopping, name) if place < forced]
            for later in (other for after in outcome.names[number + 1 :] for other in after):
                began = outcome.places(ServiceStarting, later)
                if told and began:
                    ends = outcome.places(ServiceStopped, later) + outcome.places(ServiceAbandoned, later)
                    waiting = outcome.places(ServiceRestarting, later)
                    delayed = bool(waiting) and waiting[-1] > began[-1]
                    assert delayed or any(began[-1] < end < told[0] for end in ends), f"{name} before {later}"


def check_rungs(outcome: Outcome) -> None:
    """The ladder: a service that was ready sees its token before it is cancelled."""
    stop = outcome.first(StopRequested)
    for name in outcome.puppets:
        for place in outcome.places(ServiceCancelled, name):
            started = [other for other in outcome.places(ServiceStarted, name) if other < place]
            begun = [other for other in outcome.places(ServiceStarting, name) if other < place]
            if started and started[-1] > begun[-1]:
                assert any(stop < told < place for told in outcome.places(ServiceStopping, name))


def check_failures(outcome: Outcome) -> None:
    """Promises 7 and 8: no failure is lost, and the exit code tells what happened."""
    lifetime = outcome.host.lifetime
    errors = [] if outcome.error is None else list(outcome.error.exceptions)  # type: ignore[attr-defined]
    failed = {id(event.error) for event in outcome.events if isinstance(event, ServiceFailed)}
    abandoned = [event for event in outcome.events if isinstance(event, ServiceAbandoned)]
    for error in errors:
        if not isinstance(error, (StopTimeoutError, ServiceStuckError)):
            assert id(error) in failed
        assert any(note.startswith("service ") for note in error.__notes__)
    assert len(errors) == len({id(error) for error in errors})
    assert len([error for error in errors if isinstance(error, ServiceStuckError)]) == len(abandoned)
    assert lifetime.exit_code == (3 if abandoned else 1 if errors else 0)
    stop = outcome.first(StopRequested)
    # From the stop on every failure counts, whatever the policy; but one that a restart was to follow.
    for event in outcome.events[stop:]:
        if isinstance(event, ServiceFailed):
            assert any(error is event.error for error in errors)
    for event in outcome.events:
        if isinstance(event, ServiceFailed) and isinstance(event.error, RestartLimitError):
            assert event.error.failures == 2


def check_readiness(outcome: Outcome) -> None:
    """Ready: from the last service's readiness to the stop request, and never else; but for a host that was done."""
    started, stop = outcome.first(HostStarted), outcome.first(StopRequested)
    done = "nothing left to do" in (outcome.host.lifetime.stop_reason or "")
    for place, ready in enumerate(outcome.ready):
        if place < started or (place >= stop and not done):
            assert not ready
        elif place > started and place < stop and not done:
            assert ready or outcome.host.lifetime.stop_reason == "as the scenario wants it"
    assert outcome.host.lifetime.state is HostState.STOPPED


def comparable(outcome: Outcome) -> list[tuple[float, str, str]]:
    """Return the trace without what is a toss-up: the order of events of one instant."""
    trace = [
        (round(event.at, 6), type(event).__name__, getattr(event, "service", ""))
        for event in outcome.events
        if not isinstance(event, (HostStopped, StopRequested))
    ]
    return sorted(trace)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios)
@example(Scenario(steps=((Script(deaf=("execute",), drain=5),), (Script(),)), shutdown=1, cancellation=1))
@example(Scenario(steps=((Script(),), (Script(start=5, deaf=("start",)),)), at=0.5))
def test_every_promise_holds(scenario: Scenario) -> None:
    """Whatever services do and however the stop comes, the promises hold, with the same trace on both backends."""
    outcomes = [play(scenario, backend) for backend in ("asyncio", "trio")]

    for outcome in outcomes:
        check(scenario, outcome)
    assert comparable(outcomes[0]) == comparable(outcomes[1])
