"""The promises of the design, section 4, checked against the recorded events of random scenarios, on both backends.

Each scenario is a random host (services and groups that take their time, fail, restart, ignore their cancellation), a
random cause of the stop and random deadlines, on virtual time. What a deadline or a delay says is checked to the
instant. ``SCENARIOS=6000 pytest tests/test_scenarios.py`` plays more of them.
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from scenario import EPSILON, Call, Outcome, Scenario, Script, Step, Trail, play, scenarios

from hostkit import (
    EndAction,
    HostState,
    Restart,
    RestartLimitError,
    ServiceStuckError,
    StartupTimeoutError,
    StopTimeoutError,
)
from hostkit.events import (
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

pytestmark = [pytest.mark.needs("trio"), pytest.mark.long]
COUNT = int(os.environ.get("SCENARIOS", "300"))


def same(instant: float, other: float) -> bool:
    """Tell whether two instants are one."""
    return instant == other or abs(instant - other) < EPSILON


def check(outcome: Outcome) -> None:
    """Check every promise."""
    check_well_formed(outcome)
    check_order_of_start(outcome)
    check_startup_timeout(outcome)
    check_nothing_starts_after_the_stop(outcome)
    check_hooks(outcome)
    check_deadlines(outcome)
    check_turns(outcome)
    check_rungs(outcome)
    check_only_the_deaf_are_abandoned(outcome)
    check_nothing_is_cut_short_in_vain(outcome)
    check_restarts(outcome)
    check_calls(outcome)
    check_failures(outcome)
    check_forced(outcome)
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
    run = "st?(ct?f*|f*|r(f*t?f*c?f*))(g|a)"
    whole = re.compile(f"({run}(R|f?))*")
    for service in outcome.witnesses:
        trace = "".join(
            letters[type(e)] for e in outcome.events if isinstance(e, ServiceEvent) and e.service == service
        )
        assert whole.fullmatch(trace), f"{service}: {trace}"
        assert all(run.count("t") <= 1 for run in trace.split("s")), f"{service}: {trace}"
    requested, stopped = outcome.events[outcome.first(StopRequested)], outcome.events[-1]
    assert isinstance(requested, StopRequested)
    assert isinstance(stopped, HostStopped)
    assert stopped.reason == requested.reason == outcome.host.lifetime.stop_reason
    assert sum(isinstance(event, (StopRequested, HostStopped)) for event in outcome.events) == 2


def check_order_of_start(outcome: Outcome) -> None:
    """Promise 1: a step begins, as one, when every service of the step before is ready, and not later."""
    began, _ = outcome.start_took()
    for before, after in pairwise([[], *outcome.names]):
        ready = [outcome.places(ServiceStarted, name) for name in before]
        begins = [places[0] for name in after if (places := outcome.places(ServiceStarting, name))]
        if begins:
            assert len(begins) == len(after)
            assert all(places and places[0] < min(begins) for places in ready)
            due = max([began, *(outcome.events[places[0]].at for places in ready)])
            assert all(same(outcome.events[place].at, due) for place in begins)


def check_startup_timeout(outcome: Outcome) -> None:
    """The whole start has one timeout; its error names who was late."""
    began, ended = outcome.start_took()
    timeout = math.inf if outcome.scenario.startup is None else outcome.scenario.startup
    late = [error for error in outcome.errors if isinstance(error, StartupTimeoutError)]
    assert min(ended, outcome.stop_at) <= began + timeout + EPSILON
    assert bool(late) == same(outcome.stop_at, began + timeout)
    for error in late:
        pending = [
            trails[-1].name
            for step in outcome.names
            for name in step
            if (trails := outcome.trails(name)) and len(trails) == 1 and trails[-1].pending(outcome.stop_at)
        ]
        assert list(error.services) == pending


def check_nothing_starts_after_the_stop(outcome: Outcome) -> None:
    """Promise 4: from the stop on nothing new starts; and nothing at all where it was asked for before the start."""
    stop = outcome.first(StopRequested)
    assert not any(isinstance(event, ServiceStarting) for event in outcome.events[stop:])
    if outcome.scenario.cause == "early":
        assert not any(isinstance(event, ServiceEvent) for event in outcome.events)


def check_hooks(outcome: Outcome) -> None:
    """Promises 2 and 4: stop() once for every run whose start() returned, and for no other; execute once before it."""
    for name, witness in outcome.witnesses.items():
        calls = " ".join([*witness.calls, ""])
        assert re.fullmatch(r"((start execute stop ?)|(start stop ?)|(start ?))*", calls), f"{name}: {calls}"
        assert witness.entered == 0
        ready_runs = len(outcome.places(ServiceStarted, name))
        assert witness.calls.count("execute") == ready_runs
        assert witness.calls.count("stop") >= ready_runs


def check_deadlines(outcome: Outcome) -> None:
    """Promise 5: the end comes within one budget, and as soon as the last service has ended."""
    ends = [trail.ended for step in outcome.names for trail in outcome.last_trails(step)]
    assert outcome.events[-1].at <= outcome.leave_at + EPSILON
    assert same(outcome.events[-1].at, max([outcome.stop_at, *ends]))


def check_turns(outcome: Outcome) -> None:
    """Promises 4 and 5: when each service is told, and when it is cancelled, to the instant."""
    for turn, trail in turns(outcome):
        if not trail.alive(turn):
            continue
        if trail.pending(outcome.stop_at):
            cut = min(outcome.stop_at, own_deadline(outcome, trail))
            assert same(trail.cancelled, cut), f"start of {trail.name} not cut"
            continue
        told = min(trail.asked, turn)
        assert same(trail.told, told), f"{trail.name} told at {trail.told}, not {told}"
        forced = turn if turn >= outcome.cancel_at - EPSILON else math.inf
        # In a share of its own, later, or by its own timeout, whatever comes first.
        due = min(forced, own_deadline(outcome, trail))
        if trail.alive(due) and due < outcome.leave_at:
            hook = trail.hook(due)
            just_begun = hook is not None and hook.hook == "stop" and same(hook.begin, due)
            assert same(trail.cancelled, due) or just_begun, f"{trail.name} cancelled at {trail.cancelled}, not {due}"
    for turn, trail in forced_turns(outcome):
        if trail.alive(turn) and trail.told < turn - EPSILON:
            assert trail.cancelled <= turn + EPSILON, f"{trail.name} cancelled at {trail.cancelled}, not {turn}"


def turns(outcome: Outcome) -> Iterator[tuple[float, Trail]]:
    """Return when it is whose turn: last step first, each when the later ones have ended, or their shares are over."""
    turn = outcome.stop_at
    for step in reversed(outcome.names):
        trails = [trail for trail in outcome.last_trails(step) if trail.again is None]
        if turn >= outcome.cancel_at - EPSILON:
            break
        yield from ((turn, trail) for trail in trails)
        turn = max([turn, *(trail.ended for trail in trails)])
        if turn >= outcome.cancel_at - EPSILON:
            break
    told = {trail.name for _, trail in forced_turns(outcome) if trail.told < outcome.cancel_at - EPSILON}
    yield from ((turn, trail) for turn, trail in forced_turns(outcome) if trail.name not in told)


def forced_turns(outcome: Outcome) -> Iterator[tuple[float, Trail]]:
    """Return when the share of whom begins: what is left until the last instant, in equal parts, or less if unused."""
    turn = outcome.cancel_at
    pending = [
        trails
        for step in reversed(outcome.names)
        if (trails := [trail for trail in outcome.last_trails(step) if is_left(outcome, trail)])
    ]
    for position, trails in enumerate(pending):
        yield from ((turn, trail) for trail in trails)
        share = (outcome.leave_at - turn) / (len(pending) - position)
        turn = min(max([turn, *(trail.ended for trail in trails)]), turn + share)


def is_left(outcome: Outcome, trail: Trail) -> bool:
    """Tell whether a service is there when everything is to be cancelled."""
    ended_by_itself = trail.ended <= outcome.cancel_at + EPSILON and not same(trail.cancelled, outcome.cancel_at)
    return trail.again is None and trail.began <= outcome.cancel_at and not ended_by_itself


def own_deadline(outcome: Outcome, trail: Trail) -> float:
    """Return when a service's own timeout cancels it, if everything is not cancelled before."""
    timeout = outcome.step_of(trail.name).stop_timeout
    if timeout is None and trail.asked + outcome.scenario.shutdown < outcome.stop_at + EPSILON:
        timeout = outcome.scenario.shutdown  # for a restart by hand
    deadline = math.inf if timeout is None else trail.told + timeout
    return deadline if deadline < outcome.cancel_at else math.inf


