"""Errors that misbehave when they are looked at: logging them never decides what happens to a host."""

import anyio
import pytest
from loguru import logger
from puppet import Puppet

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    HostBuilder,
    HostFailedError,
    HostOptions,
    Restart,
    StoppingToken,
)
from hostkit._values.text import notes_of


class NoNotesError(Exception):
    """Its notes are None."""

    __notes__ = None  # type: ignore[assignment]  # what a user may do


class NumbersError(Exception):
    """Its notes are numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.__notes__ = [1, 2]  # type: ignore[list-item]  # what a user may do


class RaisingError(Exception):
    """Its notes raise."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # likewise
        message = "no notes"
        raise OSError(message)


class SpeechlessError(Exception):
    """Has neither text nor repr."""

    def __str__(self) -> str:
        message = "no text"
        raise OSError(message)

    __repr__ = __str__


HOSTILE = [NoNotesError, NumbersError, RaisingError, SpeechlessError]


class Failing(BackgroundService):
    """Fails after a second, once or again and again."""

    def __init__(self, kind: type[Exception], times: int = 1000) -> None:
        self.kind = kind
        self.left = times

    async def execute(self, stopping_token: StoppingToken) -> None:
        if await stopping_token.sleep(1) or not self.left:
            await stopping_token.wait()
            return
        self.left -= 1
        raise self.kind


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_failure_stops_its_host_in_order(kind: type[Exception]) -> None:
    """The failure comes out as it is, after an ordered stop, and no other service is accused."""
    other = Puppet()
    builder = HostBuilder(HostOptions())
    builder.add_service(other, name="other")
    builder.add_service(Failing(kind), name="failing")
    host = builder.build()

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [kind]
    assert other.calls == ["start", "execute", "stop"]
    assert host.lifetime.exit_code == 1
    assert host.lifetime.stop_reason is not None
    assert "service 'failing' failed" in host.lifetime.stop_reason


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("policy", [Restart(limit=None, backoff=Backoff(1, jitter=0)), EndAction.IGNORE])
async def test_a_hostile_failure_is_recovered(kind: type[Exception], policy: EndAction | Restart) -> None:
    """A policy holds for it as for any other failure; status and check can be asked."""
    builder = HostBuilder(HostOptions())
    builder.add_service(Puppet(), name="other")
    builder.add_service(Failing(kind, times=2), name="failing", on_failure=policy)
    host = builder.build()

    async with host:
        await anyio.sleep(1.5)
        status = host.status().services[1]
        problem = (await host.check())["failing"]
        await anyio.sleep(100)

    assert status.last_failure is not None
    assert kind.__name__ in status.last_failure
    assert problem is not None
    assert host.lifetime.exit_code == 0


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_sink_that_raises_breaks_no_host(kind: type[Exception], capfd: pytest.CaptureFixture[str]) -> None:
    """A sink that lets its errors out, and cannot write the failure, changes nothing for the host."""

    def fail(_message: object) -> None:
        message = "disk full"
        raise OSError(message)

    builder = HostBuilder(HostOptions())
    builder.add_service(Puppet(), name="other")
    builder.add_service(Failing(kind, times=1), name="failing", on_failure=Restart(backoff=Backoff(1, jitter=0)))
    host = builder.build()
    sink = logger.add(fail, catch=False)
    try:
        async with host:
            await anyio.sleep(10)
    finally:
        logger.remove(sink)

    assert host.lifetime.exit_code == 0
    assert "hostkit: cannot log " in capfd.readouterr().err


def test_notes_are_what_is_text() -> None:
    """Of notes, those that are text are shown."""
    error = ValueError("bad")
    error.add_note("first")
    error.__notes__.append(2)  # type: ignore[arg-type]  # what a user may do

    assert notes_of(error) == ("first",)
    assert [notes_of(kind()) for kind in HOSTILE] == [(), (), (), ()]
