"""Services that obey a script, for tests of the host."""

from collections.abc import Callable, Coroutine

import anyio

from hostkit import BackgroundService, Host, HostBuilder, HostedService, HostOptions, StoppingToken
from hostkit.events import HostEvent, ServiceEvent

QUIET = HostOptions(log_level="CRITICAL", shutdown_timeout=20, cancellation_timeout=5)


class Puppet(BackgroundService):
    """A service that takes its time and fails as told; it fails as well when two of its runs overlap."""

    def __init__(
        self,
        *,
        start: float = 0,
        run: float | None = None,
        drain: float = 0,
        stop: float = 0,
        fails: str = "",
        deaf: str = "",
    ) -> None:
        """Script the service.

        Args:
            start: How long its start takes.
            run: After how long ``execute`` ends by itself; None for when it is told.
            drain: How long ``execute`` goes on after it was told.
            stop: How long its stop takes.
            fails: The hooks that fail at their end, ``"start"``, ``"execute"``, ``"stop"``.
            deaf: The hooks that ignore their cancellation.
        """
        self.times = {"start": start, "drain": drain, "stop": stop}
        self.run = run
        self.fails = fails
        self.deaf = deaf
        self.entered = 0
        self.calls: list[str] = []

    async def start(self) -> None:
        assert not self.entered, "two runs at once"
        self.entered += 1
        try:
            await self._hook("start", "start")
        except BaseException:
            self.entered -= 1
            raise

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.calls.append("execute")
        if self.run is None:
            with anyio.CancelScope(shield="execute" in self.deaf):
                await stopping_token.wait()
        else:
            await stopping_token.sleep(self.run)
        await self._hook("execute", "drain")

    async def stop(self) -> None:
        try:
            await self._hook("stop", "stop")
        finally:
            self.entered -= 1

    async def _hook(self, name: str, duration: str) -> None:
        if name != "execute":
            self.calls.append(name)
        with anyio.CancelScope(shield=name in self.deaf):
            await anyio.sleep(self.times[duration])
        if name in self.fails:
            raise PuppetError(name)


class PuppetError(Exception):
    """What a puppet fails with."""


class Plain(HostedService):
    """A service with nothing but a stop."""

    def __init__(self) -> None:
        self.stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


def build(
    *services: HostedService | Callable[..., Coroutine[object, object, object]], options: HostOptions = QUIET
) -> tuple[Host, list[HostEvent]]:
    """Return a host of *services*, named a, b, c …, and the list that its events go to."""
    builder = HostBuilder(options)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    for letter, service in zip("abcdefghij", services, strict=False):
        builder.add_service(service, name=letter)
    return builder.build(), events


async def live(host: Host) -> None:
    """Run a host until it ends by itself."""
    async with host:
        await host.wait()


def trace(events: list[HostEvent]) -> list[str]:
    """Return the events of services in short, such as ``"stopping b"``."""
    return [
        f"{type(event).__name__.removeprefix('Service').lower()} {event.service}"
        for event in events
        if isinstance(event, ServiceEvent)
    ]


def instants(events: list[HostEvent], kind: type[ServiceEvent]) -> list[tuple[str, float]]:
    """Return which services had an event of *kind*, and when."""
    return [(event.service, event.at) for event in events if isinstance(event, kind)]
