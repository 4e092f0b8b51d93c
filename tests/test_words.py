"""Errors that cannot say what they are: they fail what they fail in, and nothing besides."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import pytest
from loguru import logger
from puppet import Plain, Puppet, build

from hostkit import Backoff, HostBuilder, HostFailedError, HostOptions, Restart, StoppingToken
from hostkit._config.logging import log, log_error
from hostkit._process.signals import Signals
from hostkit._values.text import add_note, repr_of, text_of
from hostkit.jobs import JobQueue, JobState, Retry
from hostkit.scheduling import Every, Outcome, Scheduler


class SpeechlessError(Exception):
    """An error that has been made without what its text is made of."""

    def __str__(self) -> str:
        return f"no {self.route}"  # type: ignore[attr-defined]

    __repr__ = __str__


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that takes no notes."""

    route: str


async def speechless() -> None:
    """Fail without words."""
    raise SpeechlessError


async def frozen() -> None:
    """Fail with what cannot be changed."""
    raise FrozenError("A1")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="WARNING", catch=False)
    yield found
    logger.remove(sink)


def test_an_error_in_words() -> None:
    """Where there are no words, those of the interpreter stand for them."""
    assert text_of(OSError("no route")) == "OSError: no route"
    assert text_of(TimeoutError()) == "TimeoutError"
    assert text_of(SpeechlessError()) == "SpeechlessError: <exception str() failed>"


def test_a_value_in_words() -> None:
    """Where there is no repr, the type stands for it."""
    assert repr_of("text") == "'text'"
    assert repr_of(SpeechlessError()) == "<SpeechlessError, whose repr() failed>"


def test_a_note() -> None:
    """Where no note is taken, nothing happens."""
    error = OSError("no route")

    add_note(error, "on the way")
    add_note(FrozenError("A1"), "on the way")

    assert error.__notes__ == ["on the way"]


@pytest.mark.parametrize("service", [speechless, frozen])
async def test_a_service_fails_with_it(service: object, lines: list[str]) -> None:
    """It is a failure like any other; status, log and reason tell of its type."""
    options = HostOptions(log_level="WARNING")
    host, _ = build(Puppet(), service, options=options)  # type: ignore[arg-type]  # a function that takes no token
    kind = SpeechlessError if service is speechless else FrozenError

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [kind]
    assert kind.__name__ in str(caught.value)
    assert kind.__name__ in str(host.lifetime.stop_reason)
    assert kind.__name__ in str(host.status().services[1].last_failure)
    assert lines[0].startswith("service b failed: ")
    assert kind.__name__ in lines[0]
    assert host.lifetime.exit_code == 1


async def test_a_service_is_restarted_after_it() -> None:
    """Once more, like after any other."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(speechless, on_failure=Restart(limit=2, backoff=Backoff(1, 2, 5, 0)))
    host = builder.build()

    with pytest.raises(HostFailedError, match="ended 3 times in a row"):
        async with host:
            await host.wait()

    assert anyio.current_time() == 1 + 2


async def test_the_body_of_async_with_fails_with_it() -> None:
    """It comes out as itself, with the host's failures where it takes a note."""

    async def fails_at_the_stop(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        raise SpeechlessError

    host, _ = build(fails_at_the_stop, options=HostOptions(log_level="CRITICAL"))
    with pytest.raises(FrozenError):
        async with host:
            raise FrozenError("A1")

    host, _ = build(fails_at_the_stop, options=HostOptions(log_level="CRITICAL"))
    with pytest.raises(SpeechlessError) as caught:
        async with host:
            raise SpeechlessError

    assert caught.value.__notes__ == [
        "besides, the host failed: <SpeechlessError, whose repr() failed> (service 'a')",
    ]


async def test_a_job_fails_with_it(lines: list[str]) -> None:
    """The queue goes on."""
    queue = JobQueue(retry=Retry(attempts=2, backoff=Backoff(1, 2, 5, 0)))
    host, _ = build(queue, options=HostOptions(log_level="WARNING"))

    async with host:
        bad, good = await queue.enqueue(speechless), await queue.enqueue(anyio.sleep, 1)
        await anyio.sleep(3)

    assert (bad.state, good.state) == (JobState.FAILED, JobState.SUCCEEDED)
    assert [line.partition(": ")[2] for line in lines] == ["<SpeechlessError, whose repr() failed>"] * 2


async def test_a_run_fails_with_it(lines: list[str]) -> None:
    """The scheduler goes on."""
    scheduler = Scheduler()
    job = scheduler.add(speechless, Every(seconds=1))
    host, _ = build(scheduler, options=HostOptions(log_level="WARNING"))

    async with host:
        await anyio.sleep(2.5)

    assert [run.outcome for run in job.history] == [Outcome.FAILED] * 2
    assert [line.partition(": ")[2] for line in lines] == ["<SpeechlessError, whose repr() failed>"] * 2


async def test_a_listener_fails_with_it(lines: list[str]) -> None:
    """What cannot be told of a listener does not break the event's way to the others."""

    class Listener:
        def __call__(self, event: object) -> None:
            raise SpeechlessError

        def __repr__(self) -> str:
            raise SpeechlessError

    builder = HostBuilder(HostOptions(log_level="ERROR"))
    builder.add_service(Plain())
    builder.on_event(Listener())

    async with builder.build():
        pass

    assert lines
    assert all(line.startswith("listener <Listener, whose repr() failed> failed on ") for line in lines)


async def test_a_sink_that_fails_breaks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A sink that lets its errors out fails the user's own lines; the host goes on, and says so."""

    def full(_message: object) -> None:
        message = "disk full"
        raise OSError(message)

    host, _ = build(Puppet(), options=HostOptions(log_level="INFO"))
    sink = logger.add(full, catch=False)
    try:
        async with host:
            pass
        log_error("callback {} failed", 7, error=ValueError())
        log("INFO", "done")
    finally:
        logger.remove(sink)

    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("hostkit: ")]
    assert host.lifetime.exit_code == 0
    assert "hostkit: cannot log 'stopping: the end of async with': OSError('disk full')" in errors
    assert errors[-2:] == [
        "hostkit: cannot log 'callback 7 failed (its traceback cannot be logged)': OSError('disk full')",
        "hostkit: cannot log 'done': OSError('disk full')",
    ]


def test_a_status_fails_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    """What a signal handler cannot tell does not come out at any line of the main thread."""

    def dump() -> None:
        raise SpeechlessError

    with Signals() as signals:
        signals.on_dump("SIGUSR1", dump)
        signal.raise_signal(signal.SIGUSR1)

    assert capfd.readouterr().err == "hostkit: no status: <SpeechlessError, whose repr() failed>\n"
