"""A FastAPI app whose lifespan starts tasks, served by uvicorn with its own log lines."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI


async def execute(stop: asyncio.Event) -> None:
    """Wait."""
    await stop.wait()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start and stop the tasks of *app*."""
    async with asyncio.TaskGroup() as group:
        stop = asyncio.Event()
        for _ in range(app.state.count):
            group.create_task(execute(stop))
        yield
        stop.set()


class Server(uvicorn.Server):
    """A server that says when it accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        await super().startup(sockets)
        print("ready", file=sys.stderr, flush=True)


app = FastAPI(lifespan=lifespan)
app.state.count = int(os.environ["BENCHMARK_SERVICES"])
Server(uvicorn.Config(app, port=0)).run()
