"""How long to wait between two tries."""

from dataclasses import dataclass

from hostkit._values.durations import to_number, to_seconds
from hostkit._values.frozen import Value


@dataclass(frozen=True, eq=False, repr=False)
class Backoff(Value):
    """Growing delays between tries.

    The delay before the try after failure *n* in a row (from 1) is ``min(maximum, initial * factor**(n - 1))``, and up
    to *jitter* times itself more, drawn evenly, so that many processes do not come back in step.

    Attributes:
        initial: The first delay, in seconds or as a `timedelta`.
        factor: What each further delay is multiplied with; at least 1.
        maximum: The longest delay before jitter, in seconds or as a `timedelta`.
        jitter: How much of the delay may be added by chance; 0 for none, 0.5 for up to half.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is negative or NaN, *factor* is below 1, or *maximum* is below *initial*.
    """

    initial: float = 1.0
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        for name, check in (
            ("initial", to_seconds),
            ("factor", to_number),
            ("maximum", to_seconds),
            ("jitter", to_number),
        ):
            object.__setattr__(self, name, check(getattr(self, name), name))
        if self.factor < 1:
            message = f"factor must be at least 1, got {self.factor!r}"
            raise ValueError(message)
        if self.maximum < self.initial:
            message = f"maximum must not be below initial ({self.initial!r}), got {self.maximum!r}"
            raise ValueError(message)

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after *failures* failures in a row (1 or more)."""
        import random

        try:
            base = min(self.maximum, self.initial * self.factor ** (failures - 1))
        except OverflowError:
            base = self.maximum if self.initial else 0.0
        return base * (1 + self.jitter * random.random())  # noqa: S311  # spreads load, keeps no secret
