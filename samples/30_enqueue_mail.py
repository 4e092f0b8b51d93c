"""A web handler that answers at once and has the mail sent in the background.

The queue is registered before the server, so it stops after it: what the last request has asked for is still done. A
key keeps a user who clicks twice from getting two mails.

Output:
    202 welcome, ada
    202 welcome, ada
    202 welcome, bob
    sent a mail to ada
    sent a mail to bob
    ^C
    202 welcome, eve
    sent a mail to eve
"""

from anyio import sleep

from hostkit import BackgroundService, HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.jobs import JobQueue


async def send_welcome(user: str) -> None:
    await sleep(0.2)
    print("sent a mail to", user)


class WebServer(BackgroundService):
    """Stands for a real one; `handle` is what a handler of FastAPI, Starlette or Litestar would do."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    async def handle(self, user: str) -> str:
        await self.queue.with_options(key=f"welcome-{user}").enqueue(send_welcome, user)
        return f"202 welcome, {user}"

    async def execute(self, stopping_token: StoppingToken) -> None:
        for user in ("ada", "ada", "bob"):
            print(await self.handle(user))
        await stopping_token.wait()
        print(await self.handle("eve"))  # the last request, while the server stops


builder = HostBuilder()
queue = builder.add_service(JobQueue(concurrency=5, capacity=1000))
builder.add_service(WebServer(queue))
host = builder.build()

if __name__ == "__main__":
    run(host)
