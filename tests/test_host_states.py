"""A host against a model of it, under random calls: start, stop, fail, wait and the passing of time, life after life.

The model has the five states, two services and a calendar of one entry. What is random is a list of calls; the list is
played on both backends, on virtual time, and after every call the host must be where the model is.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import NamedTuple

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from hostkit import (
    BackgroundService,
    HostBuilder,
    HostFailedError,
    HostOptions,
    HostState,
    HostStateError,
    StoppingToken,
)
from hostkit.testing import virtual_time

pytestmark = pytest.mark.needs("trio")

NAMES = ("first", "second")
STARTS = {"first": 1.0, "second": 2.0}
DRAINS = {"first": 2.0, "second": 1.0}
# What a call takes, besides the pause after it: so none falls on the instant of another, or of a service.
INSTANT = 1 / 1024
FAILED = "HostFailedError"
MISUSED = "HostStateError"

Call = Sequence[object]


class View(NamedTuple):
    """What can be seen of a host from outside."""

    state: str
    ready: bool
    reason: str | None
    exit_code: int
    failed: tuple[str, ...]
    """Which services have failed, in order."""
    told: tuple[str, ...]
    """Which instants the lifetime has told of, in every lifecycle."""
    runs: tuple[int, ...]
    """How often each service was started, was ready, and was stopped."""
    answers: tuple[tuple[int, str, float], ...]
    """Which calls have ended, how, and when."""


@dataclass
class Model:
    """What a host of two services has to do."""

    now: float = 0
    state: HostState = HostState.CREATED
    reason: str | None = None
    code: int | None = None
    phase: str = ""
    ends: float = inf
    running: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    runs: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0, 0] for name in NAMES})
    answers: dict[int, tuple[str, float]] = field(default_factory=dict)
    starting: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def lives(self) -> bool:
        """Whether it is between start and end."""
        return self.state not in (HostState.CREATED, HostState.STOPPED)

    def view(self) -> View:
        """Return what should be seen."""
        return View(
            state=self.state,
            ready=self.state is HostState.STARTED and self.reason is None,
            reason=self.reason,
            exit_code=1 if self.failed else self.code or 0,
            failed=tuple(self.failed),
            told=tuple(self.told),
            runs=tuple(count for name in NAMES for count in self.runs[name]),
            answers=tuple((number, how, round(at, 6)) for number, (how, at) in sorted(self.answers.items())),
        )

    def do(self, number: int, call: Call, pause: float) -> None:
        """Take a call, and let time pass."""
        match call:
            case ["start"]:
                self.start(number)
            case ["request_stop", int() | None as code]:
                self.request_stop(f"request {number}", code)
            case ["stop"]:
                self.request_stop("stop() was called", None)
                self.wait(number)
            case ["wait"] if self.state is HostState.CREATED:
                self.answers[number] = MISUSED, self.now
            case ["wait"]:
                self.wait(number)
            case ["fail", str() as name] if name in self.running:
                self.fail(name)
            case ["stop_inside", str() as name] if name in self.running:
                self.request_stop("stop() was called", None)
                self.answers[number] = MISUSED, self.now
        self.pass_time(pause)

    def start(self, number: int) -> None:
        if self.lives:
            self.answers[number] = MISUSED, self.now
            return
        if self.state is HostState.STOPPED:
            self.reason = self.code = None
        self.failed = []
        self.starting.append(number)
        self.state = HostState.STARTING
        if self.reason is None:
            self.begin("first starts", STARTS["first"])
        else:
            self.begin_stop()

    def request_stop(self, reason: str, code: int | None) -> None:
        if self.state is HostState.STOPPED:
            return
        if self.code is None:
            self.code = code
        if self.reason is None:
            self.reason = reason
            if self.lives:
                self.begin_stop()

    def wait(self, number: int) -> None:
        if self.lives:
            self.waiting.append(number)
        else:
            self.answers[number] = self.outcome(), self.now

    def fail(self, name: str) -> None:
        self.failed.append(name)
        if self.phase == f"{name} drains":
            self.go_on()
            return
        self.running.remove(name)
        if self.state is not HostState.STOPPING:
            self.reason = f"service {name!r} failed: OSError: {name}"
            self.begin_stop()

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds + INSTANT
        while self.ends <= until:
            self.now = self.ends
            self.go_on()
        self.now = until

    def begin(self, phase: str, seconds: float) -> None:
        self.phase = phase
        self.ends = self.now + seconds
        if phase.endswith("starts"):
            self.runs[phase.split(maxsplit=1)[0]][0] += 1

    def go_on(self) -> None:
        """Do what follows the end of a phase."""
        name, _, what = self.phase.partition(" ")
        if what == "starts":
            self.runs[name][1] += 1
            self.running.append(name)
            if name == "first":
                self.begin("second starts", STARTS["second"])
            else:
                self.begin("runs", inf)
                self.state = HostState.STARTED
                self.told.append("started")
                self.answer(self.starting, "returned")
        else:
            self.running.remove(name)
            self.runs[name][2] += 1
            self.stop_next()

    def begin_stop(self) -> None:
        self.state = HostState.STOPPING
        self.told.append("stopping")
        # What had become ready is stopped, in reverse.
        self.left = [name for name in NAMES if self.runs[name][1] > self.runs[name][2]]
        self.stop_next()

    def stop_next(self) -> None:
        while self.left:
            name = self.left.pop()
            if name in self.running:
                self.begin(f"{name} drains", DRAINS[name])
                return
            self.runs[name][2] += 1
        self.phase, self.ends = "", inf
        self.state = HostState.STOPPED
        self.told.append("stopped")
        self.answer(self.starting, self.outcome())
        self.answer(self.waiting, self.outcome())

    def outcome(self) -> str:
        return FAILED if self.failed else "returned"

    def answer(self, numbers: list[int], how: str) -> None:
        self.answers |= dict.fromkeys(numbers, (how, self.now))
        numbers.clear()


class Obedient(BackgroundService):
    """A service that takes its time, and does what it is told by its orders."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = [0, 0, 0]
        self.orders: Callable[[Callable[[], Awaitable[None]]], None] | None = None

    async def start(self) -> None:
        self.runs[0] += 1
        await anyio.sleep(STARTS[self.name])

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.runs[1] += 1
        sender, receiver = anyio.create_memory_object_stream[Callable[[], Awaitable[None]]](inf)
        self.orders = sender.send_nowait
        try:
            with sender, receiver:
                async for order in stopping_token.until_stop(receiver):
                    await order()
                with anyio.move_on_after(DRAINS[self.name]):
                    async for order in receiver:
                        await order()
        finally:
            self.orders = None

    async def stop(self) -> None:
        self.runs[2] += 1

    async def fail(self) -> None:
        raise OSError(self.name)


