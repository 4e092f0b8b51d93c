"""The same by hand with asyncio, with the same log lines."""

import asyncio
import os
import signal
import sys
import time

COUNT = int(os.environ["BENCHMARK_SERVICES"])


class Waiting:
    """What waits."""

    async def execute(self, stop: asyncio.Event) -> None:
        """Wait."""
        await stop.wait()


def log(line: str) -> None:
    """Write a log line."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    print(f"{stamp}.{int(now % 1 * 1000):03} | INFO     | app | {line}", file=sys.stderr, flush=True)


async def main() -> None:
    """Start, wait for a signal, stop."""
    began = time.perf_counter()
    stop, signalled = asyncio.Event(), asyncio.Event()
    log(f"starting app with {COUNT} services")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    async with asyncio.TaskGroup() as group:
        for _ in range(COUNT):
            group.create_task(Waiting().execute(stop))
        log(f"started {COUNT} services in {time.perf_counter() - began:.2f} s")
        await signalled.wait()
        began = time.perf_counter()
        log("stopping: signal SIGTERM")
        stop.set()
    log(f"stopped in {time.perf_counter() - began:.2f} s, exit code 0")


asyncio.run(main())
