"""Durations at the public border: seconds or `timedelta` in, float seconds out."""

import math
from datetime import timedelta

Duration = float | timedelta
"""Seconds, or a `timedelta`."""


def to_seconds(value: object, name: str = "duration") -> float:
    """Return *value* in seconds.

    Raises:
        TypeError: *value* is not a number of seconds or a `timedelta`; a `bool` is neither.
        ValueError: *value* is negative, NaN, or more than a float holds.
    """
    if isinstance(value, timedelta):
        return to_number(value.total_seconds(), name)
    return to_number(value, name, "seconds (a number) or a timedelta")


def to_number(value: object, name: str, kind: str = "a number") -> float:
    """Return *value* as a float.

    Raises:
        TypeError: *value* is not a number; a `bool` is none.
        ValueError: *value* is negative, NaN, or more than a float holds.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"{name} must be {kind}, got {value!r}"
        raise TypeError(message)
    try:
        number = float(value)
    except OverflowError as error:
        message = f"{name} is too large: {error}"
        raise ValueError(message) from None
    if not number >= 0:  # NaN compares false with everything
        message = f"{name} must not be negative or NaN, got {value!r}"
        raise ValueError(message)
    return number


NOT_GIVEN = 0.0
"""Zero, and one of a kind: a part of a duration that the caller left out, while ``seconds=0`` says something."""


def to_period(value: object, hours: float, minutes: float, seconds: float, name: str) -> float:
    """Return the one duration that was given, as *value* or as parts, which are added up.

    Raises:
        TypeError: Neither form was given, or both.
        ValueError: A part is negative or NaN.
    """
    in_parts = not (hours is NOT_GIVEN and minutes is NOT_GIVEN and seconds is NOT_GIVEN)
    if in_parts == (value is not None):
        message = f"{name} takes one duration: seconds or a timedelta, or else hours=, minutes=, seconds="
        raise TypeError(message)
    if not in_parts:
        return to_seconds(value)
    return to_seconds(hours, "hours") * 3600 + to_seconds(minutes, "minutes") * 60 + to_seconds(seconds, "seconds")


def to_positive_period(value: object, hours: float, minutes: float, seconds: float, name: str) -> float:
    """Return the one duration that was given, which is a period: more than 0 and finite.

    Raises:
        TypeError: Neither form was given, or both.
        ValueError: The period is 0, infinite, negative or NaN.
    """
    period = to_period(value, hours, minutes, seconds, name)
    if not 0 < period < math.inf:
        message = f"{name} needs a period of more than 0 seconds, and a finite one, got {period!r}"
        raise ValueError(message)
    return period