def last_instant(outcome: Outcome, trail: Trail) -> float:
    """Return until when a service is waited for."""
    is_cut = trail.stopped and trail.pending(outcome.stop_at)
    began = outcome.stop_at if is_cut else own_deadline(outcome, trail)
    limit = began + outcome.scenario.cancellation
    return limit if limit < max(outcome.cancel_at, outcome.stop_at + EPSILON) else outcome.leave_at


def check_rungs(outcome: Outcome) -> None:
    """The ladder: a service that was ready sees its token before it is cancelled."""
    stop = outcome.first(StopRequested)
    for name in outcome.witnesses:
        for place in outcome.places(ServiceCancelled, name):
            started = [other for other in outcome.places(ServiceStarted, name) if other < place]
            begun = [other for other in outcome.places(ServiceStarting, name) if other < place]
            if started and started[-1] > begun[-1]:
                since = begun[-1] if any(trail.asked < math.inf for trail in outcome.trails(name)) else stop
                assert any(since < told < place for told in outcome.places(ServiceStopping, name))


def check_only_the_deaf_are_abandoned(outcome: Outcome) -> None:
    """Promises 5 and 6: nobody is waited for any longer, and only who ignores a cancellation is abandoned."""
    for name, witness in outcome.witnesses.items():
        for trail in outcome.trails(name):
            limit = last_instant(outcome, trail)
            assert trail.ended <= max(limit, outcome.stop_at) + EPSILON, f"{name} was there after {limit}"
            if trail.abandoned:
                assert same(trail.ended, limit)
                hook = trail.hook(limit)
                assert hook is not None, f"{name} was doing nothing"
                assert hook.hook in witness.script.deaf, f"{name} would have obeyed in {hook.hook}"


