"""A host on a page: what runs, what is wrong and why, what runs next; and buttons to steer it.

Open http://127.0.0.1:9000/. There is something of everything: a service that fails and is restarted, one that stalls
for a while, schedules, a queue whose jobs fail at times. ``actions=True`` lets the page change things; without it, it
only shows them.

Needs: hostkit-py[dashboard]

Output:
    listening on http://127.0.0.1:9000
    started 5 services in ...
    ^C
    stopped in ...
"""

import time

from hostkit import BackgroundService, HostBuilder, Restart, StoppingToken, ThreadStoppingToken
from hostkit.ext.dashboard import Dashboard
from hostkit.jobs import JobQueue, Retry
from hostkit.scheduling import Daily, Every, Scheduler

MINUTE = 60

builder = HostBuilder()
builder.add_service(Dashboard(builder, actions=True))  # first: it shows the start of the others, and their stop
payments = builder.add_service(JobQueue(concurrency=3, retry=Retry(attempts=2)), name="payments")
scheduler = Scheduler()


class Rates(BackgroundService):
    """Loses its connection every minute."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.received = 0
        async for _ in stopping_token.every(seconds=1):
            self.received += 1
            if self.received == MINUTE:
                raise ConnectionResetError

    def details(self) -> dict[str, object]:
        return {"received": self.received}


builder.add_service(Rates(), on_failure=Restart(limit=None))


@builder.service(heartbeat_timeout=5)
def stock(stopping_token: ThreadStoppingToken) -> None:
    while not stopping_token.sleep(20):
        time.sleep(10)  # longer than it may be silent


async def charge(stopping_token: StoppingToken, order: int) -> None:
    await stopping_token.sleep(order % 7)
    if order % 4 == 0:
        raise TimeoutError


@scheduler.job(Every(seconds=3))
def find_orders() -> None:
    payments.enqueue_nowait(charge, int(time.monotonic()))


@scheduler.job(Daily("03:00", tz="Europe/Istanbul"))
def nightly_report() -> None:
    time.sleep(8)


builder.add_service(scheduler)  # last: it stops first, so nothing new begins while the others stop
host = builder.build()

if __name__ == "__main__":
    host.run()
