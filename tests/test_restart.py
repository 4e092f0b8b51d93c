"""`hostkit.Restart` and `hostkit.EndAction`, as values; what they do is in the tests of the supervision."""

import math
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from hostkit import Backoff, EndAction, Restart


def test_has_defaults_that_give_up() -> None:
    """Without arguments a service is restarted five times in a row, with growing delays, then the host stops."""
    assert Restart() == Restart(
        limit=5, reset_after=60, backoff=Backoff(1, 2, 30, 0.5), on_stall=False, then=EndAction.STOP_HOST
    )


def test_takes_every_value() -> None:
    """A policy keeps what it was given; durations in seconds."""
    backoff = Backoff(initial=3)
    policy = Restart(
        limit=0,
        reset_after=timedelta(minutes=5),  # type: ignore[arg-type]
        backoff=backoff,
        on_stall=True,
        then=EndAction.IGNORE,
    )

    assert (policy.limit, policy.reset_after, policy.backoff) == (0, 300, backoff)
    assert (policy.on_stall, policy.then) == (True, EndAction.IGNORE)
    assert Restart(limit=None).limit is None
    assert Restart(reset_after=math.inf).reset_after == math.inf


def test_is_frozen() -> None:
    """A policy is a value: it does not change."""
    with pytest.raises(FrozenInstanceError):
        Restart().limit = 6  # type: ignore[misc]


def test_refuses_a_negative_limit() -> None:
    """A limit is 0 or more."""
    with pytest.raises(ValueError, match=r"^limit must be an int, 0 or more, or None, got -1$"):
        Restart(limit=-1)


@pytest.mark.parametrize("value", [True, 1.5, "3"])
def test_refuses_a_limit_that_is_no_whole_number(value: object) -> None:
    """A limit is an int; a bool is none."""
    with pytest.raises(TypeError, match=rf"^limit must be an int, 0 or more, or None, got {value!r}$"):
        Restart(limit=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (math.nan, ValueError), (True, TypeError)])
def test_refuses_a_wrong_reset_after(value: float, error: type[Exception]) -> None:
    """`reset_after` is a duration."""
    with pytest.raises(error, match=r"^reset_after must "):
        Restart(reset_after=value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("backoff", 1.0, "Backoff"),
        ("on_stall", 1, "bool"),
        ("then", "ignore", "EndAction"),
        ("then", None, "EndAction"),
    ],
)
def test_refuses_values_of_a_wrong_type(name: str, value: object, kind: str) -> None:
    """Every value has its type; a text is no action."""
    with pytest.raises(TypeError, match=rf"^{name} must be a {kind}, got {value!r}$"):
        Restart(**{name: value})  # type: ignore[arg-type]
