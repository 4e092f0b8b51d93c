"""A scanner sends the dashboard what its OpenAPI description allows and forbids, and compares the answers with it.

``nox -s servers`` runs these.
"""

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from children import Child
from dashboard_durable import Engine
from dashboard_host import TOKEN, Worker, fail, nothing
from puppet import QUIET

from hostkit import Host, HostBuilder, HostState
from hostkit.ext.dashboard import Dashboard
from hostkit.jobs import JobQueue
from hostkit.scheduling import Every, Scheduler

pytestmark = [pytest.mark.servers, pytest.mark.needs("starlette", "prometheus_client", "uvicorn")]

DOCS = Path(__file__).parent.parent / "docs"
SCANNER = Path(sysconfig.get_path("scripts")) / "schemathesis"
OPTIONS = ["--generation-deterministic", "--max-examples=10", "--warnings=off", "--no-color"]
NAMES = ["worker", "mail", "scheduler", "hourly", "letters"]
ACTIONS = "--include-path=/actions/{verb}"
"""All that there is to see of a dashboard that is read-only."""
CONFIG = """
[[operations]]
include-path = "/actions/{verb}"
# Which verbs a service has is not in the description.
checks.positive_data_acceptance.expected-statuses = [200, 400, 401, 403, 404, 409]
"""
ALL_BUT_STOP = "--exclude-path=/actions/stop"
"""What is sent there is the end of the scan."""
AT_RANDOM = "--phases=fuzzing"
"""Without the edges of each value and what each path must refuse: tried once, of a dashboard that has everything."""


def description(folder: Path) -> Path:
    """Return a copy of the description that knows which services, schedules and jobs there are."""
    shutil.copy(DOCS / "status.schema.json", folder)
    found = yaml.safe_load(DOCS.joinpath("openapi.yaml").read_text(encoding="utf-8"))
    target = found["components"]["schemas"]["Target"]["properties"]
    target["name"]["enum"] = NAMES
    target["id"].update(minimum=1, maximum=3)
    parameters = found["paths"]["/history.json"]["get"]["parameters"]
    next(each for each in parameters if each["name"] == "name")["schema"]["enum"] = NAMES
    copy = folder / "openapi.yaml"
    copy.write_text(yaml.safe_dump(found), encoding="utf-8")
    return copy


def build(*, token: str | None, actions: bool) -> tuple[Host, Dashboard]:
    """Return a host of a dashboard, and of something of everything that it shows."""
    builder = HostBuilder(QUIET)
    dashboard = builder.add_service(Dashboard(builder, port=0, token=token, actions=actions))
    builder.add_service(Worker(), name="worker")
    builder.add_service(JobQueue(), name="mail").enqueue_nowait(fail)
    scheduler = builder.add_service(Scheduler(), name="scheduler")
    scheduler.add(nothing, Every(hours=1), name="hourly")
    engine = builder.add_service(Engine(["letters"]), name="letters")
    engine.fail(1, "letters", "welcome", None)
    host = builder.build()
    return host, dashboard


@pytest.mark.parametrize(
    ("actions", "token", "options"),
    [
        (False, None, [ACTIONS, AT_RANDOM]),
        (True, TOKEN, [ALL_BUT_STOP]),
        (False, TOKEN, [ACTIONS, AT_RANDOM]),
        (True, None, [ALL_BUT_STOP, AT_RANDOM]),
    ],
    ids=["read-only", "actions, token", "read-only, token", "actions"],
)
def test_answers_are_as_they_are_described(  # noqa: PLR0917  # pytest fills them
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    figure: Callable[[str], None],
    actions: bool,  # noqa: FBT001
    token: str | None,
    options: list[str],
) -> None:
    """Statuses, types, headers and bodies are those of the description; what is wrong is refused."""
    monkeypatch.setattr("hostkit.ext.dashboard._guard.TRIES_AT_ONCE", 1_000_000)  # the scanner tries wrong tokens
    host, dashboard = build(token=token, actions=actions)
    with host.start_in_thread():
        url = f"http://127.0.0.1:{dashboard.port}"
        headers = [f"--header=Origin: {url}", *([f"--header=Authorization: Bearer {token}"] if token else [])]
        (config := tmp_path / "schemathesis.toml").write_text(CONFIG)
        scanner: list[str | Path] = [SCANNER, f"--config-file={config}", "run", description(tmp_path), f"--url={url}"]
        with Child(*scanner, *headers, *OPTIONS, *options, cwd=tmp_path) as scan:
            exit_code = scan.end(120)
        state = host.lifetime.state

    assert exit_code == 0, scan.text
    assert state is HostState.STARTED
    figure(next(line for line in scan.lines if " generated, " in line).strip())
