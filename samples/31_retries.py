"""Deliveries to a server that is down for a while.

A failed run is repeated after a growing delay. A server that says itself when to come again is obeyed; an error that
no repetition mends is not repeated.

Output:
    job deliver (number 1) failed in attempt 1 of 10, to be retried in 0.1 s: ConnectionRefusedError()
    job deliver (number 2) failed in attempt 1 of 10: KeyError(2)
    job deliver (number 1) failed in attempt 2 of 10, to be retried in 0.2 s: ConnectionRefusedError()
    job deliver (number 1) failed in attempt ... of 10, to be retried in 0.3 s: RetryAfterError(...)
    delivered parcel 1
    succeeded after ... attempts, failed after 1
"""

from anyio import current_time

from hostkit import BackgroundService, Backoff, HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.jobs import JobQueue, Retry, RetryAfterError


class Server:
    def __init__(self) -> None:  # is down for half a second, and then busy for as long
        self.began = current_time()

    def take(self, parcel: int) -> None:
        if parcel != 1:
            raise KeyError(parcel)
        if current_time() < self.began + 0.5:
            raise ConnectionRefusedError
        if current_time() < self.began + 1:
            raise RetryAfterError(seconds=0.3)  # what an HTTP server says with 429 and Retry-After


class Sender(BackgroundService):
    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    async def deliver(self, parcel: int) -> None:
        self.server.take(parcel)
        print("delivered parcel", parcel)

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.server = Server()
        good, bad = [await self.queue.enqueue(self.deliver, parcel) for parcel in (1, 2)]
        await good.wait()
        print(f"{good.state} after {good.attempts} attempts, {bad.state} after {bad.attempts}")
        await stopping_token.wait()


retry = Retry(attempts=10, backoff=Backoff(initial=0.1, maximum=1, jitter=0), not_on=KeyError)
builder = HostBuilder()
queue = builder.add_service(JobQueue(retry=retry))
builder.add_service(Sender(queue))
host = builder.build()

if __name__ == "__main__":
    run(host)
