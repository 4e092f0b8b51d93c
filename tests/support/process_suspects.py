"""Services that misbehave at the stop, in one way each; the line where each is to be found is marked."""

import ctypes
import operator
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal

import anyio
from anyio import CancelScope, to_thread

from hostkit import BackgroundService, HostedService, HostLifetime, StoppingToken

Way = Literal["signal", "request", "second", "third"]
# As long as a test could ever wait.
FOREVER = 600


def say(text: object) -> None:
    """Write a line to standard output, at once."""
    os.write(1, f"{text}\n".encode())


def work_in_pool() -> None:
    """Be a job for another process."""
    say("ready")
    time.sleep(2)


class Neighbour(BackgroundService):
    """A service that does all as it should, and says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def start(self) -> None:
        say(f"{self._name} start")

    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        say(f"{self._name} told")

    async def stop(self) -> None:
        say(f"{self._name} stop")


class Suspect(BackgroundService):
    """A service that stops as it should, but slowly where more than one signal is to come."""

    def __init__(self, lifetime: HostLifetime, way: Way) -> None:
        self.lifetime = lifetime
        self.way = way

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        await self.drain(stopping_token)

    async def get_ready(self) -> None:
        """Say that the stop may come now; ask for it where no signal will."""
        await self.lifetime.wait_started()
        say("ready")
        if self.way == "request":
            self.lifetime.request_stop("asked")

    async def drain(self, stopping_token: StoppingToken) -> None:
        """Take so long to stop that a further signal finds the service."""
        await stopping_token.wait()
        say("heard")
        await self.go_on()

    async def go_on(self) -> None:
        """Be there until the second signal, or the third."""
        if self.way in ("second", "third"):
            with CancelScope(shield=self.way == "third"):
                await anyio.sleep(FOREVER)


class StartFails(Suspect):
    """Its start is cut, and fails over that; a third signal finds it in its clean-up."""

    async def start(self) -> None:
        say("ready")
        if self.way == "request":
            self.lifetime.request_stop("asked")
        try:
            await anyio.sleep(FOREVER)
        finally:
            say("heard")
            if self.way == "third":
                await self.go_on()
            message = "start failed"
            raise OSError(message)


class ExecuteFails(Suspect):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        try:
            await self.drain(stopping_token)
        finally:
            message = "execute failed"
            raise OSError(message)


class StopFails(Suspect):
    async def stop(self) -> None:
        message = "stop failed"
        raise OSError(message)


class Overruns(Suspect):
    """It does not look at its token, but obeys its cancellation."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        stopping_token.on_stop(lambda: say("heard"))
        with CancelScope(shield=self.way == "third"):
            await anyio.sleep(FOREVER)  # found here


class Swallows(Suspect):
    """It goes on after every cancellation."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        stopping_token.on_stop(lambda: say("heard"))
        while True:
            try:
                await anyio.sleep(FOREVER)  # found here
            except anyio.get_cancelled_exc_class():
                continue


class Shielded(Suspect):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        stopping_token.on_stop(lambda: say("heard"))
        with CancelScope(shield=True):
            await anyio.sleep(FOREVER)  # found here


class InThread(Suspect):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        stopping_token.on_stop(lambda: say("heard"))
        await to_thread.run_sync(time.sleep, FOREVER)  # found here


class BlocksInPython(Suspect):
    """It never lets the event loop turn again; its own code sees that the stop was asked for."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        while not self.lifetime.stop_reason:
            time.sleep(0.01)  # noqa: ASYNC251  # what it is here for
        say("heard")
        while True:
            time.sleep(0.01)  # noqa: ASYNC251  # found here


class BlocksInC(Suspect):
    """It keeps the interpreter to itself from its turn on: no Python code runs in the process any more."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.get_ready()
        await stopping_token.wait()
        keeping = ctypes.PyDLL(None)  # its functions keep the interpreter to themselves
        mutex = ctypes.create_string_buffer(256)  # zeros are an open one
        keeping.pthread_mutex_lock(mutex)
        heard = b"heard\n"
        steps = partial(keeping.write, 1, heard, len(heard)), partial(keeping.pthread_mutex_lock, mutex)
        # One call, so that no signal is looked at between the two.
        deque(map(operator.call, steps), maxlen=0)  # found here


SUSPECTS: dict[str, Callable[[HostLifetime, Way], HostedService]] = {
    "clean": Suspect,
    "start-fails": StartFails,
    "execute-fails": ExecuteFails,
    "stop-fails": StopFails,
    "overruns": Overruns,
    "swallows": Swallows,
    "shielded": Shielded,
    "in-thread": InThread,
    "blocks-in-python": BlocksInPython,
    "blocks-in-c": BlocksInC,
}
