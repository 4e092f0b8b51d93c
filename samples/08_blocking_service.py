"""A loop around a library that blocks: it has a thread of its own, and nothing else waits for it.

The token of a thread has the same words, without ``await``. A thread cannot be cancelled, so it must look at its token.

Output:
    heartbeat
    measured 21.5 °C
    measured 21.5 °C
    ^C
    sensor: closed
"""

import time

from hostkit import HostBuilder, StoppingToken, ThreadService, ThreadStoppingToken
from hostkit.cli import run


def read_sensor() -> float:
    time.sleep(0.3)  # stands for a driver that knows no async
    return 21.5


class Sensor(ThreadService):
    def execute(self, stopping_token: ThreadStoppingToken) -> None:
        for _ in stopping_token.every(seconds=0.5):
            print(f"measured {read_sensor()} °C")
        print("sensor: closed")


async def heartbeat(stopping_token: StoppingToken) -> None:
    async for _ in stopping_token.every(seconds=1):
        print("heartbeat")


builder = HostBuilder()
builder.add_service(Sensor())
builder.add_service(heartbeat)
host = builder.build()

if __name__ == "__main__":
    run(host)
