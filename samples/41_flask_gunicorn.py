"""Flask is synchronous: the host runs on a thread beside it, in gunicorn's worker, since a fork keeps no thread.

As a script it becomes gunicorn, with the two hooks below. ``hostkit run`` runs the services without the web app.

Needs: flask gunicorn[gthread]
Output:
    rates of minute 1
    rates of minute 2
    ^C
    the last rates were those of minute 2
"""

import os
import sys
from pathlib import Path

from flask import Flask

from hostkit import BackgroundService, HostBuilder, StoppingToken


class Rates(BackgroundService):
    minute = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(seconds=1):
            self.minute += 1
            print("rates of minute", self.minute, flush=True)
        print("the last rates were those of minute", self.minute, flush=True)

    async def euro(self) -> float:
        return 1 + self.minute / 100


builder = HostBuilder()
rates = builder.add_service(Rates())
host = builder.build()
app = Flask(__name__)


@app.get("/euro")
def euro() -> str:
    return str(app.extensions["host"].call(rates.euro))


def post_worker_init(_worker: object) -> None:
    app.extensions["host"] = host.start_in_thread()


def worker_exit(_server: object, _worker: object) -> None:
    app.extensions["host"].stop()


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    command = "-m gunicorn --bind 127.0.0.1:0 --worker-class gthread"
    names = ["--config", f"python:{Path(__file__).stem}", f"{Path(__file__).stem}:app"]
    os.execv(sys.executable, [sys.executable, *command.split(), *names])  # noqa: S606  # no shell is needed
