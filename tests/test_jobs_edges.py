"""Every argument at the edges of its type, and every public method in every state: right, or refused at the call."""

import math
import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial, wraps
from typing import Any

import anyio
import pytest
from anyio import current_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_hosts import hosted, nothing, run_one, states, tally, total
from threads import on_a_thread

from hostkit import Backoff, HostkitError, StoppingToken, ThreadStoppingToken
from hostkit.jobs import Job, JobQueue, JobState, QueueFullError, Retry, RetryAfterError
from hostkit.testing import virtual_time

HUGE = 10**30
DAYS = 3 * 86_400.0


class NoZone(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Return nothing."""

    def dst(self, dt: datetime | None) -> timedelta | None:
        """Return nothing."""

    def tzname(self, dt: datetime | None) -> str | None:
        """Return nothing."""


class TestNumbers:
    async def test_may_be_as_large_as_one_likes(self) -> None:
        """Limits beyond all measure are no limits."""
        queue = JobQueue(
            concurrency=HUGE,
            capacity=HUGE,
            history=HUGE,
            timeout=1e300,
            retry=Retry(attempts=HUGE, backoff=lambda _: 1),
        )
        runs = 0

        async def fail_twice() -> None:
            nonlocal runs
            runs += 1
            if runs < 3:
                raise OSError

        async with hosted(queue):
            jobs = [await queue.enqueue(nothing) for _ in range(100)]
            jobs.append(await queue.enqueue(fail_twice))
            await jobs[-1].wait()
            await queue.join()
            assert len(queue.history) == 101

        assert tally(queue) == {"succeeded": 101}

    @pytest.mark.parametrize("delay", [math.inf, 1e308, sys.float_info.max, timedelta.max, 10**300])
    async def test_a_delay_may_be_longer_than_any_timer(self, delay: float | timedelta) -> None:
        """A job may wait for longer than event loops have timers for; it is there until the stop."""
        queue = JobQueue()

        async with hosted(queue):
            job = await queue.enqueue_in(delay, nothing)
            await anyio.sleep(DAYS)
            assert tally(queue) == {"delayed": 1}

        assert job.state is JobState.LOST

    @pytest.mark.parametrize("seconds", [math.inf, 1e308])
    async def test_so_may_the_wait_for_a_retry(self, seconds: float) -> None:
        """A retry may be as far away as one likes."""
        queue = JobQueue(retry=Retry(attempts=2))

        async def later() -> None:
            raise RetryAfterError(seconds)

        async with hosted(queue):
            job = await queue.enqueue(later)
            await anyio.sleep(DAYS)
            assert job.state is JobState.RETRYING

    @pytest.mark.parametrize("timeout", [1e-300, 5e-324, timedelta.resolution])
    async def test_a_timeout_may_be_next_to_nothing(self, timeout: float | timedelta) -> None:  # noqa: ASYNC109  # an option of the job
        """The shortest timeout ends a run at its first wait."""
        queue = JobQueue(timeout=timeout)

        job = await run_one(queue, anyio.sleep, 1)

        assert isinstance(job.error, TimeoutError)


class TestInstants:
    @pytest.mark.parametrize(
        ("instant", "error"),
        [
            (datetime(2030, 1, 1), ValueError("an aware datetime")),  # noqa: DTZ001  # that is the point
            (datetime(2030, 1, 1, tzinfo=NoZone()), ValueError("an aware datetime")),
            (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), ValueError("in the years 1 to 9999 in UTC")),
            (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), ValueError("in the years 1 to 9999 in UTC")),
            ("2030-01-01", TypeError("an aware datetime")),
            (datetime(2030, 1, 1, tzinfo=UTC).date(), TypeError("an aware datetime")),
            (None, TypeError("an aware datetime")),
            (0, TypeError("an aware datetime")),
        ],
    )
    async def test_are_refused_at_the_call(self, instant: Any, error: Exception) -> None:  # noqa: ANN401  # anything
        """What is no aware instant, or one that UTC does not have, takes no room."""
        queue = JobQueue(capacity=1)

        async with hosted(queue):
            with pytest.raises(type(error), match=f"instant must be {error}"):
                await queue.enqueue_at(instant, nothing)
            assert total(queue) == 0
            queue.enqueue_nowait(nothing)

    @pytest.mark.long
    async def test_the_first_and_the_last(self) -> None:
        """The first instant is past, the last one never comes."""
        queue = JobQueue()

        async with hosted(queue):
            first = await queue.enqueue_at(datetime.min.replace(tzinfo=UTC), nothing)
            last = await queue.enqueue_at(datetime.max.replace(tzinfo=UTC), nothing)
            await anyio.sleep(DAYS)

            assert states(first, last) == ["succeeded", "delayed"]

    @pytest.mark.parametrize("answer", [datetime(2030, 1, 1), None, 7.0, "now"])  # noqa: DTZ001  # that is the point
    async def test_a_clock_without_a_zone_is_refused(self, answer: object) -> None:
        """A clock that returns no aware time is refused at the first call that needs it, and nothing was changed."""
        queue = JobQueue(capacity=1, now=lambda: answer)  # type: ignore[arg-type, return-value]

        async with hosted(queue):
            with pytest.raises(TypeError, match=r"JobQueue\(now=...\) must return an aware datetime, got"):
                await queue.enqueue_at(datetime(2030, 1, 1, tzinfo=UTC), nothing)
            assert total(queue) == 0
            queue.enqueue_nowait(nothing)

        assert tally(queue) == {"succeeded": 1}

    async def test_a_clock_that_breaks_later(self) -> None:
        """A clock that fails while a job waits is logged, and looked at again; the job is not lost for it."""
        answers: list[datetime | None] = [datetime(2030, 1, 1, tzinfo=UTC)]
        queue = JobQueue(now=lambda: answers[-1])  # type: ignore[arg-type, return-value]

        async with hosted(queue):
            job = await queue.enqueue_at(datetime(2030, 1, 1, 1, tzinfo=UTC), nothing)
            answers.append(None)
            await anyio.sleep(100)
            other = await queue.enqueue_in(1, nothing)
            await anyio.sleep(2)
            assert states(job, other) == ["delayed", "succeeded"]
            answers.append(datetime(2030, 1, 1, 2, tzinfo=UTC))
            await anyio.sleep(31)

        assert job.state is JobState.SUCCEEDED


class TestFunctions:
    def test_a_plain_wrapper_that_hides_an_async_function_with_a_token(self) -> None:
        """Which token it gets depends on the function inside: the wrapper has to be of its kind."""

        async def inner(stopping_token: StoppingToken) -> None: ...

        @wraps(inner)
        def wrapper(*args: object) -> object:
            return inner(*args)  # type: ignore[arg-type]  # as decorators are written

        for function in (wrapper, partial(wrapper)):
            with pytest.raises(TypeError, match=r"is a plain function round the async .*: make the wrapper async"):
                JobQueue().enqueue_nowait(function)

    def test_an_async_wrapper_that_hides_a_blocking_function_with_a_token(self) -> None:
        """And the other way round."""

        def inner(stopping_token: ThreadStoppingToken) -> None: ...

        @wraps(inner)
        async def wrapper(*args: object) -> None:
            inner(*args)  # type: ignore[arg-type]  # as decorators are written

        with pytest.raises(TypeError, match=r"is an async function round the blocking .*: make the wrapper a plain"):
            JobQueue().enqueue_nowait(wrapper)

    async def test_honest_wrappers_are_taken(self) -> None:
        """A wrapper of the same kind, and one round a function without a token, are as good as the function."""
        seen: list[str] = []

        async def inner(stopping_token: StoppingToken) -> None:
            seen.append(type(stopping_token).__mro__[1].__name__)

        @wraps(inner)
        async def outer(*args: object) -> None:
            await inner(*args)  # type: ignore[arg-type]  # as decorators are written

        async def plain() -> None:
            seen.append("plain")

        @wraps(plain)
        def returns_it() -> object:
            return plain()

        queue = JobQueue()
        async with hosted(queue):
            await queue.enqueue(outer)
            await queue.join()
            await queue.enqueue(returns_it)
            await queue.join()

        assert seen == ["StoppingToken", "plain"]

    @pytest.mark.parametrize("function", [None, 3, "nothing", ...])
    async def test_what_cannot_be_called_is_refused(self, function: Any) -> None:  # noqa: ANN401  # anything
        """Also after a function that was the same a moment ago has gone; and it has not taken anybody's place."""
        queue = JobQueue(capacity=1)
        waiting = queue.enqueue_nowait(nothing)

        async def gone() -> None: ...

        with pytest.raises(QueueFullError):
            queue.enqueue_nowait(gone)
        del gone
        waiting.cancel()
        with pytest.raises(TypeError, match="a job is a function with its arguments, got"):
            queue.enqueue_nowait(function)
        with pytest.raises(TypeError, match="a job is a function with its arguments, got"):
            await queue.enqueue(function)
        queue.enqueue_nowait(nothing)
        with pytest.raises(QueueFullError):
            queue.enqueue_nowait(nothing)

    async def test_a_callable_that_cannot_be_hashed_is_taken(self) -> None:
        """What is called need not be a function."""

        class Callable_:  # noqa: N801  # a name for a test
            __hash__ = None  # type: ignore[assignment]  # that is the point

            async def __call__(self) -> str:
                return "called"

        queue = JobQueue()
        job = await run_one(queue, Callable_())

        assert job.result() == "called"


# Whatever is called, in whichever state: an answer, or an error that was meant.

REFUSALS = (TypeError, ValueError, HostkitError)
numbers = st.one_of(
    st.integers(-2, 5),
    st.sampled_from([HUGE, -HUGE, math.inf, -math.inf, math.nan, 1e308, 5e-324, 0.0, -0.0, True]),
)
durations = st.one_of(numbers, st.sampled_from([timedelta.max, timedelta.min, timedelta(0), "1", None, 1 + 1j]))
instants = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(
        [
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
            datetime.max.replace(tzinfo=NoZone()),
            "now",
            None,
            7,
        ]
    ),
)
retries = st.sampled_from(
    [
        None,
        Retry(attempts=1),
        Retry(attempts=HUGE, backoff=lambda _: 0.5),
        Retry(attempts=3, backoff=lambda _: math.nan),
        Retry(attempts=3, backoff=lambda _: "x"),  # type: ignore[arg-type, return-value]
        Retry(attempts=2, backoff=Backoff(initial=0)),
        3,
    ]
)


