"""Random jobs, policies and durations on virtual time: nothing is lost, nothing overlaps that must not."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduled import HOUR, MINUTE, Timed, at

from hostkit.scheduling import Every, Outcome, Overlap, ScheduledJob
from hostkit.testing import virtual_time

MINUTES = 12


@dataclass
class Plan:
    """One job: how often it is due, what its runs do, and what it has done."""

    period: int
    overlap: Overlap
    durations: list[float]
    fails: bool
    timeout: float | None
    running: int = 0
    most: int = 0
    runs: int = field(default=0)

    @property
    def concurrency(self) -> int:
        """How many runs may go on at a time."""
        return 2 if self.overlap is Overlap.ALLOW else 1

    async def job(self) -> None:
        """Take as long as planned."""
        self.running += 1
        self.runs += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(self.durations[self.runs % len(self.durations)])
            if self.fails:
                raise LookupError
        finally:
            self.running -= 1


plans = st.builds(
    Plan,
    period=st.integers(1, 4),
    overlap=st.sampled_from(Overlap),
    durations=st.lists(st.sampled_from([0.0, 1.0, 50.0, 60.0, 125.0, 200.0]), min_size=1, max_size=4),
    fails=st.booleans(),
    timeout=st.sampled_from([None, 30.0, 90.0]),
)
steers = st.lists(st.tuples(st.sampled_from(["pause", "resume", "run_now"]), st.integers(0, 3)), max_size=4)


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
@settings(deadline=None, max_examples=25)
@given(given_plans=st.lists(plans, min_size=1, max_size=4), steered=steers)
def test_every_place_on_the_grid_has_its_record(
    backend: str, given_plans: list[Plan], steered: list[tuple[str, int]]
) -> None:
    """Each run that was due happened or has a reason, once; no policy is broken; at the end nothing goes on."""
    timed = Timed()
    jobs = [
        timed.scheduler.add(
            plan.job,
            Every(minutes=plan.period),
            overlap=plan.overlap,
            concurrency=plan.concurrency,
            timeout=plan.timeout,
        )
        for plan in given_plans
    ]

    async def steer() -> None:
        async with timed.running(shutdown_timeout=HOUR, log_level="CRITICAL"):
            for action, number in steered:
                await anyio.sleep(2.7 * MINUTE)
                getattr(jobs[number % len(jobs)], action)()
            await anyio.sleep((MINUTES + 0.5) * MINUTE - 2.7 * MINUTE * len(steered))

    run_on(backend, steer)

    for plan, job in zip(given_plans, jobs, strict=True):
        check(plan, job)


def run_on(backend: str, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *function* on virtual time."""
    name, options = virtual_time(backend)
    anyio.run(function, backend=name, backend_options=options)


def check(plan: Plan, job: ScheduledJob) -> None:
    """Compare the history of a job with what was due and what it has done."""
    due = [minute for minute in map(at, job.history) if minute % 1 == 0]
    ran = [run for run in job.history if run.started is not None]

    assert sorted(due) == list(range(plan.period, MINUTES + 1, plan.period))
    assert len(ran) == plan.runs
    assert plan.most <= plan.concurrency
    assert plan.running == job.running == 0
    for run in job.history:
        skipped = run.outcome is Outcome.SKIPPED
        assert skipped == (run.started is None) or run.outcome is Outcome.CANCELLED
        assert (run.reason is None) == (run.outcome is Outcome.SUCCEEDED or isinstance(run.error, LookupError))
        assert run.duration is None or plan.timeout is None or run.duration <= plan.timeout
        assert run.started is None or run.started >= run.planned
