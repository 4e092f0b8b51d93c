"""The options of a worker, checked where it is given."""

from __future__ import annotations

import inspect
import math
import os
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from loguru import logger
from procrastinate import App, PsycopgConnector
from procrastinate.worker import Worker

from hostkit import Backoff
from hostkit._values.numbers import check_int

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEAST_HEARTBEATS = 3
"""How many heartbeats may be missing before a worker is taken for dead."""
MOST_THREADS, MORE_THREADS = 32, 4
"""How many threads a default executor of asyncio has: so many at most, and so many more than processors."""
REFUSED = MappingProxyType(
    {
        "install_signal_handlers": "signals are the host's",
        "shutdown_graceful_timeout": "the host's shutdown_timeout, or this service's stop_timeout, says how long",
        "wait": "a service runs until the stop",
        "fetch_job_polling_interval": "it is called poll_every here",
        "update_heartbeat_interval": "it is called heartbeat_every here",
        "stalled_worker_timeout": "it is called stalled_after here",
        "app": "it is the first argument",
    }
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The options of a `ProcrastinateWorker`; durations in seconds."""

    queues: list[str] | None
    concurrency: int
    heartbeat_every: float
    stalled_after: float
    sweep_every: float
    poll_every: float
    backoff: Backoff
    crash_limit: int
    keep_failures: int
    apply_schema: bool
    engine: Mapping[str, object]
    """Further options, for the engine's worker."""

    def __post_init__(self) -> None:
        """Check what was given."""
        for name, least in (("concurrency", 1), ("crash_limit", 1), ("keep_failures", 0)):
            check_int(name, getattr(self, name), least)
        for name in ("heartbeat_every", "stalled_after", "sweep_every", "poll_every"):
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        least_stalled = LEAST_HEARTBEATS * self.heartbeat_every
        if self.stalled_after < least_stalled:
            message = (
                f"stalled_after must be at least {LEAST_HEARTBEATS} x heartbeat_every ({least_stalled:g} s), or "
                f"workers that are alive lose their jobs to others; got {self.stalled_after:g} s"
            )
            raise ValueError(message)
        if not isinstance(self.backoff, Backoff):
            message = f"backoff must be a hostkit.Backoff, got {self.backoff!r}"
            raise TypeError(message)
        _check_engine_options(self.engine)


def check_app(app: App) -> None:
    """Refuse an app that no worker can be made of.

    Raises:
        TypeError: It is no app of procrastinate, or not one on psycopg.
    """
    if not isinstance(app, App):
        message = f"app must be a procrastinate.App, got {app!r}"
        raise TypeError(message)
    if not isinstance(app.connector, PsycopgConnector):
        message = f"app must have a procrastinate.PsycopgConnector, has {app.connector!r}"
        raise TypeError(message)


def warn_of_few_threads(app: App, concurrency: int) -> None:
    """Say so when blocking tasks cannot all run at a time."""
    blocking = sorted({task.name for task in app.tasks.values() if not inspect.iscoroutinefunction(task.func)})
    threads = min(MOST_THREADS, (os.cpu_count() or 1) + MORE_THREADS)
    if blocking and concurrency > threads:
        logger.warning(
            "concurrency is {}, but blocking tasks ({}) share the threads of the event loop's default executor, which "
            "are {} unless the app has set its own: loop.set_default_executor(ThreadPoolExecutor({}))",
            concurrency,
            ", ".join(blocking),
            threads,
            concurrency,
        )


def queue_names(queues: Iterable[str] | None) -> list[str] | None:
    """Return the names of *queues*; None for all queues.

    Raises:
        TypeError: It is one str, or not all of them are.
        ValueError: There is none.
    """
    if queues is None:
        return None
    names = [] if isinstance(queues, str) else list(queues)
    if isinstance(queues, str) or not all(isinstance(name, str) for name in names):
        message = f"queues must be names of queues, such as ['mail', 'reports'], got {queues!r}"
        raise TypeError(message)
    if not names:
        message = "queues must not be empty; None is for all queues"
        raise ValueError(message)
    return names


def _check_engine_options(options: Mapping[str, object]) -> None:
    known = inspect.signature(Worker.__init__).parameters
    for name in options:
        if name in REFUSED:
            message = f"{name} is not for a worker inside a host: {REFUSED[name]}"
            raise TypeError(message)
        if name not in known:
            message = (
                f"procrastinate's worker has no option {name!r}; it has {', '.join(sorted(set(known) - {'self'}))}"
            )
            raise TypeError(message)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{name} must be seconds (a number) or a timedelta, got {value!r}"
        raise TypeError(message)
    if not 0 < value < math.inf:
        message = f"{name} must be more than 0 seconds, and finite, got {value!r}"
        raise ValueError(message)
    return float(value)
