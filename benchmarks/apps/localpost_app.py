"""Services of localpost, with the logging that its examples set up."""

import logging
import os
import sys

import anyio
from localpost import arun
from localpost.hosting import Host, HostedService, HostedServiceSet, ServiceLifetimeManager


class Waiting:
    """A service that waits."""

    async def execute(self, lifetime: ServiceLifetimeManager) -> None:
        """Wait."""
        lifetime.set_started()
        await lifetime.shutting_down


async def main() -> None:
    """Run until a signal."""
    waiting = (HostedService.create(Waiting().execute) for _ in range(int(os.environ["BENCHMARK_SERVICES"])))
    host = Host(HostedService(HostedServiceSet(*waiting), name="services"))

    async def tell_ready() -> None:
        await host.started.wait()
        print("ready", file=sys.stderr, flush=True)

    async with anyio.create_task_group() as group:
        group.start_soon(tell_ready)
        await arun(host)


logging.basicConfig(level=logging.INFO)
anyio.run(main)
