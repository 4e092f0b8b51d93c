"""Three services that need one another: each starts when the one before is ready, and stops before it does.

So the order of registration is all there is to say: what a service uses is added before it.

Output:
    database: open
    orders: 2 loaded
    api: serving 2 orders
    ^C
    api: closed
    orders: 2 saved
    database: closed
"""

from hostkit import BackgroundService, HostBuilder, HostedService, StoppingToken
from hostkit.cli import run


class Database(HostedService):
    async def start(self) -> None:
        self.rows = ["tea", "cake"]
        print("database: open")

    async def stop(self) -> None:
        print("database: closed")


class Orders(HostedService):
    def __init__(self, database: Database) -> None:
        self.database = database

    async def start(self) -> None:
        self.open = list(self.database.rows)
        print(f"orders: {len(self.open)} loaded")

    async def stop(self) -> None:
        self.database.rows = self.open
        print(f"orders: {len(self.open)} saved")


class Api(BackgroundService):
    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    async def execute(self, stopping_token: StoppingToken) -> None:
        print(f"api: serving {len(self.orders.open)} orders")
        await stopping_token.wait()
        print("api: closed")


builder = HostBuilder()
database = builder.add_service(Database())
orders = builder.add_service(Orders(database))
builder.add_service(Api(orders))
host = builder.build()

if __name__ == "__main__":
    run(host)
