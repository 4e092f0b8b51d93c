"""What the page on operation shows agrees with hostkit: its defaults, its paths, its metrics; and its programs run."""

import atexit
import json
import logging
import re
import sys
from collections.abc import Iterable
from configparser import ConfigParser
from datetime import timedelta
from logging.handlers import QueueHandler
from types import ModuleType
from typing import Any

import anyio
import pytest
import yaml
from documents import ROOT, Block, blocks

from hostkit import HostBuilder, HostedService, HostOptions
from hostkit.ext import health
from hostkit.ext.asgi import ASGIApp
from hostkit.jobs import JobQueue
from hostkit.scheduling import Every, Scheduler

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
MANIFEST, SCRAPE, ALERTS = (yaml.safe_load(block.text) for block in blocks(PAGE, "yaml"))
GRAFANA = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
PROGRAMS: dict[str, Block] = {}
for block in blocks(PAGE, "py"):
    words = block.text.partition("import ")[0].split()[1]
    PROGRAMS[words.partition(".")[0]] = block
DEFAULTS = HostOptions()


def unit() -> ConfigParser:
    """Return the unit file, read as systemd reads it."""
    (block,) = blocks(PAGE, "ini")
    parser = ConfigParser(strict=True, interpolation=None, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # the documented way to keep the case
    parser.read_string(block.text)
    return parser


def container() -> Any:  # noqa: ANN401  # YAML
    """Return the container of the manifest."""
    (found,) = MANIFEST["spec"]["template"]["spec"]["containers"]
    return found


def environment() -> dict[str, str]:
    """Return the variables that the manifest sets."""
    return {variable["name"]: variable.get("value", "") for variable in container()["env"]}


def test_the_durations_are_the_defaults() -> None:
    """What the page says of a stop are the defaults of the options."""
    shown = re.search(
        r"`stop_delay` \((\d+) s\), then `shutdown_timeout` \((\d+) s\), then `cancellation_timeout` \((\d+) s\)", TEXT
    )

    assert shown is not None
    assert [float(seconds) for seconds in shown.groups()] == [
        DEFAULTS.stop_delay,
        DEFAULTS.shutdown_timeout,
        DEFAULTS.cancellation_timeout,
    ]


def test_the_proxy_says_who_asks_and_how() -> None:
    """A cookie has another name behind TLS: the stream of events needs to be told of it as well as the page."""
    locations = [block for block in blocks(PAGE, "nginx") if "proxy_pass" in block.text]
    parts = "".join(block.text for block in locations).split("location ")[1:]

    assert len(parts) == 2
    for part in parts:
        assert re.findall(r"proxy_set_header (\S+)", part) == ["Host", "X-Forwarded-For", "X-Forwarded-Proto"]


def test_the_unit_leaves_the_stop_its_time() -> None:
    """The unit waits longer than the host, speaks its language, and does not try a wrong flag again."""
    service = unit()["Service"]

    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > DEFAULTS.shutdown_timeout + DEFAULTS.cancellation_timeout
    assert "AF_UNIX" in service["RestrictAddressFamilies"].split()
    assert service["RestartPreventExitStatus"] == "2"
    assert "hostkit run orders.worker" in service["ExecStart"]
    assert set(unit().sections()) == {"Unit", "Service", "Install"}


def test_the_manifest_leaves_the_stop_its_time() -> None:
    """The grace period is longer than the delay of the manifest and both timeouts together."""
    delay = float(environment()["HOSTKIT_STOP_DELAY"])
    options = HostOptions(stop_delay=delay, log_format=environment()["HOSTKIT_LOG_FORMAT"])  # type: ignore[arg-type]  # checked there

    total = options.stop_delay + options.shutdown_timeout + options.cancellation_timeout
    assert MANIFEST["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > total
    assert options.stop_delay > 0


@pytest.mark.parametrize("page", ["operations", "howto/deploy"])
def test_a_manifest_that_opens_the_dashboard_gives_it_a_token(page: str) -> None:
    """Beyond loopback the dashboard does not start without one."""
    manifest = yaml.safe_load(blocks(ROOT / "docs" / f"{page}.md", "yaml")[0].text)
    spec = manifest["spec"].get("template", manifest)["spec"]
    (shown,) = spec["containers"]

    assert "0.0.0.0:9000" in shown["args"]
    assert "HOSTKIT_DASHBOARD_TOKEN" in {variable["name"] for variable in shown["env"]}


def test_the_probes_are_those_of_hostkit() -> None:
    """Paths are answered, the port is the dashboard's, and a start may take as long as the host lets it."""
    probes = {kind: container()[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    (port,) = container()["ports"]

    assert {probe["httpGet"]["path"] for probe in probes.values()} == health.PROBE_PATHS
    assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
    assert container()["args"][-1].endswith(f":{port['containerPort']}")
    assert all(probe["timeoutSeconds"] > health.CHECK_TIMEOUT for probe in probes.values())
    assert DEFAULTS.startup_timeout is not None
    assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] > DEFAULTS.startup_timeout
    assert probes["liveness"]["failureThreshold"] > probes["readiness"]["failureThreshold"]


def test_the_image_runs_the_command_without_a_shell() -> None:
    """The command is a list, so that the host is the first process and has the signals."""
    (dockerfile,) = blocks(PAGE, "dockerfile")
    command = re.search(r"^CMD (.*)$", dockerfile.text, re.MULTILINE)

    assert command is not None
    assert json.loads(command[1]) == container()["args"]


def metric_names(expressions: Iterable[str]) -> set[str]:
    """Return the metrics that expressions use."""
    return {name for expression in expressions for name in re.findall(r"\bhostkit_\w+", expression)}


@pytest.mark.servers
@pytest.mark.real_time
async def test_metrics_of_alerts_and_grafana_exist(anyio_backend_name: str) -> None:
    """Every metric that an alert or a panel uses is one that the collector yields, with these labels."""
    from hostkit.ext.dashboard import HostCollector

    builder = HostBuilder(HostOptions())
    scheduler = builder.add_service(Scheduler())

    @scheduler.job(Every(timedelta(seconds=0.01)))
    async def nightly() -> None: ...

    builder.add_service(JobQueue(), name="payments")
    collector = HostCollector(builder)
    succeeded = False
    async with builder.build():
        while not succeeded:
            await anyio.sleep(0.01)
            succeeded = scheduler.jobs["nightly"].last_success is not None
        samples = [sample for family in collector.collect() for sample in family.samples]

    labels: dict[str, set[str]] = {}
    for sample in samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    # Measured by the page alone, which is not running.
    labels.setdefault("hostkit_event_loop_lag_seconds", set())
    alerts = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    panels = [target["expr"] for panel in GRAFANA["panels"] for target in panel["targets"]]
    assert len(alerts) == 3
    assert metric_names(alerts) <= labels.keys()
    assert metric_names(panels) <= labels.keys()
    for outcome in ("failed", "lost"):
        assert any(
            sample.name == "hostkit_queue_jobs_ended_total" and sample.labels["outcome"] == outcome
            for sample in samples
        )


def test_grafana_has_everything_that_it_needs() -> None:
    """Panels do not lie on each other, have a data source that can be chosen, and numbers of their own."""
    variables = {variable["name"] for variable in GRAFANA["templating"]["list"]}
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in GRAFANA["panels"]}

    assert variables == {"datasource", "instance"}
    assert len(places) == len({panel["id"] for panel in GRAFANA["panels"]}) == len(GRAFANA["panels"])
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in GRAFANA["panels"])
    assert all(
        set(re.findall(r"\$(\w+)", target["expr"])) <= variables
        for panel in GRAFANA["panels"]
        for target in panel["targets"]
    )


def test_prometheus_proves_itself_with_the_token() -> None:
    """The scrape has the token from a file."""
    (job,) = SCRAPE["scrape_configs"]

    assert job["authorization"]["credentials_file"].startswith("/")
    assert "metrics_path" not in job  # the default, /metrics, is the dashboard's


def run_program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a program of the page as a module."""
    worker, module = ModuleType("orders.worker"), ModuleType("app")
    builder = HostBuilder(HostOptions())
    builder.add_service(HostedService(), name="orders")
    worker.__dict__["host"] = builder.build()
    monkeypatch.setitem(sys.modules, "orders", ModuleType("orders"))
    monkeypatch.setitem(sys.modules, "orders.worker", worker)
    monkeypatch.setitem(sys.modules, "app", module)
    exec(compile(PROGRAMS[name].text, str(PAGE), "exec"), module.__dict__)  # noqa: S102  # our own page
    return module


async def ask(app: ASGIApp, path: str) -> tuple[int, bytes]:
    """Return what an app answers to a client of this machine."""
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401  # of ASGI
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.servers
@pytest.mark.real_time
@pytest.mark.parametrize("name", ["fastapi", "litestar", "django"])
async def test_the_page_can_be_mounted(name: str, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs that mount the page answer its probes and its JSON below their own path."""
    if name == "django":
        import django  # type: ignore[import-untyped]  # it has no types

        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "django_settings")
        django.setup()
    module = run_program(name, monkeypatch)

    async with module.host:
        probe = await ask(module.app, "/ops/livez")
        status, body = await ask(module.app, "/ops/status.json")
    logger = logging.getLogger("litestar")
    for handler in list(logger.handlers):
        if isinstance(handler, QueueHandler):  # it has a thread, which ends with the process otherwise
            listener = handler.__dict__["listener"]
            listener.stop()
            atexit.unregister(listener.stop)  # where Litestar would stop it a second time
            logger.removeHandler(handler)

    assert probe == (200, b"ok\n")
    assert status == 200
    assert json.loads(body)["host"]["state"] == "started"


@pytest.mark.servers
async def test_a_host_is_observed_by_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe exports what the status says when it is read."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    module = run_program("collections", monkeypatch)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    builder = HostBuilder(HostOptions())
    builder.add_service(JobQueue(), name="payments")
    host = builder.build()
    module.observe(host, provider.get_meter("app"))

    async with host:
        data = reader.get_metrics_data()
    provider.shutdown()

    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    points = {metric.name: metric.data.data_points[0] for metric in metrics}
    assert {name: getattr(point, "value", None) for name, point in points.items()} == {
        "hostkit.host.ready": 1,
        "hostkit.host.healthy": 1,
        "hostkit.service.restarts": 0,
    }
    assert points["hostkit.service.restarts"].attributes == {"service": "payments"}
