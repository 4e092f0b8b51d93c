"""The smallest host: one function that works until it is told to stop.

The last line shows that a stop is a request: the function finishes its sentence.

Output:
    tick
    ^C
    bye
"""

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run

builder = HostBuilder()


@builder.service
async def ticker(stopping_token: StoppingToken) -> None:
    while not await stopping_token.sleep(1):
        print("tick")
    print("bye")


host = builder.build()

if __name__ == "__main__":
    run(host)
