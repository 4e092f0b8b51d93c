"""The metric families of a host, by Prometheus' rules for names: base units, ``_total`` for what only grows."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple

from hostkit import HostState, HostStatus, ServiceState
from hostkit.ext.dashboard._events import EventLog
from hostkit.ext.dashboard._text import hostkit_version, shortened
from hostkit.ext.dashboard._viewers import LoopLag
from hostkit.jobs import JobQueue, JobState
from hostkit.scheduling import Outcome, Run, ScheduledJob

MOST_NAMES = 500
"""How many services, jobs and queues have series of their own: each is kept by Prometheus for a long time."""
LONGEST_LABEL = 120
OTHER = "other"
NOW = (JobState.WAITING, JobState.DELAYED, JobState.RETRYING, JobState.RUNNING)
ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST)

Sample = tuple[Sequence[str], float]
"""The values of labels, and a number."""


class Family(NamedTuple):
    """All series of one name.

    Attributes:
        kind: ``gauge``, ``counter`` or ``histogram``.
        name: Its name, without ``_total``.
        text: What it is, in a sentence.
        samples: Of each series what is added to the name, the names and values of its labels, and its number.
    """

    kind: str
    name: str
    text: str
    samples: Sequence[tuple[str, Sequence[str], Sequence[str], float]]


class Histogram:
    """How many values were up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin with none."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str) -> Family:
        """Return what a scrape gets."""
        so_far = list(accumulate(map(float, self._counts)))
        bounds = (*map(str, self._bounds), "+Inf")
        buckets = [("_bucket", ("le",), (bound,), number) for bound, number in zip(bounds, so_far, strict=True)]
        return Family(
            "histogram",
            f"hostkit_{name}",
            text,
            [*buckets, ("_count", (), (), so_far[-1]), ("_sum", (), (), self._sum)],
        )


def of_host(status: HostStatus, durations: Mapping[str, float]) -> Iterator[Family]:
    """Yield what the host itself does."""
    labels = ("version", "application", "environment")
    values = hostkit_version(), _label(status.application_name), _label(status.environment)
    yield _gauge("build_info", "The version of hostkit, and what runs on it.", [(values, 1)], *labels)
    states = [((state.value,), status.state is state) for state in HostState]
    yield _gauge("host_state", "The state of the host: 1 for the one it is in.", states, "state")
    yield _gauge("host_ready", "Whether the host is started, and no stop was requested.", [((), status.ready)])
    yield _gauge("host_healthy", "Whether no service has failed, restarts or is stalled.", [((), status.healthy)])
    if status.started_at is not None:
        started = datetime.fromisoformat(status.started_at).timestamp()
        yield _gauge("host_start_time_seconds", "When the host began to start, in Unix time.", [((), started)])
    for name, duration in durations.items():
        yield _gauge(f"host_{name}_duration_seconds", f"How long the {name} of the host took.", [((), duration)])


def of_services(status: HostStatus, events: EventLog, dropped: Counter[str]) -> Iterator[Family]:
    """Yield what each service does."""
    services = status.services[:MOST_NAMES]
    dropped["service"] = len(status.services) - len(services)
    names = {service.name: _label(service.name) for service in services}
    states = [
        ((names[service.name], state.value), service.state is state) for service in services for state in ServiceState
    ]
    yield _gauge("service_state", "The state of each service: 1 for the one it is in.", states, "service", "state")
    stalled = [((names[service.name],), service.stalled) for service in services]
    yield _gauge("service_stalled", "Whether a service is stalled.", stalled, "service")
    restarts = [((label,), events.restarts[name]) for name, label in names.items()]
    yield _counter("service_restarts", "How often a service was restarted.", restarts, "service")
    failures = [((label,), events.failures[name]) for name, label in names.items()]
    yield _counter("service_failures", "How often a service has failed.", failures, "service")
    durations = events.start_durations
    took = [((label,), durations[name]) for name, label in names.items() if name in durations]
    yield _gauge(
        "service_start_duration_seconds", "How long a service took to be ready, the last time.", took, "service"
    )


