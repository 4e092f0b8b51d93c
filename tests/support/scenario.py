"""Random hosts, and what becomes of them on virtual time: for `test_scenarios.py`."""

import math
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import anyio
from anyio import current_time
from hypothesis import strategies as st
from puppet import Puppet

from hostkit import (
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostStateError,
    Restart,
    StoppingToken,
)
from hostkit.events import (
    HostEvent,
    HostStarted,
    HostStarting,
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

BACKOFF = Backoff(1, 2, 4, 0)
POLICIES = (
    EndAction.STOP_HOST,
    EndAction.IGNORE,
    Restart(limit=1, reset_after=3, backoff=BACKOFF),
    Restart(limit=2, reset_after=8, backoff=BACKOFF, then=EndAction.IGNORE),
    Restart(limit=None, backoff=BACKOFF),
)
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
REASON = "as the scenario wants it"
NEVER_MIND = 60.0  # after so long a scenario that has no other end is stopped

Cause = Literal["request", "scope", "stop", "early", "nothing"]


@dataclass(frozen=True)
class Script:
    """What one service does."""

    start: float = 0
    run: float | None = None
    drain: float = 0
    stop: float = 0
    fails: tuple[str, ...] = ()
    deaf: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """Services that start and stop together, and how they are supervised."""

    scripts: tuple[Script, ...]
    on_failure: EndAction | Restart = EndAction.STOP_HOST
    on_return: EndAction | Restart = EndAction.IGNORE
    stop_timeout: float | None = None


@dataclass(frozen=True)
class Scenario:
    """A host, and how it ends.

    Attributes:
        steps: Its services.
        cause: What stops it, if nothing else does.
        at: When.
        hurry: When a second signal comes, if it does.
        restarts: How long after the start a service is restarted by hand, and which: its number, round and round.
        shutdown: Its shutdown timeout.
        cancellation: Its cancellation timeout.
        startup: Its startup timeout.
    """

    steps: tuple[Step, ...]
    cause: Cause = "request"
    at: float = 1.5
    hurry: float | None = None
    restarts: tuple[tuple[float, int], ...] = ()
    shutdown: float = 10.25
    cancellation: float = 4
    startup: float | None = None


durations = st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0])
hooks = st.lists(st.sampled_from(["start", "execute", "stop"]), max_size=1).map(tuple)
scripts = st.builds(
    Script,
    start=durations,
    run=st.sampled_from([None, None, None, 1.0, 3.0]),
    drain=durations,
    stop=durations,
    fails=st.one_of(st.just(()), hooks),
    deaf=st.one_of(st.just(()), st.just(()), hooks),
)
steps = st.builds(
    Step,
    scripts=st.lists(scripts, min_size=1, max_size=3).map(tuple),
    on_failure=st.sampled_from(POLICIES),
    on_return=st.sampled_from(POLICIES),
    stop_timeout=st.sampled_from([None, None, None, 0.6, 2.6]),
)
# Budgets and instants of which no sum is another one: two things at one instant would be a toss-up.
scenarios = st.builds(
    Scenario,
    steps=st.lists(steps, min_size=1, max_size=4).map(tuple),
    cause=st.sampled_from(["request", "request", "scope", "stop", "early", "nothing"]),
    at=st.sampled_from([0.0, 0.5, 1.5, 4.5, 7.5, 25.5]),
    hurry=st.sampled_from([None, None, None, 0.3, 3.4, 8.3]),
    restarts=st.lists(
        st.tuples(st.sampled_from([0.1, 1.1, 1.11, 2.12, 3.73, 6.14, 6.17, 9.14]), st.integers(0, 11)),
        max_size=4,
        unique_by=lambda restart: restart[0],
    ).map(tuple),
    shutdown=st.sampled_from([0.0, 1.25, 3.25, 10.25, 10.25]),
    cancellation=st.sampled_from([0.0, 1.0, 4.0]),
    startup=st.sampled_from([None, None, None, 2.75, 6.75]),
    # Without any time a restart is a toss-up: whether a stop() has begun when it is to be cancelled.
).map(lambda scenario: scenario if scenario.shutdown else replace(scenario, restarts=()))


@dataclass
class Span:
    """One call of a hook."""

    hook: str
    begin: float
    end: float = math.inf

    def covers(self, instant: float) -> bool:
        """Tell whether the hook ran at *instant*, and longer."""
        return self.begin <= instant + EPSILON and self.end > instant + EPSILON


EPSILON = 1e-6