class Player:
    """Plays calls on a host, and looks at it after each."""

    def __init__(self) -> None:
        self.services = {name: Obedient(name) for name in NAMES}
        self.told: list[str] = []
        self.answers: dict[int, tuple[str, float]] = {}
        options = HostOptions(log_level="CRITICAL", shutdown_timeout=100, startup_timeout=None)
        builder = HostBuilder(options)
        for name, service in self.services.items():
            builder.add_service(service, name=name)
        lifetime = self.lifetime = builder.lifetime
        lifetime.on_started(partial(self.told.append, "started"))
        lifetime.on_stopping(partial(self.told.append, "stopping"))
        lifetime.on_stopped(partial(self.told.append, "stopped"))
        self.host = builder.build()

    async def play(self, calls: list[tuple[float, *tuple[object, ...]]]) -> list[View]:
        """Play the calls, each with the pause after it."""
        self.began = anyio.current_time()
        views = []
        async with anyio.create_task_group() as self.group:
            for number, (pause, *call) in enumerate(calls):
                self.do(number, call)
                await anyio.sleep(pause + INSTANT)
                views.append(self.view())
        return views

    def do(self, number: int, call: Call) -> None:
        host = self.host
        waits = {"start": host.start, "stop": host.stop, "wait": host.wait}
        match call:
            case [str() as name] if name in waits:
                self.group.start_soon(self.answer, number, waits[name])
            case ["request_stop", int() | None as code]:
                self.lifetime.request_stop(f"request {number}", exit_code=code)
            case ["fail", str() as name]:
                self.order(name, self.services[name].fail)
            case ["stop_inside", str() as name]:
                self.order(name, partial(self.answer, number, host.stop))

    def order(self, name: str, what: Callable[[], Awaitable[None]]) -> None:
        orders = self.services[name].orders
        if orders is not None:
            orders(what)

    async def answer(self, number: int, function: Callable[[], Coroutine[object, object, None]]) -> None:
        how = "returned"
        try:
            await function()
        except (HostFailedError, HostStateError) as error:
            how = type(error).__name__
        self.answers[number] = how, anyio.current_time() - self.began

    def view(self) -> View:
        lifetime, failure = self.lifetime, self.lifetime.failure
        status = lifetime.status()
        assert (status.state, status.stop_reason, status.exit_code) == (
            lifetime.state,
            lifetime.stop_reason,
            lifetime.exit_code,
        )
        return View(
            state=lifetime.state,
            ready=status.ready,
            reason=lifetime.stop_reason,
            exit_code=lifetime.exit_code,
            failed=() if failure is None else tuple(str(error) for error in failure.exceptions),
            told=tuple(self.told),
            runs=tuple(count for service in self.services.values() for count in service.runs),
            answers=tuple((number, how, round(at, 6)) for number, (how, at) in sorted(self.answers.items())),
        )


