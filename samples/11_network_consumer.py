"""A consumer of a network stream that lives through the loss of its connection.

The connection is made in `execute`, so that `Restart` makes it anew: a policy begins when the service was first ready.
A peer that has gone without a word (a half-open connection) sends nothing more, and no error comes either: the idle
timeout makes one. The server here closes the first connection, and falls silent on the second.

Output:
    price 1
    ...ConnectionResetError('closed by the server')...
    price 2
    ...TimeoutError('nothing for 1 s')...
    price 3
"""

from itertools import count

import anyio
from anyio.abc import SocketAttribute, SocketStream

from hostkit import BackgroundService, Backoff, HostBuilder, Restart, StoppingToken
from hostkit.cli import run

IDLE_TIMEOUT = 1
CLOSED = "closed by the server"


class Server(BackgroundService):
    """Stands for the other side of the network."""

    port = 0

    async def start(self) -> None:
        self.listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = self.listener.extra(SocketAttribute.local_port)  # noqa: S610  # no Django
        self.connections = count(1)

    async def execute(self, stopping_token: StoppingToken) -> None:
        with stopping_token.cancel_on_stop():
            await self.listener.serve(self.send_prices)

    async def stop(self) -> None:
        await self.listener.aclose()

    async def send_prices(self, stream: SocketStream) -> None:
        number = next(self.connections)
        async with stream:
            await stream.send(f"price {number}\n".encode())
            if number > 1:
                await anyio.sleep_forever()


class Prices(BackgroundService):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def execute(self, stopping_token: StoppingToken) -> None:
        with stopping_token.cancel_on_stop():
            async with await anyio.connect_tcp("127.0.0.1", self.server.port) as stream:
                while True:
                    await self.receive(stream)

    async def receive(self, stream: SocketStream) -> None:
        try:
            with anyio.fail_after(IDLE_TIMEOUT, reason=f"nothing for {IDLE_TIMEOUT} s"):
                print((await stream.receive()).decode().strip())
        except anyio.EndOfStream:
            raise ConnectionResetError(CLOSED) from None


builder = HostBuilder()
server = builder.add_service(Server())
builder.add_service(Prices(server), on_failure=Restart(limit=None, backoff=Backoff(initial=0.2, maximum=30)))
host = builder.build()

if __name__ == "__main__":
    run(host)
