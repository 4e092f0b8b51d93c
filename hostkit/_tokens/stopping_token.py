"""The stopping token: how an async service learns that it should finish."""

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar
from weakref import WeakSet

import anyio

from hostkit._execution.event_loop import TrioWaiter, current_task, new_waiter, wake
from hostkit._tokens.grid import Grid
from hostkit._values.durations import NOT_GIVEN, Duration, to_period, to_positive_period
from hostkit._values.functions import require_sync
from hostkit._values.text import repr_of

if TYPE_CHECKING:
    from asyncio import Future
    from contextlib import AbstractContextManager

T = TypeVar("T")

LONGEST_SLEEP_AFTER_STOP = 1.0


class TokenOwner(Protocol):
    """The run of a service or job that a token belongs to, called from the threads that use the token."""

    def time_left(self) -> float:
        """Return the seconds until the run is cancelled, now that its stop has been requested; negative if it was."""
        ...

    def log_ignored_stop(self) -> None:
        """Log that the run goes on sleeping after the stop; called once."""

    def on_callback_error(self, error: BaseException) -> None:
        """Log what an `on_stop` callback has raised."""


class Token:
    """What the tokens of tasks and of threads have in common.

    A callback is called once, by whichever thread takes it out: the one that requests the stop, or, when it was
    registered too late for that, its own.
    """

    __slots__ = ("_callbacks", "_on_activity", "_owner", "_waits", "_warned")

    def __init__(self, owner: TokenOwner, on_activity: Callable[[], None] | None = None) -> None:
        """Make a token that no stop has reached yet; *on_activity* is called at every wait and beat."""
        self._owner = owner
        self._on_activity = on_activity
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._waits = 0
        self._warned = False

    def _call(self, key: object) -> None:
        callback = self._callbacks.pop(key, None)
        if callback is None:
            return  # called already, or taken back
        try:
            callback()
        except BaseException as error:  # noqa: BLE001  # the user's callback: logged, and no other is kept from running
            self._owner.on_callback_error(error)