def check_nothing_is_cut_short_in_vain(outcome: Outcome) -> None:
    """A hook has the time that it takes; only a cancellation ends it earlier, and ends it at once."""
    for name, witness in outcome.witnesses.items():
        for trail in outcome.trails(name):
            cuts = [trail.cancelled, last_instant(outcome, trail)]
            for span in trail.spans:
                if span.end > trail.ended + EPSILON:
                    assert trail.abandoned
                    continue
                # A start that was cut has its task cancelled for good, and a stop() that follows finds it so.
                late = [span.begin] if trail.pending(trail.cancelled) and span.begin >= trail.cancelled else []
                cut = [at for at in (*cuts, *late) if span.begin <= at + EPSILON and same(span.end, at)]
                full = {
                    "start": span.begin + witness.times["start"],
                    "stop": span.begin + witness.times["stop"],
                    "execute": max(
                        span.begin, min(trail.told, span.begin + (math.inf if witness.run is None else witness.run))
                    )
                    + witness.times["drain"],
                }[span.hook]
                assert cut or same(span.end, full), f"{span.hook} of {name} ended at {span.end}, not {full}"
                if span.hook not in witness.script.deaf and span.covers(trail.cancelled):
                    assert span.hook == "stop"
                    assert same(span.begin, trail.cancelled), f"{span.hook} of {name} was cancelled, and went on"


