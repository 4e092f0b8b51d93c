"""What the engine and its pool write to the log, as far as hostkit says the same in one line."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ABORTED = frozenset({"job_aborted", "job_aborted_retry"})
# What the engine says when the database is away; the restart of the worker says so once.
OUTAGE = frozenset(
    {
        "side_task_failed",
        "deferrer_error",
        "listener_error",
        "poll_jobs_to_abort_error",
        "update_heartbeats_error",
    }
)


class OneLine(logging.Filter):
    """Lets through the lines of the engine, but an aborted job's without its traceback, and none on an outage.

    Attributes:
        last_error: The cause of the last outage, as the engine saw it.
    """

    def __init__(self, pool: Callable[[], str | None]) -> None:
        """Keep quiet about connections of *pool* as well; it has another name when it was opened again."""
        super().__init__()
        self._pool = pool
        self.last_error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        action = getattr(record, "action", None)
        if action in ABORTED:
            record.exc_info = record.exc_text = None
        if action in OUTAGE:
            self.last_error = record.exc_info[1] if record.exc_info else None
            return False
        # "error connecting in 'pool-1': ...", at each attempt
        return not (record.name == "psycopg.pool" and isinstance(record.args, tuple) and self._pool() in record.args)


@contextmanager
def one_line(pool: Callable[[], str | None], worker: str) -> Iterator[OneLine]:
    """Filter the log lines of a worker of this name, and those of its pool, for the block."""
    names = ("procrastinate.worker", f"procrastinate.worker.{worker}", "procrastinate.utils", "psycopg.pool")
    filtered = OneLine(pool)
    for name in names:
        logging.getLogger(name).addFilter(filtered)
    try:
        yield filtered
    finally:
        for name in names:
            logging.getLogger(name).removeFilter(filtered)


def cause_of(error: BaseException | None) -> str:
    """Return in one line what is behind an error of the engine, whose own words are "Database error."."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return "it has ended by itself" if error is None else f"{type(error).__name__}: {first_line(error)}".rstrip(": ")


def first_line(error: BaseException) -> str:
    """Return what an error says, without the advice that PostgreSQL adds in further lines."""
    return str(error).strip().partition("\n")[0]