class StoppingToken(Token):
    """How a service learns that it should finish; one for each run of a service.

    The stop is a *request*: nothing is interrupted by it but the waits of this token. Its methods belong to the host's
    event loop; any task of the service may use them.

    Attributes:
        stop_requested: Whether the stop has been requested. Read it as often as you like; do not set it.
    """

    __slots__ = ("_informed_tasks", "_waiters", "stop_requested")

    def __init__(self, owner: TokenOwner, on_activity: Callable[[], None] | None = None) -> None:
        """Make a token that no stop has reached yet; *on_activity* is called at every `beat` and wait."""
        super().__init__(owner, on_activity)
        self.stop_requested = False
        self._waiters: list[TrioWaiter | Future[None]] = []
        self._informed_tasks: WeakSet[object] | None = None  # in which a sleep has returned True after the stop

    @property
    def time_left(self) -> float:
        """The seconds until the service is cancelled: infinite while no stop is requested, never below 0.

        It ends with the service's own ``stop_timeout`` or the host's ``shutdown_timeout``, whichever is nearer; a
        second signal ends it at once. A service can so decide what it still begins.
        """
        return max(0.0, self._owner.time_left()) if self.stop_requested else math.inf

    async def sleep(
        self,
        duration: Duration | None = None,
        *,
        hours: float = NOT_GIVEN,
        minutes: float = NOT_GIVEN,
        seconds: float = NOT_GIVEN,
    ) -> bool:
        """Sleep, but no longer than until the stop.

        A checkpoint even for 0 and after the stop. After the stop the first call of a task returns at once; a task that
        ignores the answer and calls again does sleep, up to a second a call, so that its loop cannot spin.

        Args:
            duration: How long to sleep at most, in seconds or as a `timedelta`.
            hours: The same in parts, instead of *duration*; the parts are added up.
            minutes: See *hours*.
            seconds: See *hours*.

        Returns:
            True if the stop was requested, False if the time was slept in full.

        Raises:
            TypeError: No duration, two forms of it, or a value that is none.
            ValueError: The duration is negative or NaN.
        """
        delay = to_period(duration, hours, minutes, seconds, "sleep()")
        if self.stop_requested:
            await self._sleep_after_stop(delay)
            return True
        with _Wait(self):
            await anyio.sleep(delay)
        return self.stop_requested

    async def wait(self) -> None:
        """Wait until the stop is requested; a checkpoint also when it has been already."""
        if self.stop_requested:
            await anyio.lowlevel.checkpoint()
            return
        self._waits += 1
        self.beat()
        waiter = new_waiter()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if not self.stop_requested:
                self._waiters.remove(waiter)
            self._waits -= 1
            self.beat()

    def every(
        self,
        duration: Duration | None = None,
        *,
        hours: float = NOT_GIVEN,
        minutes: float = NOT_GIVEN,
        seconds: float = NOT_GIVEN,
    ) -> AsyncIterator[None]:
        """Return ticks for ``async for``: the first at once, the next on a fixed grid from it, until the stop.

        A body that overruns its period gets one tick at once for all it has missed, then the grid again. The stop ends
        the wait for a tick at once, and never interrupts the body. Nothing needs closing after ``break``.

        Args:
            duration: The period, in seconds or as a `timedelta`.
            hours: The same in parts, instead of *duration*; the parts are added up.
            minutes: See *hours*.
            seconds: See *hours*.

        Raises:
            TypeError: No period, two forms of it, or a value that is none.
            ValueError: The period is 0, infinite, negative or NaN.
        """
        return _Ticks(self, to_positive_period(duration, hours, minutes, seconds, "every()"))

    def until_stop(self, source: AsyncIterable[T]) -> AsyncIterator[T]:
        """Return the items of *source* for ``async for``, until the stop or its end.

        The stop ends the wait for the next item, never the body. An item that the source has handed over is never
        dropped, and anyio's memory streams lose nothing. A generator that is in the middle of fetching is ended by the
        stop, with what it held. One that keeps a cancel scope or task group open across its ``yield`` cannot be used:
        put the loop into `cancel_on_stop` instead. Nothing needs closing after ``break``, but what *source* needs.
        """
        return _UntilStop(self, source)

    def cancel_on_stop(self) -> "AbstractContextManager[anyio.CancelScope]":
        """Return a context manager whose body is cancelled by the stop; the code after it goes on.

        Entered after the stop, it cancels at once: loop with ``while not stopping_token.stop_requested``, not with
        ``while True``. When another cancellation comes with the stop (the host's own, say), that one wins, and the
        code after the block does not run.
        """
        return _Wait(self)

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have *callback* called at the stop, in the event loop; at once if the stop has come already.

        It must be short and synchronous. An error in it is logged and keeps no other callback from running; a
        ``SystemExit`` or ``KeyboardInterrupt`` is also taken as if the service had raised it.

        Returns:
            A function that takes the registration back; calling it twice, or after the stop, is fine.

        Raises:
            TypeError: *callback* cannot be called, or is an async function.
        """
        require_sync(callback, "on_stop()")
        key = object()
        self._callbacks[key] = callback
        if self.stop_requested:
            self._call(key)

        def undo() -> None:
            self._callbacks.pop(key, None)

        return undo

    def beat(self) -> None:
        """Report to the host that the service is alive; see ``heartbeat_timeout`` of `HostBuilder.add_service`.

        The waits of this token need no beat. Cheap, and without effect where no heartbeat is watched.
        """
        if self._on_activity is not None:
            self._on_activity()

    async def _sleep_after_stop(self, delay: float) -> None:
        informed = self._informed_tasks
        if informed is None:
            informed = self._informed_tasks = WeakSet()
        task = current_task()
        if task not in informed:
            informed.add(task)
            await anyio.lowlevel.checkpoint()
            return
        if not self._warned:
            self._warned = True
            self._owner.log_ignored_stop()
        await anyio.sleep(min(delay, LONGEST_SLEEP_AFTER_STOP))


class StoppingSource(StoppingToken):
    """The other side of a token: made by hostkit, which requests the stop, and shown as a `StoppingToken`."""

    __slots__ = ()

    @property
    def waiting(self) -> bool:
        """Whether a task waits in the token."""
        return self._waits > 0

    def request_stop(self) -> None:
        """Set the token and wake every wait, in the order of registration; a second call does nothing."""
        if self.stop_requested:
            return
        self.stop_requested = True
        for waiter in self._waiters:
            wake(waiter)
        self._waiters.clear()
        for key in list(self._callbacks):
            self._call(key)


class _Wait:
    """A wait of a token: a cancel scope that the stop cancels."""

    __slots__ = ("_scope", "_token")

    _scope: "anyio.CancelScope"

    def __init__(self, token: StoppingToken) -> None:
        self._token = token

    def __enter__(self) -> "anyio.CancelScope":
        token = self._token
        # Entered before it is registered: a scope that is not active yet must not be cancelled by the stop.
        scope = self._scope = anyio.CancelScope()
        scope.__enter__()
        token._callbacks[self] = scope.cancel  # noqa: SLF001  # a part of the token
        token._waits += 1  # noqa: SLF001  # likewise
        token.beat()
        if token.stop_requested:
            scope.cancel()
        return scope

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        token = self._token
        token._callbacks.pop(self, None)  # noqa: SLF001  # a part of the token
        token._waits -= 1  # noqa: SLF001  # likewise
        token.beat()
        return self._scope.__exit__(exc_type, exc, traceback)


class _Ticks:
    """The ticks of `StoppingToken.every`."""

    __slots__ = ("_grid", "_token")

    def __init__(self, token: StoppingToken, period: float) -> None:
        self._token = token
        self._grid = Grid(period)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        token = self._token
        if token.stop_requested:
            await anyio.lowlevel.checkpoint()
            raise StopAsyncIteration
        # Every step is a checkpoint, a late one too: a body slower than its period must not starve the others.
        with _Wait(token):
            await anyio.sleep(self._grid.seconds_left(anyio.current_time()))
        if token.stop_requested:
            raise StopAsyncIteration
        self._grid.take(anyio.current_time())


class _UntilStop(Generic[T]):
    """The items of `StoppingToken.until_stop`."""

    __slots__ = ("_ended", "_source", "_token")

    def __init__(self, token: StoppingToken, source: AsyncIterable[T]) -> None:
        self._token = token
        self._source = aiter(source)
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._ended and not self._token.stop_requested:
            fetched = False
            try:
                with _Wait(self._token):
                    item = await anext(self._source)
                    fetched = True
            except StopAsyncIteration:
                self._ended = True
                raise
            except RuntimeError as error:
                if not fetched:
                    raise
                # The scope of the wait could not be left: the source has opened one within.
                message = (
                    f"{repr_of(self._source)} keeps a cancel scope or a task group open across its yield, and cannot "
                    "be used in until_stop(): put the loop into cancel_on_stop() instead"
                )
                raise RuntimeError(message) from error
            if fetched:
                return item  # even when the stop has come meanwhile
        await anyio.lowlevel.checkpoint()
        raise StopAsyncIteration
