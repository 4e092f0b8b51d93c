"""The verbs that enqueue, typed after the function they are given."""

from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime
from typing import Concatenate, ParamSpec, TypeVar, overload

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit._values.durations import Duration, to_seconds
from hostkit.jobs._errors import QueueFullError
from hostkit.jobs._intake import Intake, When
from hostkit.jobs._job import Job
from hostkit.jobs._options import Options
from hostkit.jobs._retry import Retry

P = ParamSpec("P")
T = TypeVar("T")


class Enqueuer:
    """Enqueues jobs, with the same options for each."""

    _intake: Intake
    _options: Options

    def with_options(
        self,
        *,
        key: Hashable = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        name: str | None = None,
    ) -> "Enqueuer":
        """Return what enqueues as this does, but with other options; what is left out stays as it is.

        Args:
            key: While a job with this key waits, is delayed or runs, to enqueue another returns that same `Job`.
            retry: How often a job is run.
            timeout: After how many seconds a run is cancelled; ``math.inf`` for no limit.
            name: The name of the jobs, in the log and the status.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: *timeout* is 0, negative or NaN.
        """
        return _WithOptions(self._intake, self._options.replaced(key=key, retry=retry, timeout=timeout, name=name))

    # Each verb four times: for async and blocking functions, without and with the token, which hostkit fills in.

    @overload
    async def enqueue(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    @overload
    async def enqueue(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    @overload
    async def enqueue(
        self, function: Callable[Concatenate[StoppingToken, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    async def enqueue(
        self, function: Callable[Concatenate[ThreadStoppingToken, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    async def enqueue(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Job[object]:
        """Have *function* called in the background; wait while the queue is full.

        An async function runs in the event loop, a blocking one on a thread, either in a copy of the caller's context
        (`contextvars`). A first parameter named ``stopping_token`` is filled in, and not among *args*.

        Args:
            function: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            The job; there is no need to keep it.

        Raises:
            QueueClosedError: The queue's turn to stop has come, also while it was waited for room.
            QueueFullError: There is no room, and the queue was not started: nothing would make any.
            HostStateError: There is no room, and this is not the host's event loop.
            TypeError: *function* cannot be called, or has a ``yield``.
        """
        job = self._intake.put(self._options, None, function, args, kwargs)
        if job is None:
            job = await self._intake.put_waiting(self._options, None, function, args, kwargs)
        return job

    @overload
    def enqueue_nowait(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    @overload
    def enqueue_nowait(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    @overload
    def enqueue_nowait(
        self, function: Callable[Concatenate[StoppingToken, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    def enqueue_nowait(
        self, function: Callable[Concatenate[ThreadStoppingToken, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    def enqueue_nowait(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Job[object]:
        """Do as `enqueue`, but never wait; from any thread.

        From another thread than the event loop's the job is in the queue at once, and its place in the order is found
        at the loop's next turn. Not for signal handlers.

        Raises:
            QueueFullError: There is no room.
            QueueClosedError: The queue's turn to stop has come.
            TypeError: As of `enqueue`.
        """
        job = self._intake.put(self._options, None, function, args, kwargs)
        if job is None:
            raise QueueFullError(self._intake.capacity)
        return job

    @overload
    async def enqueue_in(
        self, delay: Duration, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    async def enqueue_in(
        self, delay: Duration, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    async def enqueue_in(
        self,
        delay: Duration,
        function: Callable[Concatenate[StoppingToken, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[T]: ...
    @overload
    async def enqueue_in(
        self,
        delay: Duration,
        function: Callable[Concatenate[ThreadStoppingToken, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[T]: ...
    async def enqueue_in(
        self, delay: Duration, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Job[object]:
        """Do as `enqueue`, but have the job wait for *delay* first, a number of seconds or a `timedelta`.

        Before the start of the queue the delay counts from the start.

        Raises:
            ValueError: *delay* is negative or NaN.
            TypeError: *delay* is none; further as of `enqueue`.
            QueueClosedError: As of `enqueue`, and so are ``QueueFullError`` and ``HostStateError``.
        """
        seconds = to_seconds(delay, "delay")
        return await self._put_later(seconds, function, args, kwargs)

    @overload
    async def enqueue_at(
        self, instant: datetime, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    async def enqueue_at(
        self, instant: datetime, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[T]: ...
    @overload
    async def enqueue_at(
        self,
        instant: datetime,
        function: Callable[Concatenate[StoppingToken, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[T]: ...
    @overload
    async def enqueue_at(
        self,
        instant: datetime,
        function: Callable[Concatenate[ThreadStoppingToken, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[T]: ...
    async def enqueue_at(
        self, instant: datetime, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Job[object]:
        """Do as `enqueue`, but have the job wait until the wall clock shows *instant*; one that is past is now.

        When the clock is set meanwhile, that is noticed within half a minute.

        Raises:
            ValueError: *instant* is naive.
            TypeError: As of `enqueue`.
            QueueClosedError: As of `enqueue`, and so are ``QueueFullError`` and ``HostStateError``.
        """
        if instant.utcoffset() is None:
            message = f"instant must be an aware datetime, got {instant!r}"
            raise ValueError(message)
        return await self._put_later(instant.astimezone(UTC), function, args, kwargs)

    async def _put_later(
        self, when: When, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Job[object]:
        job = self._intake.put(self._options, when, function, args, kwargs)
        if job is None:
            job = await self._intake.put_waiting(self._options, when, function, args, kwargs)
        return job


class _WithOptions(Enqueuer):
    """What `Enqueuer.with_options` returns."""

    def __init__(self, intake: Intake, options: Options) -> None:
        self._intake = intake
        self._options = options
