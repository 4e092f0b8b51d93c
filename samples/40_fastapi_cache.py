"""A web app and a worker in one process: the worker cleans the cache that the endpoints use.

The web server comes after the cache, so it finishes its requests before that stops. The visitor is the world outside.

Needs: fastapi hostkit-py[uvicorn]
Output:
    computing the square of 7
    answer: 49
    answer: 49
    forgetting the square of 7
    computing the square of 7
    ^C
"""

from urllib.request import urlopen

from anyio import current_time, to_thread
from fastapi import FastAPI

from hostkit import BackgroundService, HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.ext.uvicorn import WebServer


class Squares(BackgroundService):
    def __init__(self) -> None:
        self.cached: dict[int, int] = {}
        self.since: dict[int, float] = {}

    def get(self, number: int) -> int:
        if number not in self.cached:
            print("computing the square of", number)
            self.cached[number], self.since[number] = number**2, current_time()
        return self.cached[number]

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(seconds=0.1):
            for number in [number for number in self.cached if current_time() - self.since[number] > 1]:
                print("forgetting the square of", number)
                del self.cached[number]


app = FastAPI()
builder = HostBuilder()
squares = builder.add_service(Squares())
web = builder.add_service(WebServer(app, port=0, log_level="warning"))  # 0: any port that is free


@app.get("/squares/{number}")
async def square(number: int) -> int:
    return squares.get(number)


@builder.service
async def visitor(stopping_token: StoppingToken) -> None:
    async for _ in stopping_token.every(seconds=0.8):
        with await to_thread.run_sync(urlopen, f"http://127.0.0.1:{web.port}/squares/7") as response:
            print("answer:", response.read().decode())


host = builder.build()

if __name__ == "__main__":
    run(host)
