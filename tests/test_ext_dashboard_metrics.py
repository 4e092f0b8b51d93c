"""What Prometheus gets: names, values and their bounds, as its own parser reads them."""

import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio import to_thread
from dashboard_durable import Engine
from dashboard_host import Scene, dashboard_of, fail, forever, nothing, scene
from puppet import QUIET, Puppet

from hostkit import (
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    Restart,
    StoppingToken,
    ThreadStoppingToken,
)
from hostkit.events import ServiceAbandoned
from hostkit.jobs import JobQueue
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.needs("starlette", "prometheus_client")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
AFTER_TEN = Restart(backoff=Backoff(initial=10, jitter=0))
PATIENCE = 30.0
"""Seconds after which a thread ends that a test which has failed has forgotten."""
Values = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(found: Scene, accept: str = "") -> str:
    """Return what is answered."""
    answer = await found.client.get("/metrics", accept=accept)
    assert answer.status == 200, answer
    return answer.text


def parse(text: str) -> dict[tuple[str, ...], float]:
    """Return the value of each series, by its name and the values of its labels in the order of their names."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name.removeprefix("hostkit_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_of_a_host_with_something_of_everything() -> None:
    """Every family has its values."""

    def prepare(builder: HostBuilder) -> None:
        engine = builder.add_service(Engine(), name="durable")
        engine.fail(1, "letters", "welcome", None)

    options = HostOptions(application_name="orders", environment="test", log_level="CRITICAL")
    async with scene(prepare, options=options, worker={"on_failure": Restart()}, queue={"concurrency": 1}) as found:
        first = parse(await scrape(found))
        found.worker.fail(OSError())
        await (await found.queue.enqueue(fail)).wait()
        await found.queue.enqueue(nothing)
        await found.queue.enqueue_in(1000, nothing)
        found.scheduler.add(fail, Every(hours=2), name="fails").run_now()
        found.scheduler.add(forever, Every(hours=2), name="long", run_at_start=True)
        found.scheduler.jobs["hourly"].run_now()
        await anyio.sleep(100)
        await found.queue.enqueue(forever)
        await anyio.sleep(1)
        await found.queue.enqueue(nothing)
        await anyio.sleep(5)
        last = parse(await scrape(found))

    assert first["host_state", "started"] == 1
    assert first["service_restarts_total", "worker"] == 0
    assert next(name for name in last if name[0] == "build_info")[1:3] == ("orders", "test")
    expected: dict[tuple[str, ...], float] = {
        ("host_ready",): 1,
        ("host_healthy",): 1,
        ("service_state", "worker", "started"): 1,
        ("service_state", "worker", "failed"): 0,
        ("service_stalled", "worker"): 0,
        ("service_restarts_total", "worker"): 1,
        ("service_failures_total", "worker"): 1,
        ("service_start_duration_seconds", "worker"): 0,
        ("schedule_runs_total", "fails", "failed"): 1,
        ("schedule_runs_total", "hourly", "succeeded"): 1,
        ("schedule_runs_total", "hourly", "failed"): 0,
        ("schedule_runs_in_progress", "long"): 1,
        ("schedule_run_duration_seconds_count",): 2,
        ("schedule_run_duration_seconds_bucket", "0.01"): 2,
        ("schedule_lateness_seconds_bucket", "+Inf"): 2,
        ("queue_jobs", "mail", "running"): 1,
        ("queue_jobs", "mail", "waiting"): 1,
        ("queue_jobs", "mail", "delayed"): 1,
        ("queue_jobs_ended_total", "failed", "mail"): 1,
        ("queue_jobs_ended_total", "succeeded", "mail"): 1,
        ("queue_capacity_jobs", "mail"): 10_000,
        ("queue_concurrency_jobs", "mail"): 1,
        ("queue_oldest_waiting_seconds", "mail"): 5,
        ("durable_jobs", "durable", "failed"): 1,
        ("metrics_dropped_names", "schedule"): 0,
    }
    assert {name: last[name] for name in expected} == expected
    assert (
        last["schedule_last_success_timestamp_seconds", "hourly"]
        == last["schedule_last_run_timestamp_seconds", "hourly"]
    )
    assert ("schedule_last_success_timestamp_seconds", "fails") not in last
    assert last["schedule_next_run_timestamp_seconds", "hourly"] > last["schedule_last_run_timestamp_seconds", "hourly"]
    assert ("process_start_time_seconds",) in last


@pytest.mark.parametrize("accept", ["", "text/plain; version=0.0.4", OPENMETRICS])
async def test_both_formats_are_read_by_their_parsers(accept: str) -> None:
    """What a client accepts, it gets; names keep Prometheus' rules."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families as plain

    async with scene() as found:
        answer = await found.client.get("/metrics", accept=accept)

    families = list((openmetrics if accept == OPENMETRICS else plain)(answer.text))
    ours = [family for family in families if family.name.startswith("hostkit_")]
    assert answer.headers["content-type"].startswith(accept.partition(";")[0] or "text/plain")
    assert len(ours) >= 20
    for family in ours:
        assert family.documentation.endswith(".")
        assert re.fullmatch(r"hostkit_[a-z_]+", family.name)
        assert not family.name.endswith(("_count", "_sum", "_bucket"))
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        if re.search("duration|lateness|timestamp|oldest|lag", family.name):
            assert family.name.removesuffix("_total").endswith("_seconds")