class Witness(Puppet):
    """A puppet that takes note of when its hooks begin and end."""

    def __init__(self, script: Script, odd: float) -> None:
        """Add to each duration a part of *odd*, which is another for each service."""
        self.script = script
        # No two things at one instant: their order would be a toss-up.
        super().__init__(
            start=script.start + odd,
            run=None if script.run is None else script.run + odd * 1.1,
            drain=script.drain + odd * 1.3,
            stop=script.stop + odd * 1.7,
            fails=" ".join(script.fails),
            deaf=" ".join(script.deaf),
        )
        self.spans: list[Span] = []

    async def start(self) -> None:
        with self._witnessed("start"):
            await super().start()

    async def execute(self, stopping_token: StoppingToken) -> None:
        with self._witnessed("execute"):
            await super().execute(stopping_token)

    async def stop(self) -> None:
        with self._witnessed("stop"):
            await super().stop()

    @contextmanager
    def _witnessed(self, hook: str) -> Iterator[None]:
        span = Span(hook, current_time())
        self.spans.append(span)
        try:
            yield
        finally:
            span.end = current_time()


@dataclass
class Trail:
    """One run of a service, by its events; an instant that has not come is infinite."""

    name: str
    began: float
    ready: float = math.inf
    told: float = math.inf
    cancelled: float = math.inf
    ended: float = math.inf
    asked: float = math.inf
    """When it was first to be restarted by hand."""
    stopped: bool = False
    """Whether it was there when the stop began."""
    abandoned: bool = False
    failed: list[ServiceFailed] = field(default_factory=list)
    again: ServiceRestarting | None = None
    spans: list[Span] = field(default_factory=list)

    def take(self, event: ServiceEvent) -> None:
        """Take the next event."""
        match event:
            case ServiceStarted():
                self.ready = event.at
            case ServiceStopping():
                self.told = event.at
            case ServiceCancelled():
                self.cancelled = event.at
            case ServiceFailed():
                self.failed.append(event)
            case ServiceStopped() | ServiceAbandoned():
                self.ended = event.at
                self.abandoned = isinstance(event, ServiceAbandoned)
            case ServiceRestarting():
                self.again = event

    def alive(self, instant: float) -> bool:
        """Tell whether it ran at *instant*, and longer."""
        return self.began <= instant + EPSILON and self.ended > instant + EPSILON

    def pending(self, instant: float) -> bool:
        """Tell whether it was starting at *instant*."""
        return self.ready > instant + EPSILON

    def hook(self, instant: float) -> Span | None:
        """Return the call that ran at *instant*, and longer."""
        return next((span for span in self.spans if span.covers(instant)), None)


@dataclass
class Call:
    """One restart by hand."""

    name: str
    at: float
    accepted: bool
    ended: float = math.inf
    error: str = "none"


@dataclass
class Outcome:
    """What happened.

    Attributes:
        scenario: What was played.
        events: What the host told.
        names: The names of the services, step by step.
        samples: At each event, whether the host was ready, and whether a stop had been asked for.
        witnesses: The services.
        host: The host.
        hurried: When the second signal came, if it found the host running.
        calls: The restarts by hand.
    """

    scenario: Scenario
    events: list[HostEvent]
    names: list[list[str]]
    samples: list[tuple[bool, bool]]
    witnesses: dict[str, Witness]
    host: Host
    hurried: float = math.inf
    calls: list[Call] = field(default_factory=list)
    _trails: dict[str, list[Trail]] = field(default_factory=dict)

    def first(self, kind: type[HostEvent]) -> int:
        """Return the place of the first event of *kind*, or one past the last event."""
        return next((place for place, event in enumerate(self.events) if isinstance(event, kind)), len(self.events))

    def places(self, kind: type[ServiceEvent], service: str) -> list[int]:
        """Return the places of the events of *kind* of one service."""
        return [
            place for place, event in enumerate(self.events) if isinstance(event, kind) and event.service == service
        ]

    @property
    def errors(self) -> Sequence[Exception]:
        """What the host has failed of."""
        failure = self.host.lifetime.failure
        return () if failure is None else failure.exceptions

    @property
    def stop_at(self) -> float:
        """The first instant of the stop."""
        return self.events[self.first(StopRequested)].at

    @property
    def cancel_at(self) -> float:
        """The instant from which on everything is cancelled."""
        return max(self.stop_at, min(self.stop_at + self.scenario.shutdown, self.hurried))

    @property
    def leave_at(self) -> float:
        """The last instant of the stop."""
        return self.cancel_at + self.scenario.cancellation

    def step_of(self, service: str) -> Step:
        """Return the step of a service."""
        number = next(number for number, step in enumerate(self.names) if service in step)
        return self.scenario.steps[number]

    def trails(self, service: str) -> list[Trail]:
        """Return the runs of a service."""
        if service not in self._trails:
            found: list[Trail] = []
            for event in self.events:
                if isinstance(event, ServiceStarting) and event.service == service:
                    found.append(Trail(service, event.at))
                elif isinstance(event, ServiceEvent) and event.service == service:
                    found[-1].take(event)
                elif isinstance(event, StopRequested) and found:
                    found[-1].stopped = found[-1].ended == math.inf
            runs = iter(found)
            for span in self.witnesses[service].spans:
                if span.hook == "start":
                    current = next(runs)
                current.spans.append(span)
            for call in self.accepted(service):
                # It may end in that very instant, because of the call.
                for trail in (each for each in found if each.began < call.at - EPSILON < each.ended):
                    trail.asked = min(trail.asked, call.at)
            self._trails[service] = found
        return self._trails[service]

    def accepted(self, service: str) -> list[Call]:
        """Return the restarts of a service that found the host started."""
        return [call for call in self.calls if call.name == service and call.accepted]

    def last_trails(self, step: Sequence[str]) -> list[Trail]:
        """Return, of the services of a step that have begun, the last runs."""
        return [trails[-1] for name in step if (trails := self.trails(name))]

    def start_took(self) -> tuple[float, float]:
        """Return when the start began, and when it ended with success, if it did."""
        began, ended = self.first(HostStarting), self.first(HostStarted)
        return self.events[began].at, self.events[ended].at if ended < len(self.events) else math.inf


