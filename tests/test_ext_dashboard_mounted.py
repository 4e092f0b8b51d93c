"""The dashboard below a path of another app: FastAPI, Litestar and Django."""

import re
from typing import Any

import pytest
from asgi_client import Client
from puppet import QUIET, Puppet

from hostkit import Host, HostBuilder
from hostkit.ext.asgi import ASGIApp, Receive, Send
from hostkit.ext.dashboard import dashboard_app
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.needs("starlette", "prometheus_client")


def build() -> tuple[Host, ASGIApp]:
    """Return a host, and its dashboard."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(), name="only")
    builder.add_service(Scheduler(), name="scheduler").add(nothing, Every(hours=1), name="hourly")
    app = dashboard_app(builder, actions=True)
    return builder.build(), app


async def nothing() -> None:
    """Be a job."""


async def check(host: Host, app: Any) -> None:  # noqa: ANN401  # each framework has its own type
    """Use what is below ``/ops``."""
    client = Client(app)
    async with host:
        page = await client.get("/ops/")
        status = await client.get("/ops/status.json")
        probe = await client.get("/ops/livez")
        metrics = await client.get("/ops/metrics")
        nowhere = await client.get("/ops/nowhere")
        acted = await client.request(
            "POST",
            "/ops/actions/pause",
            b'{"kind": "schedule", "name": "hourly"}',
            content_type="application/json",
            origin="http://localhost:9000",
        )
        scheduler = host.services["scheduler"]
        assert isinstance(scheduler, Scheduler)
        paused = scheduler.jobs["hourly"].paused

    assert page.status == 200
    assert page.text.startswith("<!doctype html>")
    assert status.json()["services"][0]["name"] == "only"
    assert (probe.status, probe.text) == (200, "ok\n")
    assert "hostkit_host_ready 1.0" in metrics.text
    assert nowhere.status == 404
    assert (acted.status, paused) == (200, True)
    # A browser resolves each against the page's own address, which ends with a slash.
    assert not re.search(r"""(?:href|action|fetch\(|EventSource\()["'=(]*/""", page.text)


async def test_in_fastapi() -> None:
    """``app.mount("/ops", dashboard_app(host))``; without its last slash the address leads to the page as well."""
    from fastapi import FastAPI

    host, ops = build()
    app = FastAPI(lifespan=host.lifespan)
    app.mount("/ops", ops)

    await check(host, app)
    redirected = await Client(app).get("/ops")

    assert redirected.status == 307
    assert redirected.headers["location"].endswith("/ops/")


async def test_without_the_last_slash() -> None:
    """Where a framework takes an address without the last slash for the same, the page's links would lead astray."""
    _, ops = build()

    redirected = await Client(ops, root_path="/ops").get("")

    assert redirected.status == 307
    assert redirected.headers["location"] == "ops/"


@pytest.mark.servers
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_litestar() -> None:
    """``asgi("/ops", is_mount=True, copy_scope=True)(dashboard_app(host))``."""
    from litestar import Litestar, asgi

    host, ops = build()
    app = Litestar(route_handlers=[asgi("/ops", is_mount=True, copy_scope=True)(ops)], logging_config=None)

    await check(host, app)
    redirected = await Client(app).get("/ops")

    assert redirected.status == 307
    assert redirected.headers["location"] == "ops/"


@pytest.mark.servers
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_django(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six lines send what is below a path to the dashboard, and the rest to Django."""
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]

    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "django_settings")
    host, ops = build()
    django = get_asgi_application()

    async def app(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401
        if scope["path"].startswith("/ops/"):
            await ops({**scope, "root_path": f"{scope.get('root_path', '')}/ops"}, receive, send)
        else:
            await django(scope, receive, send)

    await check(host, app)
