"""Background services without hooks, from an empty builder to started, and to stopped.

By hand: an object and a task each, and one event that all of them wait for.
"""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint

from benchmarks._measure import HOSTKIT, RAW, Budget, Contestant, Figure, Figures, Measure
from benchmarks._work import Services
from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken


class Waiting(BackgroundService):
    """A service that waits for the stop."""

    def __init__(self, services: Services) -> None:
        """Count in *services*."""
        self.services = services

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        self.services.running += 1
        await stopping_token.wait()
        self.services.running -= 1


class RawWaiting:
    """The same by hand."""

    def __init__(self, services: Services) -> None:
        """Count in *services*."""
        self.services = services

    async def execute(self, stop: anyio.Event | asyncio.Event) -> None:
        """Wait."""
        self.services.running += 1
        await stop.wait()
        self.services.running -= 1


def run_hostkit(count: int, backend: str = "asyncio") -> Figures:
    """Start and stop hosts."""

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            builder = HostBuilder(HostOptions(log_level="ERROR"))
            for _ in range(services.count):
                builder.add_service(Waiting(services))
            host = builder.build()
            services.built()
            await host.start()
            while services.running < services.count:
                await checkpoint()
            services.started()
            services.stopping()
            await host.stop()
            services.stopped()

    return _run(main, count, backend)


def run_anyio(count: int, backend: str = "asyncio") -> Figures:
    """Do the same by hand, with anyio."""

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            waiting = [RawWaiting(services) for _ in range(services.count)]
            services.built()
            async with anyio.create_task_group() as group:
                stop = anyio.Event()
                for service in waiting:
                    group.start_soon(service.execute, stop)
                while services.running < services.count:
                    await checkpoint()
                services.started()
                services.stopping()
                stop.set()
            services.stopped()

    return _run(main, count, backend)


def run_asyncio(count: int) -> Figures:
    """Do the same by hand, without anyio."""

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            waiting = [RawWaiting(services) for _ in range(services.count)]
            services.built()
            async with asyncio.TaskGroup() as group:
                stop = asyncio.Event()
                for service in waiting:
                    group.create_task(service.execute(stop))
                while services.running < services.count:  # noqa: ASYNC110  # the turns that the others need as well
                    await asyncio.sleep(0)
                services.started()
                services.stopping()
                stop.set()
            services.stopped()

    return _run(main, count, "asyncio")


def _run(main: Callable[[Services], Awaitable[None]], count: int, backend: str) -> Figures:
    async def warmed() -> Figures:
        await main(Services(2))  # what is imported on first use
        services = Services(count)
        await main(services)
        return services.figures()

    return anyio.run(
        warmed,
        backend="trio" if backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if backend == "uvloop" else {},
    )


FIGURES = (
    Figure("empty to started", "µs each"),
    Figure("built to started", "µs each"),
    Figure("stop", "µs each"),
    Figure("memory, all", "KB each"),
    Figure("memory, start", "KB each"),
)
LARGEST = 10_000

MEASURES = (
    Measure(
        "services",
        "{size} services",
        FIGURES,
        (1, 10, 100, 1_000, LARGEST),
        (
            Contestant(RAW, run_anyio),
            Contestant("raw asyncio", run_asyncio),
            Contestant(HOSTKIT, run_hostkit),
            Contestant("aiomisc", "benchmarks.peers.aiomisc:services", environment="aiomisc"),
            Contestant("localpost", "benchmarks.peers.localpost:services", environment="localpost"),
            Contestant("facet", "benchmarks.peers.facet:services", environment="facet"),
        ),
        budgets=(
            Budget("empty to started", LARGEST, 2.0),
            Budget("empty to started", 100, 2.0),
            Budget("empty to started", 1, 2.0),
            Budget("empty to started", 1, 350.0, to=None),
            Budget("built to started", LARGEST, 1.6),
            Budget("stop", LARGEST, 1.5),
            Budget("memory, start", LARGEST, 1.5),
        ),
    ),
    *(
        Measure(
            f"services_{backend}",
            f"{{size}} services on {backend}",
            FIGURES,
            (100, 1_000, LARGEST),
            (Contestant(RAW, run_anyio, (backend,)), Contestant(HOSTKIT, run_hostkit, (backend,))),
            requires=backend,
        )
        for backend in ("trio", "uvloop")
    ),
)