async def fail() -> None:
    """Fail."""
    raise OSError


async def work() -> None:
    """Take a while."""
    await anyio.sleep(2)


functions = st.sampled_from([nothing, fail, work, partial(work), None, 3, "x"])
options: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from([None, "k", (), [], math.nan, 1]),
        "retry": retries,
        "timeout": durations,
        "name": st.sampled_from([None, "", "n", "a\nb", 3]),
    },
)
queues: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": numbers,
        "capacity": numbers,
        "history": numbers,
        "timeout": durations,
        "retry": retries,
        "drain": st.sampled_from([True, False, None, "no"]),
        "on_lost": st.sampled_from([None, len, 3]),
        "on_failed": st.sampled_from([None, repr, len, 3]),
    },
)
calls = st.one_of(
    st.tuples(st.just("enqueue_nowait"), options, functions),
    st.tuples(st.just("enqueue"), options, functions),
    st.tuples(st.just("enqueue_in"), options, durations, functions),
    st.tuples(st.just("enqueue_at"), options, instants, functions),
    st.tuples(st.sampled_from(["cancel", "requeue", "discard", "result", "wait"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["pause", "resume", "counts", "failed", "lost", "history", "running", "details"])),
    st.tuples(st.sampled_from(["waiting", "job"]), st.one_of(numbers, st.sampled_from(["1", None]))),
    st.tuples(st.sampled_from(["oldest_waiting_age", "join"])),
    st.tuples(st.just("sleep"), st.sampled_from([0, 1, 5])),
)


class Session:
    """Makes calls, keeps the jobs that come of it, and lets through what is meant to be refused."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.jobs: list[Job[Any]] = []
        self.refused: list[Exception] = []

    async def make(self, call: tuple[Any, ...]) -> None:
        """Make one call in an event loop; a wait may not end, and is given a moment."""
        with anyio.move_on_after(0.5):
            try:
                name, *arguments = call
                if name == "sleep":
                    await anyio.sleep(arguments[0])
                else:
                    result = self.begin(name, arguments)
                    if hasattr(result, "__await__"):
                        result = await result
                    self.keep(name, result)
            except (*REFUSALS, OSError) as error:
                self.refused.append(error)

    def make_on_a_thread(self, call: tuple[Any, ...]) -> None:
        """Make one call that does not wait, on another thread."""
        name, *arguments = call
        if name in {"enqueue", "enqueue_in", "enqueue_at", "wait", "join", "sleep"}:
            return
        try:
            on_a_thread(lambda: self.keep(name, self.begin(name, arguments)))
        except (*REFUSALS, OSError) as error:
            self.refused.append(error)

    def begin(self, name: str, arguments: list[Any]) -> Any:  # noqa: ANN401  # whatever it is
        """Begin one call."""
        if name.startswith("enqueue"):
            chosen, *rest = arguments
            return getattr(self.queue.with_options(**chosen), name)(*rest)
        if name in {"cancel", "requeue", "discard", "result", "wait"}:
            return getattr(self.jobs[arguments[0] % len(self.jobs)], name)() if self.jobs else None
        attribute = getattr(self.queue, name)
        return attribute(*arguments) if callable(attribute) else attribute

    def keep(self, name: str, result: Any) -> None:  # noqa: ANN401  # likewise
        """Keep a job that has come of a call, and look whether the counts add up."""
        if isinstance(result, Job) and name.startswith(("enqueue", "requeue")):
            self.jobs.append(result)
        counts = self.queue.counts
        assert min(counts.values()) >= 0
        assert sum(counts.values()) == len({job.id for job in self.jobs})


@pytest.mark.long
@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    options=queues,
    before=st.lists(calls, max_size=6),
    during=st.lists(st.tuples(st.booleans(), calls), max_size=12),
    after=st.lists(calls, max_size=4),
)
def test_every_call_is_right_or_refused(
    backend: str,
    options: dict[str, Any],
    before: list[tuple[Any, ...]],
    during: list[tuple[bool, tuple[Any, ...]]],
    after: list[tuple[Any, ...]],
) -> None:
    """Before, during and after a lifecycle, from the loop and from a thread; the stop is in time, and counts add up."""
    try:
        queue = JobQueue(**options)
    except (TypeError, ValueError):
        return
    session = Session(queue)

    async def main() -> None:
        for call in before:
            await session.make(call)
            session.make_on_a_thread(call)
        async with hosted(queue) as host:
            for on_a_thread, call in during:
                if on_a_thread:
                    session.make_on_a_thread(call)
                else:
                    await session.make(call)
            assert host.status().healthy
            assert [service.state.value for service in host.status().services] == ["started"]
            stop_at = current_time()
        assert current_time() - stop_at <= 25
        for call in after:
            await session.make(call)
            session.make_on_a_thread(call)
        counts = queue.counts
        assert not any(counts[state] for state in JobState if state.value in {"waiting", "delayed", "running"})
        assert sum(counts.values()) == len({job.id for job in session.jobs})

    kind, backend_options = virtual_time(backend)
    anyio.run(main, backend=kind, backend_options=backend_options)
    assert not [error for error in session.refused if isinstance(error, OverflowError | AttributeError)]