@pytest.mark.parametrize("phase", ["created", "started", "stopping", "stopped"])
async def test_in_every_phase(phase: str) -> None:
    """There is an answer, and it tells the state."""
    from asgi_client import Client

    from hostkit.ext.dashboard import dashboard_app

    builder = HostBuilder(QUIET)
    client = Client(dashboard_app(builder))
    unbuilt = parse((await client.get("/metrics")).text)
    builder.add_service(Puppet(drain=5), name="only")
    host = builder.build()
    async with anyio.create_task_group() as group:
        if phase != "created":
            await host.start()
        if phase == "stopping":
            group.start_soon(host.stop)
            await host.lifetime.wait_stopping()
        if phase == "stopped":
            await host.stop()
        found = parse((await client.get("/metrics")).text)
        if phase == "started":
            await host.stop()

    assert ("host_ready",) not in unbuilt
    assert found["host_state", phase] == 1
    assert found["host_ready",] == (phase == "started")
    assert sum(value for name, value in found.items() if name[0] == "host_state") == 1
    assert (("host_start_time_seconds",) in found) is (phase != "created")
    assert (("host_stop_duration_seconds",) in found) is (phase == "stopped")


@pytest.mark.parametrize(
    ("state", "script", "options"),
    [
        ("starting", {"start": 10}, {}),
        ("started", {}, {}),
        (
            "restarting",
            {"run": 0.5, "fails": "execute"},
            {"on_failure": AFTER_TEN},
        ),
        ("stalled", {"run": 0, "drain": 10}, {"heartbeat_timeout": 1}),
        ("failed", {"run": 0.5, "fails": "execute"}, {"on_failure": EndAction.IGNORE}),
    ],
)
async def test_in_every_state_of_a_service(state: str, script: dict[str, Any], options: dict[str, Any]) -> None:
    """Exactly one state is set; whether it is stalled, and what that makes of the host, is told beside it."""
    from asgi_client import Client

    from hostkit.ext.dashboard import dashboard_app

    builder = HostBuilder(QUIET)
    client = Client(dashboard_app(builder))
    builder.add_service(Puppet(**script), name="only", **options)
    host = builder.build()
    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(2)
        found = parse((await client.get("/metrics")).text)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await host.stop()

    assert [name[2] for name, value in found.items() if name[:2] == ("service_state", "only") and value] == [
        "started" if state == "stalled" else state
    ]
    assert found["service_stalled", "only"] == (state == "stalled")
    assert found["host_ready",] == (state != "starting")
    assert found["host_healthy",] == (state in {"starting", "started", "failed"})