def play(scenario: Scenario, backend: Literal["asyncio", "trio"]) -> Outcome:
    """Play *scenario* on virtual time."""
    name, options = virtual_time(backend)
    return anyio.run(_play, scenario, backend=name, backend_options=options)


async def _play(scenario: Scenario) -> Outcome:
    builder = HostBuilder(
        HostOptions(
            log_level="CRITICAL",
            startup_timeout=scenario.startup,
            shutdown_timeout=scenario.shutdown,
            cancellation_timeout=scenario.cancellation,
        )
    )
    events: list[HostEvent] = []
    samples: list[tuple[bool, bool]] = []
    names: list[list[str]] = []
    witnesses: dict[str, Witness] = {}
    for number, step in enumerate(scenario.steps):
        members = [
            Witness(script, math.sqrt(prime) / 1000)
            for script, prime in zip(step.scripts, PRIMES[len(witnesses) :], strict=False)
        ]
        builder.add_services(
            *members, on_failure=step.on_failure, on_return=step.on_return, stop_timeout=step.stop_timeout
        )
        names.append([registration.name for registration in builder._steps[number]])
        witnesses |= zip(names[-1], members, strict=True)
    lifetime = builder.lifetime
    builder.on_event(events.append)
    builder.on_event(lambda event: samples.append((lifetime.status().ready, lifetime.stop_reason is not None)))
    outcome = Outcome(scenario, events, names, samples, witnesses, builder.build())
    await _live(outcome)
    # What was abandoned ends now, so that the loop can.
    await anyio.sleep(200)
    return outcome


async def _live(outcome: Outcome) -> None:
    host, scenario = outcome.host, outcome.scenario
    began = current_time()

    async def stop(scope: anyio.CancelScope) -> None:
        await anyio.sleep_until(began + (NEVER_MIND if scenario.cause == "nothing" else scenario.at))
        if scenario.cause == "scope":
            scope.cancel()
        elif scenario.cause == "stop":
            await _tolerate(host.stop(REASON))
        else:
            host.lifetime.request_stop(REASON)

    async def hurry(at: float) -> None:
        await anyio.sleep_until(began + at)
        lifecycle = host._runner.lifecycle
        if lifecycle is not None and not lifecycle.finished:
            outcome.hurried = current_time()
            lifecycle.shutdown.cancel_all(anyio.current_time())

    if scenario.cause == "early":
        host.lifetime.request_stop(REASON)
    async with anyio.create_task_group() as callers, anyio.create_task_group() as group:
        for instant, number in scenario.restarts:
            callers.start_soon(_restart, outcome, instant, number)
        if scenario.hurry is not None:
            group.start_soon(hurry, scenario.hurry)
        with anyio.CancelScope() as scope:
            group.start_soon(stop, scope)
            await _tolerate(_embed(host))
        assert host.lifetime.state == "stopped"
        group.cancel_scope.cancel()


async def _restart(outcome: Outcome, delay: float, number: int) -> None:
    host, names = outcome.host, list(outcome.witnesses)
    try:
        await host.lifetime.wait_started()
    except HostStateError:
        return
    await anyio.sleep(delay)
    call = Call(names[number % len(names)], current_time(), accepted=host.lifetime.state == "started")
    outcome.calls.append(call)
    try:
        await host.restart(call.name)
    except HostStateError as error:
        call.error = str(error)
    call.ended = current_time()


async def _embed(host: Host) -> None:
    async with host:
        await host.wait()


async def _tolerate(waiting: Coroutine[object, object, None]) -> None:
    try:
        await waiting
    except HostFailedError:
        return
