"""Tests of a service, in three sizes: without a host, in a host, and over a month.

Run them with ``pytest samples/42_testing``. Time is virtual: it jumps when nothing is left to do, and is exact.
"""

from typing import NoReturn

import anyio
import pytest
from sessions import DAY, SessionCleanup, build

from hostkit.testing import ManualStoppingToken, Recorder

HOUR = 3600.0
pytestmark = pytest.mark.anyio


async def test_ends_what_is_a_day_old(manual_stopping_token: ManualStoppingToken) -> None:
    """The loop alone, with a token that the test sets."""
    cleanup = SessionCleanup({"ada": 0, "bob": 10 * HOUR})

    async with anyio.create_task_group() as group:
        group.start_soon(cleanup.execute, manual_stopping_token)
        await anyio.sleep(DAY + HOUR)
        manual_stopping_token.request_stop()

    assert cleanup.ended == [(DAY, "ada")]
    assert list(cleanup.last_used) == ["bob"]


class DamagedStore(dict[str, float]):
    def items(self) -> NoReturn:
        raise OSError


async def test_is_restarted_after_a_failure(recorder: Recorder) -> None:
    """The app as it is put together: the policies are tested with it."""
    builder = build(DamagedStore())
    builder.on_event(recorder)

    async with builder.build() as host:
        await anyio.sleep(10)
        assert host.status().services[0].restarts > 1

    recorder.assert_order("session-cleanup failed", "session-cleanup restarting", "session-cleanup started")


async def test_ends_one_session_an_hour_for_a_month() -> None:
    """Thirty days take a moment, and every hour comes exactly."""
    last_used = {f"session {hour}": hour * HOUR for hour in range(29 * 24)}
    host = build(last_used).build()
    cleanup = host.services["session-cleanup"]
    assert isinstance(cleanup, SessionCleanup)

    async with host:
        await anyio.sleep(30 * DAY)

    assert cleanup.ended == [(DAY + hour * HOUR, f"session {hour}") for hour in range(29 * 24)]
