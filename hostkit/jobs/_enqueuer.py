"""The verbs that enqueue, typed after the function they are given."""

import weakref
from collections.abc import Awaitable, Callable, Hashable
from contextvars import copy_context
from datetime import UTC, datetime
from types import FunctionType
from typing import Concatenate, ParamSpec, TypeVar, overload

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import FunctionKind, kind_of
from hostkit.jobs._delayed import When
from hostkit.jobs._dispatcher import Dispatcher
from hostkit.jobs._errors import QueueFullError
from hostkit.jobs._job import Job, JobRecord
from hostkit.jobs._options import Options
from hostkit.jobs._retry import Retry

P = ParamSpec("P")
T = TypeVar("T")


class Enqueuer:
    """Enqueues jobs, with the same options for each."""

    def __init__(self, dispatcher: Dispatcher, options: Options) -> None:
        """Enqueue into the queue of *dispatcher*; a queue makes what enqueues into it."""
        self._dispatcher = dispatcher
        self._options = options
        self._last_kind: tuple[Callable[[], object], FunctionKind] = (_no_function, kind_of(_no_function))

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
        return Enqueuer(self._dispatcher, self._options.replaced(key=key, retry=retry, timeout=timeout, name=name))

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

        It may be awaited in any event loop, and in the host's own is cheapest.

        Args:
            function: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            The job; there is no need to keep it.

        Raises:
            QueueClosedError: The queue's turn to stop has come, also while it was waited for room.
            QueueFullError: There is no room, and the queue was not started: nothing would make any.
            TypeError: *function* cannot be called, or has a ``yield``.
        """
        dispatcher = self._dispatcher
        job = self._new_job(function, args, kwargs)
        return dispatcher.put(job, None) or await self._put_waiting(job, None)

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
        dispatcher = self._dispatcher
        job = dispatcher.put(self._new_job(function, args, kwargs), None)
        if job is None:
            raise QueueFullError(dispatcher.admission.capacity)
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
            QueueClosedError: As of `enqueue`, and so is ``QueueFullError``.
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
            ValueError: *instant* is naive, or out of range in UTC.
            TypeError: *instant* is none, or the queue's clock is not aware; further as of `enqueue`.
            QueueClosedError: As of `enqueue`, and so is ``QueueFullError``.
        """
        if not isinstance(instant, datetime):
            message = f"instant must be an aware datetime, got {instant!r}"
            raise TypeError(message)
        if instant.utcoffset() is None:
            message = f"instant must be an aware datetime, got {instant!r}"
            raise ValueError(message)
        try:
            in_utc = instant.astimezone(UTC)
        except OverflowError:
            message = f"instant must be in the years 1 to 9999 in UTC as well, got {instant!r}"
            raise ValueError(message) from None
        self._dispatcher.delayed.read_clock()  # before anything depends on it
        return await self._put_later(in_utc, function, args, kwargs)

    def _new_job(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> JobRecord:
        """Return a job that is in no queue yet, and runs in a copy of the current context."""
        reference, kind = self._last_kind
        last = reference()
        if last is None or last is not function:
            kind = kind_of(function)
            if isinstance(function, FunctionType):
                self._last_kind = weakref.ref(function), kind
        return JobRecord(self._dispatcher, function, args, kwargs, self._options, kind, copy_context())

    async def _put_later(
        self, when: When, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Job[object]:
        job = self._new_job(function, args, kwargs)
        return self._dispatcher.put(job, when) or await self._put_waiting(job, when)

    async def _put_waiting(self, job: JobRecord, when: When | None) -> Job[object]:
        """Have *job* accepted as soon as there is room for it."""
        dispatcher = self._dispatcher
        if not dispatcher.inbox.is_open:
            raise QueueFullError(dispatcher.admission.capacity)
        with dispatcher.waits.counted():
            reservation = await dispatcher.admission.wait_for_place()
        try:
            admitted = dispatcher.put(job, when, reservation)
        finally:
            dispatcher.admission.give_back(reservation)
        assert admitted is not None  # a reserved place is given to no other
        return admitted


def _no_function() -> None:
    """Stand in for a weak reference to a function that is gone."""
