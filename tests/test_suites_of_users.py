"""Test suites as users have them, with a host in their fixtures, run by the plugins that they use."""

import os
import shutil
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent.parent / "samples" / "42_testing"
pytestmark = [pytest.mark.needs("trio"), pytest.mark.usefixtures("unmeasured_children")]

APP = """
import pytest

from hostkit import HostBuilder, HostOptions, StoppingToken


class Ticker:
    def __init__(self):
        self.steps = []

    async def run(self, stopping_token: StoppingToken) -> None:
        self.steps.append("started")
        while not await stopping_token.sleep(0.001):
            self.steps.append("tick")
        self.steps.append("stopped")


ticker = Ticker()
builder = HostBuilder(HostOptions(log_level="CRITICAL"))
builder.add_service(ticker.run)
app_host = builder.build()


def check_that_it_is_stopped(times):
    assert app_host.lifetime.state == "stopped"
    assert [step for step in ticker.steps if step != "tick"] == ["started", "stopped"] * times
"""

PYTEST_ASYNCIO = """
import asyncio
import pytest
import pytest_asyncio
from app import app_host, check_that_it_is_stopped, ticker


@pytest_asyncio.fixture
async def host():
    async with app_host:
        yield app_host


@pytest_asyncio.fixture
async def host_by_hand():
    await app_host.start()
    yield app_host
    await app_host.stop()


@pytest.mark.asyncio
async def test_one(host):
    while "tick" not in ticker.steps:
        await asyncio.sleep(0.001)
    assert host.status().ready


@pytest.mark.asyncio
async def test_two(host_by_hand):
    await asyncio.sleep(0.01)
    assert host_by_hand.status().ready


def test_three():
    check_that_it_is_stopped(times=2)
"""

ANYIO = """
import anyio
import pytest
from app import app_host, check_that_it_is_stopped, ticker

runs = []


@pytest.fixture
async def host():
    async with app_host:
        yield app_host


@pytest.mark.anyio
async def test_one(host):
    while "tick" not in ticker.steps:
        await anyio.sleep(0.001)
    assert host.status().ready


@pytest.mark.anyio
async def test_two():
    with pytest.raises(LookupError):
        async with app_host:
            await anyio.sleep(0.01)
            raise LookupError


def test_three():
    check_that_it_is_stopped(times=4)
"""


def test_fixtures_of_pytest_asyncio(pytester: pytest.Pytester) -> None:
    """A fixture that enters and leaves a host in different tasks works, as does one that starts and stops it."""
    pytester.makepyfile(app=APP, test_app=PYTEST_ASYNCIO)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")

    result = pytester.runpytest_subprocess("-p", "no:xdist")

    result.assert_outcomes(passed=3)


def test_fixtures_of_anyio(pytester: pytest.Pytester) -> None:
    """On both backends one host is the fixture of test after test; errors of a body come out as they are."""
    pytester.makepyfile(app=APP, test_app=ANYIO)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:asyncio")

    result.assert_outcomes(passed=5)


def test_the_sample_of_a_suite(pytester: pytest.Pytester) -> None:
    """The tests of the sample pass on both backends, and thirty virtual days cost a moment."""
    shutil.copytree(SAMPLE, pytester.path, dirs_exist_ok=True)
    before = cpu_time_of_children()

    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:asyncio")

    result.assert_outcomes(passed=6)
    assert cpu_time_of_children() - before < 10


def cpu_time_of_children() -> float:
    """Return the seconds that the child processes which have ended have worked."""
    times = os.times()
    return times.children_user + times.children_system
