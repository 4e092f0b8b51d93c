"""A service that fails is run again, after growing delays, until it works or has failed too often in a row.

Output:
    try 1
    try 2
    try 3
    connected
    ^C
"""

from hostkit import BackgroundService, Backoff, HostBuilder, Restart, StoppingToken
from hostkit.cli import run


class Feed(BackgroundService):
    tries = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.tries += 1
        print("try", self.tries)
        if self.tries <= 2:  # noqa: PLR2004
            message = "no route to the feed"
            raise ConnectionError(message)
        print("connected")
        await stopping_token.wait()


builder = HostBuilder()
# Waits 0.2 s, then 0.4 s, 0.8 s … The sixth failure in a row would stop the host, with exit code 1.
builder.add_service(Feed(), on_failure=Restart(limit=5, backoff=Backoff(initial=0.2, factor=2)))
host = builder.build()

if __name__ == "__main__":
    run(host)
