"""Services of facet, which leaves signals and logging to the program."""

import asyncio
import os
import signal
import sys

from facet import AsyncioServiceMixin


class Waiting(AsyncioServiceMixin):
    """A service with a background task."""

    async def start(self) -> None:
        """Start the task."""
        self.add_task(self.execute())

    async def stop(self) -> None:
        """Do nothing: the task is cancelled."""

    async def execute(self) -> None:
        """Wait."""
        await asyncio.Event().wait()


class Root(AsyncioServiceMixin):
    """What has all services as its dependencies."""

    def __init__(self) -> None:
        """Make them."""
        self.waiting = [Waiting() for _ in range(int(os.environ["BENCHMARK_SERVICES"]))]

    @property
    def dependencies(self) -> list[list[Waiting]]:
        """One group."""
        return [self.waiting]

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


async def main() -> None:
    """Run until a signal."""
    signalled = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    async with Root():
        print("ready", file=sys.stderr, flush=True)
        await signalled.wait()


asyncio.run(main())
