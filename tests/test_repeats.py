"""`hostkit._values.repeats`, and the failures that a `Restart` recovers again and again."""

from collections.abc import Iterator

import anyio
import pytest
from loguru import logger
from puppet import Puppet, PuppetError

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
from hostkit._values.repeats import MOST_KEYS, Repeat, Repeats


def test_the_first_is_reported_in_full_and_then_once_a_minute() -> None:
    """The first time is reported, the same within a minute is counted, then their count is reported."""
    repeats = Repeats()

    reports = [repeats.take("a", now) for now in (0, 10, 59.9, 60, 61, 130)]

    assert reports == [Repeat(0, 0), None, None, Repeat(3, 60), None, Repeat(2, 70)]


def test_each_thing_has_its_own_count() -> None:
    """Different things are reported apart."""
    repeats = Repeats()

    reports = [repeats.take(key, now) for now, key in enumerate("abab")]

    assert reports == [Repeat(0, 0), Repeat(0, 0), None, None]


def test_the_end_tells_what_was_left_out() -> None:
    """What was not reported is told at the end, once; everything is new then."""
    repeats = Repeats()
    for now in (0, 1, 2):
        repeats.take("a", now)
    repeats.take("b", 3)

    assert list(repeats.end(5)) == [("a", Repeat(2, 5))]
    assert list(repeats.end(6)) == []
    assert repeats.take("a", 7) == Repeat(0, 0)


def test_no_more_than_some_are_remembered() -> None:
    """Texts that change each time take no room without end."""
    repeats = Repeats()
    for number in range(MOST_KEYS + 10):
        repeats.take(number, number)

    assert len(repeats._seen) == MOST_KEYS
    assert repeats.take(MOST_KEYS + 9, MOST_KEYS + 10) is None


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What hostkit logs."""
    kept: list[str] = []
    sink = logger.add(kept.append, level=0, format="{level} {message}", filter="hostkit")
    yield kept
    logger.remove(sink)


class Failing(BackgroundService):
    """Fails after a while, again and again, with what it is given."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.runs += 1
        if not await stopping_token.sleep(4):
            raise PuppetError(self.errors[min(self.runs, len(self.errors)) - 1])


async def test_a_failure_again_and_again_is_few_lines(lines: list[str]) -> None:
    """The first failure is told in full, the same again once a minute with its count, and the rest at the stop."""
    builder = HostBuilder(HostOptions(application_name="app"))
    policy = Restart(limit=None, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(Failing("no route"), name="feed", on_failure=policy)

    async with builder.build():
        await anyio.sleep(100)

    found = [line.splitlines() for line in lines if "feed" in line]
    assert [first for first, *_ in found] == [
        "WARNING service feed failed: PuppetError('no route')",
        "WARNING service feed restarting in 1.0 s, restart 1",
        "WARNING service feed failed again (12 times in 60 s): PuppetError: no route",
        "WARNING service feed failed again (7 times in 36 s): PuppetError: no route",
    ]
    assert [len(rest) > 0 for _, *rest in found] == [True, False, False, False]


async def test_another_failure_is_told_in_full(lines: list[str]) -> None:
    """Something new is told in full, with its restart."""
    builder = HostBuilder(HostOptions(application_name="app"))
    policy = Restart(limit=5, backoff=Backoff(1, 1, 1, 0))
    builder.add_service(Failing("no route", "no route", "refused"), name="feed", on_failure=policy)

    async with builder.build():
        await anyio.sleep(16)

    assert [line.splitlines()[0] for line in lines if "feed" in line] == [
        "WARNING service feed failed: PuppetError('no route')",
        "WARNING service feed restarting in 1.0 s, restart 1 of 5",
        "WARNING service feed failed: PuppetError('refused')",
        "WARNING service feed restarting in 1.0 s, restart 3 of 5",
        "WARNING service feed failed again (once in 12 s): PuppetError: no route",
    ]


async def test_an_error_has_its_traceback_in_the_log_once(lines: list[str]) -> None:
    """When the limit is reached, the line that says so has no traceback: the failures before have."""
    builder = HostBuilder(HostOptions(application_name="app"))
    policy = Restart(limit=2, backoff=Backoff(1, 1, 1, 0), then=EndAction.IGNORE)
    builder.add_service(Failing("no route"), name="feed", on_failure=policy)
    builder.add_service(Puppet(), name="other")

    async with builder.build():
        await anyio.sleep(30)

    assert "".join(lines).count("Traceback (most recent call last)") == 1
    assert (
        "ERROR service feed failed: RestartLimitError(\"service 'feed' ended 3 times in a row; giving up\")\n" in lines
    )


@pytest.mark.parametrize("fails", ["start", "execute"])
async def test_a_first_start_that_fails_says_that_no_restart_holds_yet(fails: str) -> None:
    """A `Restart` holds from when the service was first ready; a failure before that says so."""

    class Slow(Puppet):
        async def execute(self, stopping_token: StoppingToken, *, task_status: object = None) -> None:
            raise PuppetError(fails)

    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    service = Puppet(fails="start") if fails == "start" else Slow()
    builder.add_service(service, name="feed", on_failure=Restart(limit=None))

    with pytest.raises(HostFailedError, match="service 'feed' was not ready yet: its Restart holds from then on"):
        await builder.build().start()


async def test_a_failure_without_a_restart_says_nothing_of_one() -> None:
    """Where no `Restart` was given, none is spoken of."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(Puppet(fails="start"), name="feed")

    with pytest.raises(HostFailedError) as caught:
        await builder.build().start()

    assert "Restart" not in str(caught.value)