@pytest.mark.real_time
async def test_a_thread_that_outlives_all_deadlines() -> None:
    """It is abandoned, which is not healthy: while the host stops the others, and when all of them have ended."""
    from asgi_client import Client

    from hostkit.ext.dashboard import dashboard_app

    builder = HostBuilder(replace(QUIET, cancellation_timeout=0.05))
    client = Client(dashboard_app(builder))
    others_may_end, may_end, abandoned = anyio.Event(), threading.Event(), anyio.Event()

    @builder.service(name="other")
    async def other(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        await others_may_end.wait()

    @builder.service(name="only", stop_timeout=0.05)
    def only(stopping_token: ThreadStoppingToken) -> None:
        may_end.wait(PATIENCE)

    host = builder.build()
    host.on_event(lambda event: abandoned.set() if isinstance(event, ServiceAbandoned) else None)
    found = []
    try:
        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(_fail_to_stop, host)
            with anyio.fail_after(PATIENCE):
                await abandoned.wait()
            found.append((parse((await client.get("/metrics")).text), (await client.get("/livez")).status))
            others_may_end.set()
        found.append((parse((await client.get("/metrics")).text), (await client.get("/livez")).status))
    finally:
        may_end.set()

    for (values, livez), state, alive in zip(found, ("stopping", "stopped"), (200, 503), strict=True):
        assert [name[2] for name, value in values.items() if name[:2] == ("service_state", "only") and value] == [
            "abandoned"
        ]
        assert (values["host_state", state], values["host_healthy",], values["host_ready",]) == (1, 0, 0)
        assert livez == alive


async def _fail_to_stop(host: Host) -> None:
    with pytest.raises(HostFailedError, match="'only' ignores its cancellation and was abandoned"):
        await host.stop()


async def test_while_a_stop_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the stop delay the host is started, and not ready."""
    async with scene() as found:
        announced = replace(found.host.status(), seconds_to_stop=4.2, stop_reason="signal SIGTERM", ready=False)
        monkeypatch.setattr(Host, "status", lambda self, lines: announced)
        values = parse(await scrape(found))
        monkeypatch.undo()

    assert (values["host_state", "started"], values["host_ready",]) == (1, 0)


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.long)])
async def test_ten_thousand_jobs_are_five_hundred_names(count: int) -> None:
    """All others are counted together, and how many they are is told."""

    def prepare(builder: HostBuilder) -> None:
        more = builder.add_service(Scheduler(), name="more")
        for number in range(count):
            more.add(nothing, Every(hours=1), name=f"job {number}")

    async with scene(prepare) as found:
        await anyio.sleep(3700)
        text = await scrape(found)

    found_values = parse(text)
    labels = {name[1] for name in found_values if name[0] == "schedule_runs_total"}
    assert len(labels) == 501
    assert found_values["schedule_runs_total", "other", "succeeded"] == count - 499
    assert found_values["metrics_dropped_names", "schedule"] == count - 499
    assert len(found_values) < 5_000


@pytest.mark.long
async def test_many_services_and_queues_are_bounded_too() -> None:
    """Their names are bounded by code, and by the same number."""

    def prepare(builder: HostBuilder) -> None:
        builder.add_services(*(JobQueue() for _ in range(600)))

    async with scene(prepare) as found:
        values = parse(await scrape(found))

    assert values["metrics_dropped_names", "service"] == 103
    assert values["metrics_dropped_names", "queue"] == 101


async def test_names_of_any_kind() -> None:
    """Quotes, line breaks, what has no encoding, and a megabyte."""
    names = ['a"b\\c\n{}', "\ud800", "x" * 1_000_000]

    async with scene() as found:
        for name in names:
            found.scheduler.add(nothing, Every(hours=1), name=name)
        text = await scrape(found)
        in_openmetrics = await scrape(found, OPENMETRICS)

    labels = {name[1] for name in parse(text) if name[0] == "schedule_runs_in_progress"}
    assert {'a"b\\c\n{}', "\\ud800"} <= labels
    assert max(map(len, labels)) < 150
    assert len(in_openmetrics) < 100_000


async def test_one_name_in_two_schedulers() -> None:
    """Then the scheduler is in the label."""

    def prepare(builder: HostBuilder) -> None:
        builder.add_service(Scheduler(), name="other").add(nothing, Every(hours=1), name="hourly")

    async with scene(prepare) as found:
        values = parse(await scrape(found))

    labels = {name[1] for name in values if name[0] == "schedule_runs_in_progress"}
    assert labels == {"scheduler/hourly", "other/hourly"}


async def test_counters_go_on_over_the_lives_of_a_host() -> None:
    """A host that is started again has not lost what it has counted."""
    from asgi_client import Client

    from hostkit.ext.dashboard import dashboard_app

    builder = HostBuilder(QUIET)
    client = Client(dashboard_app(builder))
    builder.add_service(Puppet(run=1, fails="execute"), name="a", on_failure=EndAction.IGNORE)
    builder.add_service(Puppet(), name="b")
    host = builder.build()
    counts = []
    for _ in range(2):
        async with host:
            await anyio.sleep(2)
            counts.append(parse((await client.get("/metrics")).text)["service_failures_total", "a"])

    assert counts == [1, 2]


async def test_the_lag_of_the_loop_is_the_largest_since_the_last_scrape() -> None:
    """Each scrape begins anew."""
    async with scene() as found:
        app = dashboard_of(found)
        await scrape(found)
        app.lag.add(0.2)
        app.lag.add(0.1)
        values = [parse(await scrape(found)) for _ in range(2)]

    assert values[0]["event_loop_lag_seconds",] == 0.2
    assert ("event_loop_lag_seconds",) not in values[1]


async def test_scrapes_share_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at a time, the host is read once."""
    readings = 0
    status = Host.status

    def counted(host: Host, *, lines: bool = True) -> Any:  # noqa: ANN401
        nonlocal readings
        readings += 1
        return status(host, lines=lines)

    async with scene() as found:
        await scrape(found)
        monkeypatch.setattr(Host, "status", counted)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(scrape, found)

    assert readings == 1


async def test_one_who_leaves_takes_no_answer_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the one whose scrape it was is cancelled, the next one makes the answer."""
    async with scene() as found:
        await scrape(found)
        entered = anyio.Event()
        run_sync = to_thread.run_sync

        async def slow(*arguments: Any) -> Any:  # noqa: ANN401
            entered.set()
            await anyio.sleep(1)
            return await run_sync(*arguments)

        monkeypatch.setattr(to_thread, "run_sync", slow)
        texts = []

        async def ask() -> None:
            texts.append(await scrape(found))

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(ask)
                group.start_soon(_cancel_after, entered, scope)
                await scrape(found)

    assert len(texts) == 1


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class TestHostCollector:
    async def test_in_a_registry_of_the_apps_own(self) -> None:
        """It is registered before the host is built, and collects when it is asked."""
        from prometheus_client import CollectorRegistry, generate_latest

        from hostkit.ext.dashboard import HostCollector

        builder = HostBuilder(QUIET)
        registry = CollectorRegistry()
        registry.register(HostCollector(builder))
        before = generate_latest(registry)
        scheduler = builder.add_service(Scheduler(), name="scheduler")
        scheduler.add(nothing, Every(seconds=10), name="often")
        host = builder.build()
        async with host:
            await anyio.sleep(35)
            during = parse(generate_latest(registry).decode())

        assert before == b""
        assert during["host_state", "started"] == 1
        assert during["schedule_run_duration_seconds_count",] == 3

    async def test_of_a_host_that_runs_already(self) -> None:
        """What was restarted before is counted."""
        from prometheus_client import CollectorRegistry, generate_latest

        from hostkit.ext.dashboard import HostCollector

        builder = HostBuilder(QUIET)
        builder.add_service(Puppet(run=1, fails="execute"), name="a", on_failure=Restart(limit=None))
        host = builder.build()
        async with host:
            await anyio.sleep(10)
            restarts = host.status().services[0].restarts
            registry = CollectorRegistry()
            registry.register(HostCollector(host))
            values = parse(generate_latest(registry).decode())

        assert restarts > 1
        assert values["service_restarts_total", "a"] == restarts

    def test_is_loaded_on_demand(self) -> None:
        """The page itself does not load prometheus-client; other names are none."""
        import hostkit.ext.dashboard as module

        with pytest.raises(AttributeError, match="has no attribute 'HostCollecter'"):
            module.HostCollecter  # noqa: B018
