"""`hostkit.Backoff`."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit import Backoff


def delays(backoff: Backoff, count: int) -> list[float]:
    """Return the first delays."""
    return [backoff.delay(failures) for failures in range(1, count + 1)]


def test_delays_grow_to_the_maximum() -> None:
    """Each delay is the one before it times `factor`, up to `maximum`."""
    assert Backoff() == Backoff(initial=1, factor=2, maximum=30, jitter=0.5)
    assert delays(Backoff(jitter=0), 7) == [1, 2, 4, 8, 16, 30, 30]
    assert delays(Backoff(initial=0.5, factor=3, maximum=100, jitter=0), 4) == [0.5, 1.5, 4.5, 13.5]


def test_a_factor_of_one_keeps_the_delay() -> None:
    """With `factor=1` every delay is the first one."""
    assert delays(Backoff(initial=5, factor=1, jitter=0), 3) == [5, 5, 5]


def test_no_initial_delay_is_no_delay_for_ever() -> None:
    """`initial=0` stays 0, after any number of failures."""
    backoff = Backoff(initial=0, jitter=0)

    assert {backoff.delay(failures) for failures in (1, 2, 100, 1025, 10**6)} == {0}


def test_the_maximum_holds_after_any_number_of_failures() -> None:
    """Numbers too large for a float end at the maximum."""
    backoff = Backoff(jitter=0)

    assert {backoff.delay(failures) for failures in (1024, 1025, 10**6)} == {30}


def test_a_maximum_may_be_infinite() -> None:
    """`maximum=inf` lets the delays grow without end."""
    assert Backoff(maximum=math.inf, jitter=0).delay(11) == 1024


def test_jitter_adds_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to `jitter` times the delay is added, the maximum included."""
    drawn = iter([0.0, 0.5, 0.999, 0.5])
    monkeypatch.setattr("random.random", lambda: next(drawn))

    assert [Backoff(jitter=0.5).delay(failures) for failures in (1, 1, 2, 50)] == pytest.approx(
        [1.0, 1.25, 2.999, 37.5]
    )


def test_jitter_is_spread_evenly() -> None:
    """Delays are spread over the whole span, so that many processes do not come back in step."""
    drawn = [Backoff(initial=10, jitter=0.5).delay(1) for _ in range(2000)]

    assert min(drawn) >= 10
    assert max(drawn) < 15
    assert all(sum(low <= delay < low + 1 for delay in drawn) > 200 for low in range(10, 15))


@given(
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    more=st.floats(0, 1e6),
    jitter=st.floats(0, 10),
    failures=st.integers(1, 5000),
)
def test_every_delay_is_within_its_bounds(
    initial: float, factor: float, more: float, jitter: float, failures: int
) -> None:
    """A delay is never below the first one, and never above the maximum with its jitter."""
    backoff = Backoff(initial=initial, factor=factor, maximum=initial + more, jitter=jitter)

    delay = backoff.delay(failures)

    assert initial <= delay <= (initial + more) * (1 + jitter)


def test_durations_may_be_timedeltas() -> None:
    """`initial` and `maximum` are durations, and are kept in seconds."""
    backoff = Backoff(initial=timedelta(seconds=2), maximum=timedelta(minutes=1), jitter=0)  # type: ignore[arg-type]

    assert backoff == Backoff(initial=2, maximum=60, jitter=0)
    assert delays(backoff, 6) == [2, 4, 8, 16, 32, 60]


@pytest.mark.parametrize("name", ["initial", "factor", "maximum", "jitter"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_refuses_negative_values_and_nan(name: str, value: float) -> None:
    """A wrong value is refused where it was written, by name."""
    with pytest.raises(ValueError, match=f"^{name} must not be negative or NaN, got "):
        Backoff(**{name: value})


@pytest.mark.parametrize("name", ["initial", "factor", "maximum", "jitter"])
@pytest.mark.parametrize("value", [True, "1", None])
def test_refuses_what_is_no_number(name: str, value: object) -> None:
    """Every value is a number; a bool is none."""
    with pytest.raises(TypeError, match=f"^{name} must be .*, got {value!r}$"):
        Backoff(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["factor", "jitter"])
def test_a_ratio_is_no_duration(name: str) -> None:
    """`factor` and `jitter` are numbers, not durations."""
    with pytest.raises(TypeError, match=f"^{name} must be a number, got "):
        Backoff(**{name: timedelta(seconds=2)})  # type: ignore[arg-type]


def test_refuses_delays_that_shrink() -> None:
    """Delays do not get shorter, and the first is not above the maximum."""
    with pytest.raises(ValueError, match=r"^factor must be at least 1, got 0\.5$"):
        Backoff(factor=0.5)
    with pytest.raises(ValueError, match=r"^maximum must not be below initial \(31\.0\), got 30\.0$"):
        Backoff(initial=31)