def check_restarts(outcome: Outcome) -> None:
    """Restart: the delay is the backoff's for so many ends in a row; after the limit there is no further run."""
    for name in outcome.witnesses:
        step = outcome.step_of(name)
        counts: dict[bool, int] = {}
        trails = outcome.trails(name)
        for trail, following in pairwise([*trails, None]):
            assert trail is not None
            if trail.abandoned:  # which ends the host
                assert following is None
                continue
            counts = {failed: count for failed, count in counts.items() if not was_long(trail, step, failed=failed)}
            if trail.asked < math.inf and not trail.stopped:
                check_run_again(trail, following, outcome)
                continue
            failed = bool(trail.failed) and not isinstance(trail.failed[0].error, RestartLimitError)
            policy = step.on_failure if failed else step.on_return
            if failed and policy is EndAction.IGNORE and same(trail.failed[0].at, trail.ended):
                policy = step.on_return  # it had returned, and only its stop() has failed
            limits = [event.error for event in trail.failed if isinstance(event.error, RestartLimitError)]
            if not isinstance(policy, Restart) or trail.stopped:
                assert trail.again is None
                assert not limits
                continue
            counts[failed] = counts.get(failed, 0) + 1
            if policy.limit is not None and counts[failed] > policy.limit:
                assert trail.again is None
                (error,) = limits
                assert error.failures == counts[failed]
                assert error.__cause__ is (trail.failed[-2].error if failed else None)
                assert (error in outcome.errors) is (policy.then is EndAction.STOP_HOST)
                continue
            assert trail.again is not None, f"{name} is not run again"
            assert same(trail.again.at, trail.ended)
            assert trail.again.delay == policy.backoff.delay(counts[failed])
            calls = (call.at for call in outcome.accepted(name) if call.at > trail.ended)
            due = min([trail.ended + trail.again.delay, *calls])
            assert following is None or same(following.began, due)
            assert following is not None or due >= outcome.stop_at - EPSILON


def was_long(trail: Trail, step: Step, *, failed: bool) -> bool:
    """Tell whether a run was ready for so long that its service's ends, failures or returns, are counted afresh."""
    policy = step.on_failure if failed else step.on_return
    until = min([trail.asked, trail.ended, *(event.at for event in trail.failed)])
    return isinstance(policy, Restart) and until - trail.ready >= policy.reset_after


def check_run_again(trail: Trail, following: Trail | None, outcome: Outcome) -> None:
    """Host.restart: a run that was asked to end is followed by the next one at once; no policy counts that."""
    assert trail.again is not None
    assert not any(isinstance(event.error, RestartLimitError) for event in trail.failed)
    assert same(trail.again.at, trail.ended)
    assert (trail.again.delay, trail.again.in_a_row) == (0, 0)
    assert following is None or same(following.began, trail.ended)
    assert following is not None or same(trail.ended, outcome.stop_at)


def check_calls(outcome: Outcome) -> None:
    """Host.restart: when the run before is cancelled, when the next one begins, and when the call ends, and how."""
    for name in outcome.witnesses:
        calls = outcome.accepted(name)
        for call in calls:
            check_call(outcome, call)
        for call in (call for call in outcome.calls if call.name == name and call not in calls):
            assert same(call.ended, call.at)
            assert call.error.startswith("the host is ")
        trails = outcome.trails(name)
        for trail, following in pairwise(trails):
            by_hand = any(same(call.at, following.began) for call in calls)
            assert trail.again is not None or by_hand, f"{name} is run again by nobody"
        for trail in trails:
            due = own_deadline(outcome, trail)
            if due < outcome.stop_at and trail.alive(due):
                hook = trail.hook(due)
                just_begun = hook is not None and hook.hook == "stop" and same(hook.begin, due)
                assert same(trail.cancelled, due) or just_begun, f"{name} cancelled at {trail.cancelled}, not {due}"
            assert trail.cancelled >= outcome.stop_at - EPSILON or same(trail.cancelled, due)


def check_call(outcome: Outcome, call: Call) -> None:
    """The call ends with the first new run that is ready, or that ends for good before, or with the host's stop."""
    trails = outcome.trails(call.name)
    current = next(trail for trail in reversed(trails) if trail.began < call.at - EPSILON)
    later = trails[trails.index(current) + 1 :]
    if current.ended > call.at - EPSILON:
        assert current.asked <= call.at
        assert same(current.told, current.asked)
    else:
        assert later
        assert same(later[0].began, call.at)
    expected = outcome.stop_at, "the host has begun to stop meanwhile"
    for trail in later:
        if trail.ready < outcome.stop_at:
            expected = trail.ready, "none"
            break
        if trail.ended < outcome.stop_at and trail.again is None:
            expected = trail.ended, f"service {call.name!r} has ended before it was ready"
            break
    assert same(call.ended, expected[0]), (call, expected)
    assert call.error == expected[1]


