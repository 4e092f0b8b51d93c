"""What the hosts for tests with real processes share."""

import threading
from collections.abc import Callable
from typing import Any

from process_suspects import Neighbour, say

from hostkit import Host, HostBuilder, HostedService, HostOptions, StoppingToken

CASES: dict[str, Callable[..., None]] = {}


def case(function: Callable[..., None]) -> Callable[..., None]:
    """Take *function*, which is called with the backend and the further arguments, as a case."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


def options(backend: str, **given: Any) -> HostOptions:  # noqa: ANN401  # as HostOptions takes them
    """Return options with short budgets; hosts of which nothing is to be forced are *given* longer ones."""
    defaults = {"application_name": "app", "shutdown_timeout": 0.3, "cancellation_timeout": 0.3}
    return HostOptions(**{**defaults, "backend": backend, **given})


def patient(backend: str, **given: Any) -> HostOptions:  # noqa: ANN401  # as HostOptions takes them
    """Return options with budgets that no busy machine uses up."""
    return options(backend, **{"shutdown_timeout": 60, "cancellation_timeout": 60, **given})


def build(options: HostOptions, *services: HostedService | Callable[..., object]) -> Host:
    """Build a host of *services* behind a good neighbour."""
    builder = HostBuilder(options)
    builder.add_service(Neighbour("first"), name="first")
    for service in services:
        builder.add_service(service)
    return builder.build()


def say_later(text: str) -> None:
    """Say something when whoever has called this is at its next line for long."""
    threading.Timer(0.3, say, [text]).start()


async def wait_for_stop(stopping_token: StoppingToken) -> None:
    """Be a service that does nothing."""
    say("ready")
    await stopping_token.wait()
