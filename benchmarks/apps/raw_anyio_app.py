"""The same by hand with anyio, with the same log lines."""

import os
import signal
import sys
import time

import anyio

COUNT = int(os.environ["BENCHMARK_SERVICES"])


class Waiting:
    """What waits."""

    async def execute(self, stop: anyio.Event) -> None:
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
    stop = anyio.Event()
    log(f"starting app with {COUNT} services")
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            for _ in range(COUNT):
                group.start_soon(Waiting().execute, stop)
            log(f"started {COUNT} services in {time.perf_counter() - began:.2f} s")
            async for number in signals:
                began = time.perf_counter()
                log(f"stopping: signal {number.name}")
                stop.set()
                break
    log(f"stopped in {time.perf_counter() - began:.2f} s, exit code 0")


anyio.run(main)
