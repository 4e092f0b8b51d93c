"""Services of aiomisc."""

import asyncio

from aiomisc import Service, entrypoint

from benchmarks._measure import Figures
from benchmarks._work import Services


class Waiting(Service):
    """A service that says that it has started, and waits to be cancelled."""

    counts: Services

    async def start(self) -> None:
        """Wait."""
        self.start_event.set()
        self.counts.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.counts.running -= 1


def services(count: int) -> Figures:
    """Start and stop services."""
    done = Services(count)

    async def main(services: Services) -> None:
        for _ in range(services.repetitions):
            services.begin()
            waiting = (Waiting(counts=services) for _ in range(services.count))
            host = entrypoint(*waiting, log_config=False)
            services.built()
            async with host:
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
