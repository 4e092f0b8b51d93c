"""Durations at the public border."""

import math
from datetime import timedelta

import pytest

from hostkit._values.durations import NOT_GIVEN, to_number, to_period, to_positive_period, to_seconds

# More than a float holds.
HUGE = 10**400


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        (math.inf, math.inf),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (timedelta(0), 0.0),
    ],
)
def test_takes_seconds_and_timedeltas(given: object, seconds: float) -> None:
    """A duration is a number of seconds or a timedelta, and becomes float seconds."""
    result = to_seconds(given)

    assert result == seconds
    assert type(result) is float


@pytest.mark.parametrize("given", [True, False, None, "5", b"5", [5], 1j])
def test_refuses_what_is_no_duration(given: object) -> None:
    """What is neither a number nor a timedelta is refused by name; a bool is no number."""
    with pytest.raises(TypeError) as caught:
        to_seconds(given, "grace")

    assert str(caught.value) == f"grace must be seconds (a number) or a timedelta, got {given!r}"


@pytest.mark.parametrize("given", [-1, -0.001, math.nan, -math.inf, timedelta(seconds=-1)])
def test_refuses_negative_durations_and_nan(given: object) -> None:
    """A duration is never negative, and is a number."""
    with pytest.raises(ValueError, match=r"^grace must not be negative or NaN, got -?[0-9.a-z]+$"):
        to_seconds(given, "grace")


def test_refuses_what_no_float_can_hold() -> None:
    """A whole number that is too large is a wrong value like others, not an overflow."""
    with pytest.raises(ValueError, match=r"^grace is too large: "):
        to_seconds(HUGE, "grace")


def test_a_number_is_no_duration() -> None:
    """Where a plain number is wanted, a timedelta is refused."""
    assert to_number(3, "factor") == 3.0
    with pytest.raises(TypeError, match=r"^factor must be a number, got datetime\.timedelta\(seconds=3\)$"):
        to_number(timedelta(seconds=3), "factor")


def period(
    value: object = None, hours: float = NOT_GIVEN, minutes: float = NOT_GIVEN, seconds: float = NOT_GIVEN
) -> float:
    """Return the period that the arguments give."""
    return to_period(value, hours, minutes, seconds, "sleep()")


def test_parts_are_added_up() -> None:
    """A duration may be given in hours, minutes and seconds, all together or some."""
    assert period(hours=1, minutes=2, seconds=3.5) == 3723.5
    assert period(hours=0.5) == 1800
    assert period(minutes=1) == 60
    assert period(seconds=7) == 7
    assert period(90) == 90
    assert period(timedelta(hours=1)) == 3600


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, float("0")])
def test_zero_is_something_given(zero: float) -> None:
    """`seconds=0` says something; only what is left out is not given."""
    assert period(seconds=zero) == 0
    assert period(hours=zero) == 0
    assert period(minutes=zero) == 0
    assert period(zero) == 0


@pytest.mark.parametrize(
    "parts", [{}, {"value": 1, "hours": 1}, {"value": 1, "minutes": 0}, {"value": 0, "seconds": 0}]
)
def test_wants_one_form_of_a_duration(parts: dict[str, float]) -> None:
    """No duration, or two forms of it, is an error."""
    with pytest.raises(TypeError) as caught:
        period(**parts)

    assert str(caught.value) == "sleep() takes one duration: seconds or a timedelta, or else hours=, minutes=, seconds="


@pytest.mark.parametrize("name", ["hours", "minutes", "seconds"])
def test_checks_every_part(name: str) -> None:
    """A wrong part is named."""
    with pytest.raises(ValueError, match=f"^{name} must not be negative or NaN, got -1$"):
        period(**{name: -1})
    with pytest.raises(TypeError, match=f"^{name} must be seconds .* got True$"):
        period(**{name: True})


@pytest.mark.parametrize("wrong", [0, math.inf, timedelta(0)])
def test_a_period_is_positive_and_finite(wrong: object) -> None:
    """What is to come again and again needs a period of more than nothing and less than for ever."""
    with pytest.raises(ValueError, match=r"^every\(\) needs a period of more than 0 seconds, and a finite one, got "):
        to_positive_period(wrong, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, "every()")


def test_a_period_in_parts() -> None:
    """A period is given like any duration."""
    assert to_positive_period(None, NOT_GIVEN, 1, 30, "every()") == 90
    assert to_positive_period(None, NOT_GIVEN, NOT_GIVEN, 0.25, "every()") == 0.25
    with pytest.raises(ValueError, match="finite"):
        to_positive_period(None, 1e308, NOT_GIVEN, NOT_GIVEN, "every()")
    with pytest.raises(TypeError, match="one duration"):
        to_positive_period(None, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, "every()")