pauses = st.sampled_from([0.0, 0.0, 0.5, 1.5, 2.0, 4.0])
short = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.5])


class HostStates(RuleBasedStateMachine):
    """Makes the list of calls, and asks the model what should be seen after each."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.calls: list[tuple[float, *tuple[object, ...]]] = []
        self.views: list[View] = []

    def call(self, pause: float, *call: object) -> None:
        """Add a call, and let time pass after it."""
        self.model.do(len(self.calls), call, pause)
        self.calls.append((pause, *call))
        self.views.append(self.model.view())

    def is_running(self) -> bool:
        """Tell whether there is a service that can be told to do something."""
        return bool(self.model.running)

    def is_worth_it(self) -> bool:
        """Tell whether the host lives; once in a while a call is worth it before the start and after the end too."""
        return self.model.lives or len(self.calls) % 4 == 0

    @initialize(start=st.sampled_from([True, True, True, False]), pause=pauses)
    def begin(self, *, start: bool, pause: float) -> None:
        self.call(pause, "start" if start else "wait")

    @rule(pause=pauses)
    def start(self, pause: float) -> None:
        self.call(pause, "start")

    @precondition(is_worth_it)
    @rule(pause=short)
    def stop(self, pause: float) -> None:
        self.call(pause, "stop")

    @precondition(is_worth_it)
    @rule(pause=short)
    def wait(self, pause: float) -> None:
        self.call(pause, "wait")

    @precondition(is_worth_it)
    @rule(code=st.sampled_from([None, 0, 7]), pause=short)
    def request_stop(self, code: int | None, pause: float) -> None:
        self.call(pause, "request_stop", code)

    @precondition(is_running)
    @rule(last=st.booleans(), pause=short)
    def stop_inside(self, *, last: bool, pause: float) -> None:
        self.call(pause, "stop_inside", self.model.running[-last])

    @precondition(is_running)
    @rule(last=st.booleans(), pause=short)
    def fail(self, *, last: bool, pause: float) -> None:
        self.call(pause, "fail", self.model.running[-last])

    @precondition(is_worth_it)
    @rule(seconds=st.sampled_from([2.0, 4.0, 6.0]))
    def tick(self, seconds: float) -> None:
        self.call(seconds, "tick")

    def teardown(self) -> None:
        """Play the list, to an end."""
        self.call(10, "request_stop", None)
        for backend in ("asyncio", "trio"):
            name, options = virtual_time(backend)
            views = anyio.run(Player().play, self.calls, backend=name, backend_options=options)
            for call, seen, expected in zip(self.calls, views, self.views, strict=True):
                assert seen == expected, f"{backend}, after {call}"


@pytest.mark.long
def test_a_host_is_always_where_its_model_is() -> None:
    """In whatever order a host is started, stopped, waited for and failed, it is in the state that the manual says."""
    run_state_machine_as_test(
        HostStates,
        settings=settings(
            max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
