"""The tables of the reference are complete: metrics, fields of log lines, settings, kinds of events."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from children import HOSTKIT, Child
from documents import ROOT, blocks
from loguru import logger

from hostkit import EndAction, HostBuilder, HostedService, HostOptions, StoppingToken
from hostkit._config.event_log import LINES
from hostkit._config.log_format import json_line
from hostkit._core.registration import ServiceOptions
from hostkit.jobs import JobQueue, Retry
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.usefixtures("unmeasured_children")

if TYPE_CHECKING:
    from loguru import Message

REFERENCE = ROOT / "docs" / "reference"


def rows(page: str) -> list[list[str]]:
    """Return the cells of the tables of a page whose lines begin with a name."""
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("| `")]
    assert found
    return found


def names(cell: str) -> list[str]:
    """Return what a cell names."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.needs("starlette", "prometheus_client")
async def test_every_metric_has_a_line() -> None:
    """The table names each metric of `/metrics`, with its type and its labels, and none that is not there."""
    from dashboard_durable import Engine
    from dashboard_host import scene
    from prometheus_client.core import Metric
    from prometheus_client.parser import text_string_to_metric_families

    from hostkit.ext.dashboard import HostCollector

    collectors: list[HostCollector] = []

    def prepare(builder: HostBuilder) -> None:
        builder.add_service(Engine(), name="durable")
        collectors.append(HostCollector(builder))

    async with scene(prepare) as found:
        found.scheduler.jobs["hourly"].run_now()
        await anyio.sleep(100)
        await found.client.get("/metrics")  # asks how many durable jobs there are
        await anyio.sleep(10)
        families: list[Metric] = list(text_string_to_metric_families((await found.client.get("/metrics")).text))
    families += collectors[0].collect()  # how long the stop took is known after it
    there: dict[str, tuple[str, set[str]]] = {}
    for family in families:
        if family.name.startswith("hostkit_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            there[name] = family.type, labels | there.get(name, ("", set()))[1]

    told = {
        name: (kind.partition(",")[0], set(names(labels)))
        for cell, kind, labels in ((*row, "")[:3] for row in rows("metrics.md"))
        for name in names(cell)
    }

    assert told == there


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    """The log lines of a test, as JSON has them."""
    found: list[dict[str, object]] = []

    def keep(message: "Message") -> None:
        found.append(json.loads(json_line(message.record)))

    number = logger.add(keep, level=0, format="{message}")
    yield found
    logger.remove(number)


async def test_every_field_of_a_log_line_has_a_line(lines: list[dict[str, object]]) -> None:
    """The table names each field that lines of services, schedules and queues carry, and none that is not there."""
    builder = HostBuilder(HostOptions(logging="loguru", log_level="DEBUG"))
    scheduler = builder.add_service(Scheduler())
    queue = builder.add_service(JobQueue(retry=Retry(attempts=2)))

    @builder.service
    async def orders(stopping_token: StoppingToken) -> None:
        logger.info("ready")
        await queue.enqueue(fail)
        await stopping_token.wait()

    @scheduler.job(Every(seconds=5))
    async def long(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    @scheduler.job(Every(seconds=60))
    async def fail() -> None:
        raise OSError

    async with builder.build():
        await anyio.sleep(200)

    there = {field for line in lines for field in line}
    told = {name for field, *_ in rows("log.md") for name in names(field) if name.islower()}
    assert told == there
    assert {line["level"] for line in lines} <= {
        name for cell, *_ in rows("log.md") for name in names(cell) if name.isupper()
    }


def test_the_json_line_is_one_of_the_tutorial(tmp_path: Path) -> None:
    """The line that is shown is what the first program of the tutorial writes, but for its time."""
    (shown,) = blocks(REFERENCE / "log.md", "json")
    (tmp_path / "app.py").write_text(blocks(ROOT / "docs" / "tutorial" / "index.md")[0].text, encoding="utf-8")

    with Child(*HOSTKIT, "run", "app.py", "--log-format", "json", cwd=tmp_path) as child:
        line = child.wait_for(lambda line: "starting" in line)

    assert line, child.text
    printed, told = json.loads(line), json.loads(shown.text)
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d")
    assert form.fullmatch(printed.pop("time"))
    assert form.fullmatch(told.pop("time"))
    assert list(printed.items()) == list(told.items())


def test_every_option_of_a_service_has_a_line() -> None:
    """The table names each option of `HostBuilder.add_service`, behind those of the host, and the default policies."""
    told = {names(cell)[0]: names(default) for cell, default, *_ in rows("settings.md")}
    builder = HostBuilder(HostOptions())
    builder.add_service(HostedService())
    (registration,) = builder.build().registrations.values()

    assert told.keys() - {field.name for field in fields(HostOptions)} == {*ServiceOptions.__annotations__, "name"}
    for name in ("on_failure", "on_return"):
        (default,) = told[name]
        assert getattr(registration, name) is EndAction[default.removeprefix("EndAction.")]


def test_every_line_of_an_event_has_a_level_of_the_table() -> None:
    """The table of levels has each that an event is told on."""
    told = {name for cell, *_ in rows("log.md") for name in names(cell)}

    assert {level for level, _ in LINES.values()} <= told
