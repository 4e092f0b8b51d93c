"""What tests of waits ask: is it a checkpoint, and what comes of a stop at an instant."""

from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope, create_task_group, current_time

from hostkit._tokens.stopping_token import StoppingSource


async def stop_at(token: StoppingSource, instant: float) -> None:
    """Set the token at an instant of the event loop's clock."""
    await anyio.sleep(instant - current_time())
    token.request_stop()


async def gives_others_a_turn(step: Callable[[], Awaitable[object]]) -> bool:
    """Return whether other tasks run meanwhile; three steps, as trio shuffles those that are due."""
    turns: list[int] = []
    steps = 0

    async def other() -> None:
        turns.append(steps)

    async with create_task_group() as group:
        group.start_soon(other)
        for _ in range(3):
            await step()
            steps += 1
    return turns[0] < steps


async def is_cancelled_in(step: Callable[[], Awaitable[object]]) -> bool:
    """Return whether *step* notices that it is cancelled."""
    with CancelScope() as scope:
        scope.cancel()
        await step()
    return scope.cancelled_caught
