"""Access to the host that the dashboard shows: its parts by name, its clocks, its durable workers."""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar, runtime_checkable

import anyio

from hostkit import Host, HostBuilder, HostedService, HostStatus
from hostkit.ext.dashboard._events import EventLog
from hostkit.ext.dashboard._text import short_name
from hostkit.ext.health import host_of
from hostkit.jobs import JobQueue
from hostkit.scheduling import ScheduledJob, Scheduler

S = TypeVar("S")

MOST_ITEMS = 200
"""How many items a row opens to at most, whatever is asked for."""
DURABLE_TIMEOUT = 2.0
DRIFT = timedelta(seconds=0.5)
DURABLE_FRESH = 2.0


class DurableJob(Protocol):
    """A failed job of an engine that keeps jobs."""

    id: int
    task: str
    queue: str
    attempts: int
    at: str | None
    error: str | None


@runtime_checkable
class DurableWorker(Protocol):
    """A service that works for an engine that keeps jobs, such as `hostkit.ext.procrastinate.ProcrastinateWorker`."""

    def details(self) -> Mapping[str, object]:
        """Return what it does; of it, ``queues`` is shown, a sequence of names or None for all."""
        ...

    def counts(self) -> Awaitable[Mapping[str, int]]:
        """Return how many jobs of its queues are in each state."""
        ...

    def oldest_waiting_age(self) -> Awaitable[float | None]:
        """Return for how many seconds a job has been ready, the longest of them; None if none waits."""
        ...

    def failed(self, limit: int) -> Awaitable[Sequence[DurableJob]]:
        """Return the last jobs that have failed, the latest first."""
        ...

    def retry(self, job_id: int) -> Awaitable[bool]:
        """Put a failed job back into its queue; return False if there is none."""
        ...

    def delete(self, job_id: int) -> Awaitable[bool]:
        """Delete a failed job; return False if there is none."""
        ...


class Clocks:
    """Converts times of the event loop's clock to instants, by one reading of both clocks.

    Args:
        status: The reading.
        before: The previous one. An instant keeps its text while it differs by less than half a second, so that
            snapshots of an idle host are equal.
    """

    def __init__(self, status: HostStatus, before: "Clocks | None" = None) -> None:
        """Take the reading in *status*."""
        self.now = datetime.fromisoformat(status.at)
        self.loop_time = status.loop_time
        self._steady: dict[object, tuple[datetime, str]] = {}
        self._before = {} if before is None else before._steady  # noqa: SLF001  # its own class
        self._began = self.now - timedelta(seconds=status.loop_time or 0.0)
        if before is not None and abs(self._began - before._began) < DRIFT:  # noqa: SLF001  # its own class
            self._began = before._began  # noqa: SLF001  # its own class

    def instant(self, time: float | None) -> str | None:
        """Return a time of the loop's clock as an instant (ISO 8601, UTC)."""
        if time is None or self.loop_time is None:
            return None
        return iso(self._began + timedelta(seconds=time))

    def steady(self, instant: str | None, *key: object) -> str | None:
        """Return *instant*, or the text that *key* had in the previous reading if both are nearly equal."""
        return None if instant is None else self.settled(datetime.fromisoformat(instant), *key)[1]

    def settled(self, instant: datetime, *key: object) -> tuple[datetime, str]:
        """Return *instant* and its text, or what *key* had in the previous reading if both are nearly equal."""
        known = self._before.get(key)
        if known is None or abs(instant - known[0]) >= DRIFT:
            known = instant, iso(instant)
        self._steady[key] = known
        return known

    def age(self, time: float | None) -> float:
        """Return how many seconds ago a time of the loop's clock was; 0 if it is not known."""
        return 0.0 if time is None or self.loop_time is None else self.loop_time - time


