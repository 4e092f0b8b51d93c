"""The wall clock, read in this one place; waiting uses anyio's clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall-clock time, aware, in UTC."""
    return datetime.now(UTC)
