"""Services of localpost."""

import asyncio

from localpost.hosting import Host, HostedService, HostedServiceSet, ServiceLifetimeManager

from benchmarks._measure import Figures
from benchmarks._work import Services


class Waiting:
    """A service that says that it has started, and waits for the stop."""

    def __init__(self, services: Services) -> None:
        """Count in *services*."""
        self.services = services

    async def execute(self, lifetime: ServiceLifetimeManager) -> None:
        """Wait."""
        lifetime.set_started()
        self.services.running += 1
        await lifetime.shutting_down
        self.services.running -= 1


def services(count: int) -> Figures:
    """Start and stop services."""
    done = Services(count)

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            waiting = (HostedService.create(Waiting(services).execute) for _ in range(services.count))
            host = Host(HostedService(HostedServiceSet(*waiting), name="services"))
            services.built()
            async with host.aserve():
                await host.started
                while services.running < services.count:  # noqa: ASYNC110  # the turns that the others need as well
                    await asyncio.sleep(0)
                services.started()
                services.stopping()
                host.shutdown()
            services.stopped()

    async def warmed() -> Figures:
        await main(Services(2))
        await main(done)
        return done.figures()

    return asyncio.run(warmed())
