"""Services that do not need one another start together, and stop together: one step of the order.

The three take 0.3 s, not 0.6; what comes after waits for all of them.

Output:
    mail is ready
    storage is ready
    search is ready
    shop is open
    ^C
    shop is closed
"""

from anyio import sleep

from hostkit import HostBuilder, HostedService, StoppingToken
from hostkit.cli import run


class Connection(HostedService):
    def __init__(self, name: str, takes: float) -> None:
        self.name = name
        self.takes = takes

    async def start(self) -> None:
        await sleep(self.takes)
        print(self.name, "is ready")


async def shop(stopping_token: StoppingToken) -> None:
    print("shop is open")
    await stopping_token.wait()
    print("shop is closed")


builder = HostBuilder()
builder.add_services(Connection("search", takes=0.3), Connection("storage", takes=0.2), Connection("mail", takes=0.1))
builder.add_service(shop)
host = builder.build()

if __name__ == "__main__":
    run(host)
