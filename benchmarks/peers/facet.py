"""Services of facet."""

import asyncio

from facet import AsyncioServiceMixin

from benchmarks._measure import Figures
from benchmarks._work import Services


class Waiting(AsyncioServiceMixin):
    """A service with a background task, which waits to be cancelled."""

    def __init__(self, services: Services) -> None:
        """Count in *services*."""
        self.services = services

    async def start(self) -> None:
        """Start the task."""
        self.add_task(self.execute())

    async def stop(self) -> None:
        """Do nothing: the task is cancelled."""

    async def execute(self) -> None:
        """Wait."""
        self.services.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.services.running -= 1


class Root(AsyncioServiceMixin):
    """What has all services as its dependencies."""

    def __init__(self, waiting: list[Waiting]) -> None:
        """Depend on *waiting*."""
        self.waiting = waiting

    @property
    def dependencies(self) -> list[list[Waiting]]:
        """One group, whose members start together."""
        return [self.waiting]

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


def services(count: int) -> Figures:
    """Start and stop services."""
    done = Services(count)

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            root = Root([Waiting(services) for _ in range(services.count)])
            services.built()
            async with root:
                while services.running < services.count:  # noqa: ASYNC110  # the turns that the others need as well
                    await asyncio.sleep(0)
                services.started()
                services.stopping()
            services.stopped()

    async def warmed() -> Figures:
        await main(Services(2))
        await main(done)
        return done.figures()

    return asyncio.run(warmed())
