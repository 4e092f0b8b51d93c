"""Every public method of a scheduler and its jobs, with values at the edges of their types and wrong ones.

Each call is right, or refused with a `TypeError` or `ValueError`; whatever was called, the scheduler goes on to run
what is due, and its stop is in time.
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduled import HOUR, MINUTE, Timed, nothing
from threads import on_a_thread

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit.scheduling import Daily, Every, Missed, Monthly, Outcome, Overlap, Run, ScheduledJob, Weekly
from hostkit.testing import virtual_time

REFUSED = (TypeError, ValueError)
LONGEST = 20.0


async def brief(stopping_token: StoppingToken, run: Run) -> None:
    """Take a little."""
    assert run.planned is not None
    await stopping_token.sleep(0.5)


async def long() -> None:
    """Take longer than most intervals of this test."""
    await anyio.sleep(LONGEST)


async def fail() -> None:
    """Fail."""
    raise LookupError


def blocking(stopping_token: ThreadStoppingToken) -> None:
    """Return at once."""
    assert not stopping_token.stop_requested


def wants(first: object) -> None:
    """Be no job."""


numbers = st.one_of(
    st.sampled_from([0, 0.0, -0.0, -1, 1, 2, 0.5, 5e-324, 1e-9, 1e9, 1e300, math.inf, -math.inf, math.nan]),
    st.sampled_from([10**30, 10**400, True, False, timedelta.min, timedelta.max, timedelta(seconds=3)]),
)
wrong = st.sampled_from([None, "", "skip", "1", b"", object(), [], (), {}, nothing, date(2026, 1, 1), time(3)])
anything = numbers | wrong
functions = st.sampled_from(
    [nothing, brief, long, fail, blocking, wants, print, "nothing", None, 3, type, lambda: None]
)
schedules = st.sampled_from(
    [
        Every(seconds=3),
        Every(hours=1),
        Every(hours=8 * 10**7),
        Every(1e-6),
        Every(seconds=7).until(datetime.max.replace(tzinfo=UTC)),
        Every(seconds=7).excluding(date(2026, 11, 2)),
        Daily(),
        Daily("09:00:05", "09:00:06", "09:00:07").until(datetime(2026, 11, 2, 9, 0, 7, tzinfo=UTC)),
        Weekly("mon", "09:00:03", tz="America/Nuuk"),
        Monthly("last").until(datetime.min.replace(tzinfo=UTC)),
        None,
        5,
        "* * * * *",
    ]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["job", "other", "", " ", "\n", "ü" * 300]) | anything,
        "overlap": st.sampled_from([*Overlap, "queue", "sometimes"]) | wrong,
        "concurrency": st.sampled_from([1, 2, 10**30]) | anything,
        "missed": st.sampled_from([*Missed, "skip"]) | wrong,
        "grace": anything,
        "timeout": anything,
        "jitter": anything,
        "when": st.sampled_from([None, lambda: True, lambda: False, nothing, fail, wants]) | wrong,
        "run_at_start": st.booleans() | wrong,
        "replace": st.booleans() | wrong,
    },
)
calls = st.one_of(
    st.tuples(st.just("add"), functions, schedules, options),
    st.tuples(st.just("job"), functions, schedules, options),
    st.tuples(
        st.sampled_from(
            [
                *("pause", "resume", "run_now", "remove", "next_run", "last_run", "last_success", "history", "counts"),
                *("runs", "running", "paused", "__repr__"),
            ]
        ),
        st.integers(0, 5),
    ),
    st.tuples(st.sampled_from(["pause_all", "resume_all", "details", "jobs"])),
)
steps = st.lists(st.tuples(calls, st.booleans(), st.sampled_from([0.0, 0.3, 4.0])), max_size=6)


class Caller:
    """Makes the calls, and looks at how each of them is answered."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed
        self._jobs: list[ScheduledJob] = []

    def __call__(self, call: tuple[Any, ...], *, from_a_thread: bool) -> None:
        """Make one call, here or on a thread."""
        make = partial(self._make, *call)
        on_a_thread(make) if from_a_thread else make()

    def _make(self, name: str, *arguments: Any) -> None:  # noqa: ANN401  # what hypothesis has drawn
        scheduler = self._timed.scheduler
        if name in ("add", "job"):
            before = dict(scheduler.jobs)
            function, schedule, given_options = arguments
            try:
                if name == "add":
                    self._jobs.append(scheduler.add(function, schedule, **given_options))
                else:
                    scheduler.job(schedule, **given_options)(function)
            except REFUSED:
                assert dict(scheduler.jobs) == before
        elif name.endswith("_all"):
            getattr(scheduler, name.removesuffix("_all"))()
        elif name == "details":
            assert scheduler.details()["jobs"] == len(scheduler.jobs)
        elif name == "jobs":
            assert list(scheduler.jobs) == [job.name for job in scheduler.jobs.values()]
        elif self._jobs:
            job = self._jobs[arguments[0] % len(self._jobs)]
            found = getattr(job, name)
            if callable(found):
                try:
                    found()
                except ValueError:
                    assert name == "run_now"
                    assert scheduler.jobs.get(job.name) is not job


@pytest.mark.long
@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(before=steps, during=steps, after=steps)
def test_any_call_is_right_or_refused(backend: str, before: Any, during: Any, after: Any) -> None:  # noqa: ANN401  # drawn
    """All calls are answered, before, while and after it runs; it ticks, its counts add up, its stop is in time."""
    timed = Timed()
    ticks = timed.scheduler.add(nothing, Every(seconds=1.1), name="ticks of the test")
    caller = Caller(timed)
    stopped = math.inf

    async def main() -> None:
        nonlocal stopped
        for call, from_a_thread, _ in before:
            caller(call, from_a_thread=from_a_thread)
        async with timed.running(log_level="CRITICAL", shutdown_timeout=HOUR):
            for call, from_a_thread, pause in during:
                caller(call, from_a_thread=from_a_thread)
                await anyio.sleep(pause)
            timed.scheduler.resume()
            count = ticks.counts[Outcome.SUCCEEDED]
            await anyio.sleep(5)
            assert ticks.counts[Outcome.SUCCEEDED] >= count + 4
            stopping = anyio.current_time()
        stopped = anyio.current_time() - stopping
        for call, from_a_thread, _ in after:
            caller(call, from_a_thread=from_a_thread)

    name, backend_options = virtual_time(backend)
    run: Callable[..., object] = anyio.run
    run(main, backend=name, backend_options=backend_options)

    assert stopped <= 2 * LONGEST + MINUTE / 60
    for job in timed.scheduler.jobs.values():
        assert job.runs == ()
        assert len(job.history) == min(sum(job.counts.values()), 1000)
