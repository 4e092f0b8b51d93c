"""Asking services whether they are well."""

from collections.abc import Mapping
from types import MappingProxyType

import anyio

from hostkit._core.service import HostedService


async def ask_all(services: Mapping[str, HostedService], seconds: float) -> Mapping[str, Exception | None]:
    """Ask every service's ``check()`` side by side, each for so long at most; return what each raised, or None."""
    answers: dict[str, Exception | None] = dict.fromkeys(services)

    async def ask(name: str, service: HostedService) -> None:
        try:
            with anyio.fail_after(seconds, reason=f"check() of service {name!r} took longer than {seconds:g} s"):
                await service.check()
        except Exception as error:  # noqa: BLE001  # the answer
            answers[name] = error

    async with anyio.create_task_group() as group:
        for name, service in services.items():
            group.start_soon(ask, name, service)
    return MappingProxyType(answers)