class DurableCounts:
    """The counts of all durable workers, queried every two seconds at most, each time for two seconds at most.

    Attributes:
        counts: By the worker's name; kept when the database does not answer.
        oldest: For how many seconds the job that waits for longest has been ready, likewise.
        errors: Why the last question had no answer, likewise.
    """

    def __init__(self) -> None:
        """Start without counts."""
        self.counts: dict[str, Mapping[str, int]] = {}
        self.oldest: dict[str, float | None] = {}
        self.failed: dict[str, Sequence[DurableJob]] = {}
        self.errors: dict[str, Exception] = {}
        self._asked_at: float | None = None

    async def refresh(self, workers: Mapping[str, DurableWorker]) -> None:
        """Query all *workers*, unless the last query is less than two seconds old."""
        now = anyio.current_time()
        if not workers or (self._asked_at is not None and 0 <= now - self._asked_at < DURABLE_FRESH):
            return
        self._asked_at = now
        async with anyio.create_task_group() as group:
            for name, worker in workers.items():
                group.start_soon(self._ask, name, worker)
        self._asked_at = anyio.current_time()

    def forget(self) -> None:
        """Discard the age of the counts, as an action has changed them."""
        self._asked_at = None

    async def _ask(self, name: str, worker: DurableWorker) -> None:
        try:
            with anyio.fail_after(DURABLE_TIMEOUT):
                self.counts[name] = await worker.counts()
                self.oldest[name] = await worker.oldest_waiting_age()
                self.failed[name] = await worker.failed(MOST_ITEMS)
            self.errors.pop(name, None)
        except Exception as error:  # noqa: BLE001  # whatever the engine raises is shown
            self.errors[name] = error


class HostView:
    """The host that the dashboard shows.

    Attributes:
        source: The builder, or the host.
        events: What has happened to it.
        durable: What its durable workers have reported.
    """

    def __init__(self, source: HostBuilder | Host) -> None:
        """Listen to *source*."""
        self.source = source
        self.events = EventLog(source)
        self._clocks: Clocks | None = None
        self._paused: dict[str, float] = {}
        self.durable = DurableCounts()
        self._found: dict[type[object], dict[str, object]] = {}  # a host's services stay the same

    @property
    def host(self) -> Host | None:
        """The host; None until the builder has built it."""
        return host_of(self.source)

    def clocks(self, status: HostStatus) -> Clocks:
        """Return the clocks for a snapshot of *status*; the next snapshot's instants keep to them."""
        self._clocks = Clocks(status, self._clocks)
        return self._clocks

    def clocks_now(self, host: Host) -> Clocks:
        """Return the clocks as they are now, with the instants of the last snapshot."""
        return Clocks(host.status(services=False), self._clocks)

    def queues(self) -> dict[str, JobQueue]:
        """Return the queues by name."""
        return self._services(JobQueue)

    def schedulers(self) -> dict[str, Scheduler]:
        """Return the schedulers by name."""
        return self._services(Scheduler)

    def dashboards(self) -> dict[str, HostedService]:
        """Return the services that show a host, by name."""
        services = {} if self.host is None else self.host.services
        return {name: service for name, service in services.items() if getattr(service, "shows_host", False)}

    def paused_for(self, name: str, clocks: Clocks, *, paused: bool) -> float:
        """Return for how many seconds a service was seen paused, in snapshot after snapshot."""
        if not paused:
            self._paused.pop(name, None)
            return 0.0
        return clocks.age(self._paused.setdefault(name, clocks.loop_time or 0.0))

    def durable_workers(self) -> dict[str, DurableWorker]:
        """Return the workers of engines that keep jobs, by name."""
        return self._services(DurableWorker)  # type: ignore[type-abstract]  # isinstance knows protocols

    async def refresh_durable(self) -> None:
        """Have `durable` tell of these workers as they are now, or were two seconds ago."""
        await self.durable.refresh(self.durable_workers())

    def schedules(self) -> Iterator[tuple[str, ScheduledJob]]:
        """Yield every scheduled job with its scheduler's name."""
        for name, scheduler in self.schedulers().items():
            for job in tuple(scheduler.jobs.values()):
                yield name, job

    def schedule(self, name: str, scheduler: str) -> ScheduledJob | None:
        """Return a scheduled job by its name, of the scheduler of that name unless that is empty."""
        for own_name, found in self.schedulers().items():
            job = named(name, found.jobs) if scheduler in {"", own_name, short_name(own_name)} else None
            if job is not None:
                return job
        return None

    def service(self, name: str) -> HostedService | None:
        """Return a service by its name, which may be shortened as in a snapshot."""
        return named(name, {} if self.host is None else self.host.services)

    def _services(self, kind: type[S]) -> dict[str, S]:
        if self.host is None:
            return {}
        if kind not in self._found:
            services = self.host.services.items()
            self._found[kind] = {name: service for name, service in services if isinstance(service, kind)}
        return self._found[kind]  # type: ignore[return-value]  # of this kind


def named(name: str, things: Mapping[str, S]) -> S | None:
    """Return the value of that name, which may be shortened as in a snapshot."""
    if name in things:
        return things[name]
    return next((thing for full, thing in things.items() if short_name(full) == name), None)


def iso(instant: datetime) -> str:
    """Return an instant as JSON has it: ISO 8601 in its own time zone, with milliseconds."""
    return instant.isoformat(timespec="milliseconds")
