"""Is it well? Each service can say so in ``check()``; the host asks them all at once.

``host.status()`` costs nothing and asks nobody: what every service is doing, in words, ready for JSON.

Output:
    feed is well
    feed is unwell: no news for a second
    feed: started, watcher: started
    ^C
"""

from anyio import current_time

from hostkit import HostBuilder, HostedService, StoppingToken
from hostkit.cli import run

builder = HostBuilder()


class Feed(HostedService):
    async def start(self) -> None:
        self.last_news = current_time()

    async def check(self) -> None:
        if current_time() - self.last_news >= 1:
            message = "no news for a second"
            raise TimeoutError(message)


async def watcher(stopping_token: StoppingToken) -> None:
    async for _ in stopping_token.every(seconds=1):
        unwell = (await host.check())["feed"]
        print("feed is well" if unwell is None else f"feed is unwell: {unwell}")
        if unwell is not None:
            print(*(f"{service.name}: {service.state}" for service in host.status().services), sep=", ")


builder.add_service(Feed())
builder.add_service(watcher)
host = builder.build()

if __name__ == "__main__":
    run(host)
