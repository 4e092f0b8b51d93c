"""Metrics for Prometheus, read from the host's status when they are scraped."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import anyio
from anyio import to_thread
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hostkit import Host, HostBuilder
from hostkit.events import HostEvent, RunFinished
from hostkit.ext.dashboard import _families as families
from hostkit.ext.dashboard._view import HostView
from hostkit.ext.dashboard._viewers import LoopLag
from hostkit.ext.health import listen

DURATIONS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
LATENESSES = (0.01, 0.1, 1.0, 10.0, 60.0)

Encoder = Callable[[CollectorRegistry], bytes]


class HostReader:
    """Reads all metrics of a host; between two readings it only adds up how long runs take."""

    def __init__(self, view: HostView, lag: LoopLag) -> None:
        """Listen to the host of *view*."""
        self._view = view
        self._lag = lag
        self._durations = families.Histogram(DURATIONS)
        self._latenesses = families.Histogram(LATENESSES)
        listen(view.source, self._listen)

    def _listen(self, event: HostEvent) -> None:
        if isinstance(event, RunFinished):
            self._durations.add(event.duration)
            self._latenesses.add(max(0.0, (event.started - event.planned).total_seconds()))

    def read(self) -> list[families.Family]:
        """Return every metric as it is now."""
        host, view = self._view.host, self._view
        if host is None:
            return []
        status = host.status(lines=False)
        dropped: Counter[str] = Counter(schedule=0, service=0, queue=0)
        return [
            *families.of_host(status, view.events.host_durations),
            *families.of_services(status, view.events, dropped),
            *families.of_schedules(list(view.schedules()), dropped),
            self._durations.family("schedule_run_duration_seconds", "How long runs of scheduled jobs took."),
            self._latenesses.family("schedule_lateness_seconds", "How late runs of scheduled jobs began."),
            *families.of_queues(view.queues(), dropped),
            *families.of_durable_jobs(view.durable.counts),
            *families.of_loop(self._lag),
            *families.of_names(dropped),
        ]


class HostCollector(Collector):
    """Reads a host at each scrape; between scrapes it only adds up how long runs take.

    To register in a registry of the app's own: ``REGISTRY.register(HostCollector(host))``. Restarts, failures and the
    durations of runs are counted from when it was made. At most 500 services, jobs and queues have series of their
    own; the runs of all further jobs are counted as those of the job ``other``. Prometheus' multiprocess mode leaves
    collectors out: a host is one process, and one target.

    Args:
        source: The host, or the builder that makes it.
    """

    def __init__(self, source: HostBuilder | Host) -> None:
        """Listen to *source*."""
        self._reader = HostReader(HostView(source), LoopLag())

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the host need not be built when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now; from any thread."""
        for family in self._reader.read():
            metric = Metric(family.name, family.text, family.kind)
            for suffix, labels, values, number in family.samples:
                metric.add_sample(f"{family.name}{suffix}", dict(zip(labels, values, strict=True)), number)
            yield metric


class Scrape:
    """One answer in the making."""

    def __init__(self) -> None:
        """Begin it."""
        self.done = anyio.Event()
        self.body: bytes | None = None


class Metrics:
    """The response to ``/metrics``: one is made at a time, and shared by the requests that arrive meanwhile.

    The host is read in its event loop, and the text made in a thread.
    """

    def __init__(self, view: HostView, lag: LoopLag) -> None:
        """Read the host of *view*, and the process."""
        self._reader = HostReader(view, lag)
        self._process = CollectorRegistry()
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=self._process)
        self._scrapes: dict[str, Scrape] = {}

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return text and media type for a client that accepts *accept*."""
        encode, media_type = choose_encoder(accept)
        while True:
            scrape = self._scrapes.get(media_type)
            if scrape is not None:
                await scrape.done.wait()
                if scrape.body is not None:
                    return scrape.body, media_type
                continue  # the request that made it was cancelled
            scrape = self._scrapes[media_type] = Scrape()
            try:
                found = self._reader.read()
                scrape.body = await to_thread.run_sync(self._encode, found, encode, "openmetrics" in media_type)
                return scrape.body, media_type
            finally:
                del self._scrapes[media_type]
                scrape.done.set()

    def _encode(self, found: Sequence[families.Family], encode: Encoder, openmetrics: bool) -> bytes:  # noqa: FBT001
        # By the library's own encoder, the series of a host would take three times as long.
        ours = "".join(text for family in found for text in _lines(family, openmetrics=openmetrics))
        return ours.encode() + encode(self._process)


def _lines(family: families.Family, *, openmetrics: bool) -> Iterator[str]:
    # In the older format the lines on top have the name of the series.
    name = family.name if openmetrics or family.kind != "counter" else f"{family.name}_total"
    yield f"# HELP {name} {family.text}\n# TYPE {name} {family.kind}\n"
    for suffix, labels, values, number in family.samples:
        pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))
        yield f"{family.name}{suffix}{{{pairs}}} {number!r}\n" if pairs else f"{family.name}{suffix} {number!r}\n"


def _escaped(value: str) -> str:
    if value.isalnum():  # most are
        return value
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