def of_schedules(jobs: Sequence[tuple[str, ScheduledJob]], dropped: Counter[str]) -> Iterator[Family]:
    """Yield what each scheduled job does; from the 501st on, only how often they have run, all together."""
    often = Counter(job.name for _, job in jobs)
    labels = [_label(job.name if often[job.name] == 1 else f"{scheduler}/{job.name}") for scheduler, job in jobs]
    shown = list(zip(labels, (job for _, job in jobs), strict=True))[:MOST_NAMES]
    dropped["schedule"] = len(jobs) - len(shown)
    runs = [((label, outcome.value), job.counts.get(outcome, 0)) for label, job in shown for outcome in Outcome]
    if len(jobs) > len(shown):
        rest = [job.counts for _, job in jobs[MOST_NAMES:]]
        runs += [((OTHER, outcome.value), sum(counts.get(outcome, 0) for counts in rest)) for outcome in Outcome]
    yield _counter("schedule_runs", "How many runs of a scheduled job have ended, and how.", runs, "job", "outcome")
    running = [((label,), job.running) for label, job in shown]
    yield _gauge("schedule_runs_in_progress", "How many runs of a scheduled job go on.", running, "job")
    instants: tuple[tuple[str, str, Iterable[tuple[str, datetime | None]]], ...] = (
        (
            "last_run",
            "When a scheduled job was last due and ran",
            ((label, _planned(job.last_run)) for label, job in shown),
        ),
        (
            "last_success",
            "When a scheduled job was last due and succeeded",
            ((label, _planned(job.last_success)) for label, job in shown),
        ),
        ("next_run", "When a scheduled job is due next", ((label, job.next_run) for label, job in shown)),
    )
    for name, text, found in instants:
        samples = [((label,), instant.timestamp()) for label, instant in found if instant is not None]
        yield _gauge(f"schedule_{name}_timestamp_seconds", f"{text}, in Unix time.", samples, "job")


def of_queues(queues: Mapping[str, JobQueue], dropped: Counter[str]) -> Iterator[Family]:
    """Yield what each queue in memory does."""
    shown = [(_label(name), queue, queue.counts) for name, queue in list(queues.items())[:MOST_NAMES]]
    dropped["queue"] = len(queues) - len(shown)
    now = [((label, state.value), counts.get(state, 0)) for label, _, counts in shown for state in NOW]
    yield _gauge("queue_jobs", "How many jobs of a queue are in each state.", now, "queue", "state")
    ended = [((label, state.value), counts.get(state, 0)) for label, _, counts in shown for state in ENDS]
    yield _counter("queue_jobs_ended", "How many jobs of a queue have ended, and how.", ended, "queue", "outcome")
    capacity = [((label,), queue.capacity) for label, queue, _ in shown]
    yield _gauge("queue_capacity_jobs", "How many jobs may wait in a queue.", capacity, "queue")
    concurrency = [((label,), queue.concurrency) for label, queue, _ in shown]
    yield _gauge("queue_concurrency_jobs", "How many jobs of a queue may run at a time.", concurrency, "queue")
    oldest = [((label,), queue.oldest_waiting_age) for label, queue, _ in shown]
    yield _gauge("queue_oldest_waiting_seconds", "For how long the next job of a queue has waited.", oldest, "queue")


def of_durable_jobs(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Family]:
    """Yield how many durable jobs each worker sees, in the states of its engine."""
    samples = [((_label(name), state), number) for name, states in counts.items() for state, number in states.items()]
    yield _gauge("durable_jobs", "How many durable jobs are in each state.", samples, "service", "state")


def of_loop(lag: LoopLag) -> Iterator[Family]:
    """Yield how late the event loop was, and begin anew."""
    text = "How late the event loop was at most since the last scrape."
    yield _gauge("event_loop_lag_seconds", text, [] if lag.peak is None else [((), lag.peak)])
    lag.peak = None


def of_names(dropped: Mapping[str, int]) -> Iterator[Family]:
    """Yield how many names have no series of their own."""
    samples = [((kind,), number) for kind, number in dropped.items()]
    yield _gauge("metrics_dropped_names", "How many names have no series of their own.", samples, "kind")


def _planned(run: Run | None) -> datetime | None:
    return None if run is None else run.planned


def _label(name: str) -> str:
    # A name that no encoding has would make the whole answer fail.
    return shortened(name, LONGEST_LABEL).encode(errors="backslashreplace").decode()


def _gauge(name: str, text: str, samples: Iterable[Sample], *labels: str) -> Family:
    return Family("gauge", f"hostkit_{name}", text, [("", labels, values, float(value)) for values, value in samples])


def _counter(name: str, text: str, samples: Iterable[Sample], *labels: str) -> Family:
    counted = [("_total", labels, values, float(value)) for values, value in samples]
    return Family("counter", f"hostkit_{name}", text, counted)