def check_failures(outcome: Outcome) -> None:
    """Promises 7 and 8: no failure is lost, and the exit code tells what happened."""
    errors = outcome.errors
    failed = {id(event.error) for event in outcome.events if isinstance(event, ServiceFailed)}
    abandoned = [event for event in outcome.events if isinstance(event, ServiceAbandoned)]
    for error in errors:
        if isinstance(error, StartupTimeoutError):
            continue
        if not isinstance(error, (StopTimeoutError, ServiceStuckError)):
            assert id(error) in failed
        assert any(note.startswith("service ") for note in error.__notes__)
    assert len(errors) == len({id(error) for error in errors})
    assert outcome.host.lifetime.exit_code == (3 if abandoned else 1 if errors else 0)
    stop = outcome.first(StopRequested)
    # From the stop on every failure counts, whatever the policy; but one that a restart was to follow.
    for event in outcome.events[stop:]:
        if isinstance(event, ServiceFailed):
            assert any(error is event.error for error in errors)
            assert not event.retried
    for event in outcome.events[:stop]:
        if isinstance(event, ServiceFailed) and not isinstance(event.error, RestartLimitError):
            trail = next(trail for trail in outcome.trails(event.service) if event in trail.failed)
            policy = outcome.step_of(event.service).on_failure
            first_start = trail.began == outcome.trails(event.service)[0].began and trail.ready > event.at
            ends_the_host = first_start or policy is EndAction.STOP_HOST
            assert (event.error in errors) is ends_the_host
            assert event.retried is (not first_start and isinstance(policy, Restart))
    # The cause comes first.
    causes = [event.error for event in outcome.events[: stop + 1] if isinstance(event, ServiceFailed)]
    counting = [error for error in causes if error in errors]
    if counting:
        assert errors[0] is counting[0]


def check_forced(outcome: Outcome) -> None:
    """Promises 7 and 8: who had to be cancelled, and who was abandoned, is a failure; a start that was cut is none."""
    overdue = {error.service for error in outcome.errors if isinstance(error, StopTimeoutError)}
    stuck = {error.service for error in outcome.errors if isinstance(error, ServiceStuckError)}
    for name in outcome.witnesses:
        trails = outcome.trails(name)
        trail = trails[-1] if trails else None
        if trail is None or trail.again is not None or trail.abandoned:
            assert name not in overdue
        elif not trail.pending(outcome.stop_at) and not trail.cancelled < outcome.stop_at - EPSILON:
            assert (name in overdue) is (trail.cancelled < math.inf), name
        elif outcome.scenario.cancellation:  # else the cut and the last instant are one
            assert (name in overdue) is same(trail.ended, last_instant(outcome, trail)), name
    assert stuck == {event.service for event in outcome.events if isinstance(event, ServiceAbandoned)}


def check_readiness(outcome: Outcome) -> None:
    """Ready: from the last service's readiness to the stop request, and never else; but for a host that was done."""
    started = outcome.first(HostStarted)
    done = "nothing left to do" in (outcome.host.lifetime.stop_reason or "")
    for place, (ready, asked) in enumerate(outcome.samples):
        if place < started:
            assert not ready
        elif place > started:
            assert ready == (not asked or done)
    assert outcome.host.lifetime.state is HostState.STOPPED


def comparable(outcome: Outcome) -> list[tuple[float, str, str]]:
    """Return the trace without what is a toss-up: the order of events of one instant."""
    trace = [
        (round(event.at, 6), type(event).__name__, getattr(event, "service", ""))
        for event in outcome.events
        if not isinstance(event, (HostStopped, StopRequested))
    ]
    return sorted(trace)


@settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios)
@example(
    Scenario(
        steps=(Step((Script(deaf=("execute",), drain=5),)), Step((Script(),))), shutdown=1.25, cancellation=1, at=0.5
    )
)
@example(Scenario(steps=(Step((Script(),)), Step((Script(start=5, deaf=("start",)),))), at=0.5))
def every_promise_holds(scenario: Scenario) -> None:
    """Check one scenario; called without, it checks many."""
    outcomes = [play(scenario, backend) for backend in ("asyncio", "trio")]

    for outcome in outcomes:
        check(outcome)
    assert comparable(outcomes[0]) == comparable(outcomes[1])


def test_every_promise_holds(figure: Callable[[str], None]) -> None:
    """Whatever services do and however the stop comes, the promises hold, with the same trace on both backends."""
    began = time.perf_counter()

    every_promise_holds()

    figure(f"{COUNT} random hosts, on asyncio and on trio, in {time.perf_counter() - began:.1f} s")
