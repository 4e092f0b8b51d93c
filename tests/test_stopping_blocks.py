"""`StoppingToken.cancel_on_stop`: blocks that the stop cancels."""

import anyio
import pytest
from anyio import CancelScope, create_task_group, current_time
from checkpoints import stop_at

from hostkit.testing import ManualStoppingToken


@pytest.fixture
def token(manual_stopping_token: ManualStoppingToken) -> ManualStoppingToken:
    """A token that no stop has reached yet."""
    return manual_stopping_token


async def test_the_stop_cancels_the_block(token: ManualStoppingToken) -> None:
    """The body of `cancel_on_stop` is cancelled by the stop, and the code after it goes on."""
    log: list[object] = []

    async with create_task_group() as group:
        group.start_soon(stop_at, token, 5)
        with token.cancel_on_stop() as scope:
            try:
                await anyio.sleep(3600)
            finally:
                log.append("clean-up")
        log.append(current_time())
        await anyio.sleep(1)
        log.append(current_time())

    assert log == ["clean-up", 5, 6]
    assert scope.cancelled_caught


async def test_a_block_that_ends_before_the_stop(token: ManualStoppingToken) -> None:
    """A body that ends by itself is left alone, and leaves nothing behind."""
    with token.cancel_on_stop() as scope:
        await anyio.sleep(1)

    assert not token._callbacks
    token.request_stop()
    await anyio.lowlevel.checkpoint()
    assert not scope.cancel_called


async def test_a_block_that_is_entered_after_the_stop(token: ManualStoppingToken) -> None:
    """Entered after the stop, the body is cancelled at its first checkpoint."""
    token.request_stop()
    log: list[str] = []

    with token.cancel_on_stop():
        log.append("entered")
        await anyio.sleep(3600)
        log.append("never")
    with token.cancel_on_stop():
        log.append("no checkpoint")

    assert log == ["entered", "no checkpoint"]
    assert current_time() == 0
    assert not token._callbacks


@pytest.mark.parametrize("first", ["outer", "stop"])
async def test_an_outer_cancellation_wins(token: ManualStoppingToken, first: str) -> None:
    """When another cancellation comes together with the stop, the code after the block does not run."""
    log: list[str] = []

    async def service(outer: CancelScope) -> None:
        with outer:
            try:
                with token.cancel_on_stop():
                    await anyio.sleep(3600)
                log.append("after the block")
                await anyio.lowlevel.checkpoint()
                log.append("after a checkpoint")
            finally:
                log.append("left")

    async with create_task_group() as group:
        outer = CancelScope()
        group.start_soon(service, outer)
        await anyio.wait_all_tasks_blocked()
        for what in (first, "outer" if first == "stop" else "stop"):
            if what == "stop":
                token.request_stop()
            else:
                outer.cancel()

    assert log == ["left"]
    assert outer.cancelled_caught


async def test_errors_come_out_of_the_block(token: ManualStoppingToken) -> None:
    """An error of the body comes out, also one that its clean-up raises at the stop."""

    async def fail_at_the_stop() -> None:
        with token.cancel_on_stop():
            try:
                await anyio.sleep(3600)
            finally:
                message = "no route"
                raise OSError(message)

    with pytest.RaisesGroup(OSError):
        async with create_task_group() as group:
            group.start_soon(fail_at_the_stop)
            await anyio.wait_all_tasks_blocked()
            token.request_stop()


async def test_blocks_can_be_nested_and_have_deadlines(token: ManualStoppingToken) -> None:
    """The scope of a block is an ordinary one: it has a deadline, and of nested blocks the outer one wins."""
    log: list[object] = []

    with token.cancel_on_stop() as scope:
        scope.deadline = 3
        await anyio.sleep(3600)
    log.append(current_time())
    async with create_task_group() as group:
        group.start_soon(stop_at, token, 5)
        with token.cancel_on_stop():
            with token.cancel_on_stop():
                await anyio.sleep(3600)
            log.append("after the inner block")
            await anyio.lowlevel.checkpoint()
            log.append("after a checkpoint")
        log.append(current_time())

    assert log == [3, 5]


async def test_a_block_holds_tasks(token: ManualStoppingToken) -> None:
    """A task group inside the block is cancelled with it, and ended before the code after it."""
    log: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("child ended")

    async with create_task_group() as outer:
        outer.start_soon(stop_at, token, 5)
        with token.cancel_on_stop():
            async with create_task_group() as group:
                group.start_soon(child)
                group.start_soon(child)
        log.append("after")

    assert log == ["child ended", "child ended", "after"]
