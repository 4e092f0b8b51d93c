"""Services of aiomisc; its logging is as it comes."""

import asyncio
import os
import sys

from aiomisc import Service, entrypoint


class Waiting(Service):
    """A service that waits."""

    async def start(self) -> None:
        """Wait."""
        self.start_event.set()
        await asyncio.Event().wait()


with entrypoint(*(Waiting() for _ in range(int(os.environ["BENCHMARK_SERVICES"])))) as loop:
    print("ready", file=sys.stderr, flush=True)
    loop.run_forever()
