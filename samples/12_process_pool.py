"""Work for a process pool, which a stop lets finish.

Ctrl-C and many process managers send their signal to the whole process group, the worker processes included. So these
ignore SIGTERM and SIGINT, and the host, which hears them, decides what is still done.

Output:
    counting
    ^C
    counted 2000000
    the pool is closed
"""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

from anyio import to_thread

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run


def leave_signals_to_the_host() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def count(limit: int) -> int:
    print("counting", flush=True)
    return sum(1 for _ in range(limit))


async def counter(stopping_token: StoppingToken) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would take the host's threads and handlers with it
    with ProcessPoolExecutor(2, context, leave_signals_to_the_host) as pool:
        while not stopping_token.stop_requested:
            counted = pool.submit(count, 2_000_000)
            await stopping_token.sleep(0.5)
            print(f"counted {await to_thread.run_sync(counted.result)}")
    print("the pool is closed")


builder = HostBuilder()
builder.add_service(counter)
host = builder.build()

if __name__ == "__main__":
    run(host)
