"""The loops that a stopping token makes: ticks, and the items of a source, until the stop."""

import math
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio

if TYPE_CHECKING:
    from hostkit._tokens.stopping_token import StoppingToken

T = TypeVar("T")


class Ticks:
    """The ticks of `StoppingToken.every`."""

    __slots__ = ("_first", "_index", "_period", "_token")

    def __init__(self, token: "StoppingToken", period: float) -> None:
        self._token = token
        self._period = period
        self._first = math.nan
        self._index = 0  # of the next tick, on the grid that the first one lays

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        token = self._token
        if token.stop_requested:
            await anyio.lowlevel.checkpoint()
            raise StopAsyncIteration
        due = self._first + self._index * self._period if self._index else -math.inf
        # Every step is a checkpoint, a late one too: a body slower than its period must not starve the others.
        with token.cancel_on_stop():
            await anyio.sleep(max(0.0, due - anyio.current_time()))
        if token.stop_requested:
            raise StopAsyncIteration
        now = anyio.current_time()
        if not self._index:
            self._first = now
        # Not simply the next one: late ticks coalesce into this one.
        self._index = max(self._index, math.floor((now - self._first) / self._period)) + 1


class UntilStop(Generic[T]):
    """The items of `StoppingToken.until_stop`."""

    __slots__ = ("_ended", "_source", "_token")

    def __init__(self, token: "StoppingToken", source: AsyncIterable[T]) -> None:
        self._token = token
        self._source = aiter(source)
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._ended and not self._token.stop_requested:
            try:
                with self._token.cancel_on_stop():
                    # What it returns is handed on, even when the stop has come meanwhile.
                    return await anext(self._source)
            except StopAsyncIteration:
                self._ended = True
                raise
        await anyio.lowlevel.checkpoint()
        raise StopAsyncIteration
