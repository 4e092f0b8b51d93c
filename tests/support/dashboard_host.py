"""A host with something of everything, and its dashboard, for tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import anyio
from asgi_client import Client
from puppet import QUIET

from hostkit import BackgroundService, Host, HostBuilder, HostOptions, StoppingToken
from hostkit.ext.dashboard import dashboard_app
from hostkit.jobs import JobQueue
from hostkit.scheduling import Every, Scheduler

if TYPE_CHECKING:
    from hostkit.ext.dashboard._app import DashboardApp

TOKEN = "a-token-of-32-characters-or-so.."  # noqa: S105  # for tests


class Worker(BackgroundService):
    """A service that fails and is unwell when it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.unwell: Exception | None = None
        self.shown: dict[str, object] = {}
        self.runs = 0
        self._woken = anyio.Event()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._woken.set()

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.runs += 1
        self._woken = anyio.Event()
        with stopping_token.cancel_on_stop():
            await self._woken.wait()
            assert self.error is not None
            raise self.error

    async def check(self) -> None:
        if self.unwell is not None:
            raise self.unwell

    def details(self) -> dict[str, object]:
        return self.shown


class Scene(NamedTuple):
    """A host that runs, and what is in it."""

    host: Host
    client: Client
    worker: Worker
    queue: JobQueue
    scheduler: Scheduler

    async def status(self) -> dict[str, Any]:
        """Return what ``/status.json`` says."""
        answer = await self.client.get("/status.json")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    async def history(self, **asked: object) -> dict[str, Any]:
        """Return what a row opens to."""
        answer = await self.client.get(f"/history.json?{urlencode(asked)}")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def scene(
    prepare: Callable[[HostBuilder], object] = lambda builder: None,
    *,
    options: HostOptions = QUIET,
    worker: dict[str, Any] | None = None,
    queue: dict[str, Any] | None = None,
    **app: Any,  # noqa: ANN401  # the options of dashboard_app
) -> AsyncIterator[Scene]:
    """Run a host of a worker, a queue, a scheduler with an hourly job, and what *prepare* adds."""
    builder = HostBuilder(options)
    asgi = dashboard_app(builder, **{"actions": True, **app})
    working = builder.add_service(Worker(), name="worker", **(worker or {}))
    jobs = builder.add_service(JobQueue(**(queue or {})), name="mail")
    scheduler = builder.add_service(Scheduler(now=noon), name="scheduler")
    scheduler.add(nothing, Every(hours=1), name="hourly")
    prepare(builder)
    host = builder.build()
    client = Client(asgi)
    async with host:
        yield Scene(host, client, working, jobs, scheduler)


def dashboard_of(found: Scene) -> "DashboardApp":
    """Return the app itself, which measures the event loop."""
    from hostkit.ext.dashboard._app import DashboardApp

    assert isinstance(found.client.app, DashboardApp)
    return found.client.app


def noon() -> datetime:
    """Tell the time of a wall clock that goes with the event loop's, and so with virtual time."""
    return datetime(2026, 1, 5, 12, tzinfo=UTC) + timedelta(seconds=anyio.current_time())


async def nothing() -> None:
    """Be a job."""


async def fail(words: str = "no luck") -> None:
    """Be a job that fails."""
    raise RuntimeError(words)


async def forever(stopping_token: StoppingToken) -> None:
    """Be a job that goes on until the stop."""
    await stopping_token.wait()
