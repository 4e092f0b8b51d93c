"""A host on a thread of its own, for synchronous apps and scripts."""

import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, Unpack

import anyio
from anyio import from_thread

from hostkit._execution.event_loop import require_backend, run_loop
from hostkit._execution.stack import current_frames
from hostkit._process.watchdog import describe_block
from hostkit._values.errors import HostFailedError, HostStateError
from hostkit._values.functions import is_async
from hostkit._values.states import ServiceState
from hostkit._values.text import add_note

if TYPE_CHECKING:
    from anyio.lowlevel import EventLoopToken

    from hostkit._core.runner import HostRunner

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# So much later than the host's own deadlines its event loop must be blocked.
MARGIN = 1.0
AFTER_END = "call() after the end: the host has ended"


class HostThread:
    """A started host whose event loop runs on a daemon thread; made by `Host.start_in_thread`.

    A context manager that stops it. At the interpreter's exit it is stopped too, as far as that is still possible:
    where a signal ends the process without the interpreter's exit, or a worker thread is needed for the stop, it is
    not. A process that forks after the start has no host in the child: start it there (gunicorn's hook
    ``post_worker_init``, or ``post_fork``; a signal that comes during the latter is lost).
    """

    def __init__(self, host: "HostRunner", start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start *host* by *start*, and wait until it is ready."""
        require_backend(host.options.backend)
        self._host = host
        self._start = start
        self._process = os.getpid()
        self._calls = _Calls()
        self._loop: EventLoopToken | None = None
        self._settled = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        """What came of the start."""
        self._thread = threading.Thread(target=self._work, name="hostkit", daemon=True)
        self._thread.start()
        try:
            self._settled.wait()
        except BaseException:  # Ctrl-C, say
            self._end("start_in_thread() was interrupted")
            raise
        if self._failure is not None:
            self._join()
            raise self._failure
        atexit.register(self._stop_at_exit)

    def call(self, function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, T]], *args: *Arguments) -> T:
        """Run an async function in the host's event loop, and return its result or raise its error.

        Raises:
            HostStateError: The host has ended, before the call or during it, other code has cancelled what the function
                awaits, this is its own event loop, or the process was forked.
            TypeError: *function* is not async.
        """
        self._require_outside("call()", "await the function there")
        if not is_async(function):
            message = f"call() takes an async function, got {function!r}"
            raise TypeError(message)
        self._calls.announce()
        try:
            results, error = from_thread.run(self._calls.run, function, *args, token=self._loop)
        except anyio.RunFinishedError:  # a task of the app's own has ended the loop
            raise HostStateError(AFTER_END) from None
        if results:
            return results[0]
        raise error

    def stop(self) -> None:
        """Stop the host and wait until it has ended; any number of times.

        Raises:
            HostFailedError: The host has failed, or it cannot be stopped because its event loop is blocked.
            HostStateError: This is the host's own event loop, or the process was forked.
        """
        self._require_outside("stop()", "it would wait for itself; call lifetime.request_stop()")
        self._end("HostThread.stop() was called")
        atexit.unregister(self._stop_at_exit)
        self._host.raise_outcome()

    def __enter__(self) -> Self:
        """Return the started host's thread."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see `stop`. An error of the body comes out as itself, with the host's failures as a note."""
        try:
            self.stop()
        except HostFailedError as error:
            if exc is None:
                raise
            add_note(exc, f"besides, {error}")

    def _work(self) -> None:
        try:
            run_loop(self._live, self._host.options.backend)
        except BaseException as error:  # noqa: BLE001  # raised in the thread that starts
            self._failure = error
        finally:
            self._settled.set()
            self._ended.set()

    async def _live(self) -> None:
        self._loop = anyio.lowlevel.current_token()
        try:
            await self._start()
        except BaseException as error:  # noqa: BLE001  # raised in the thread that starts
            self._failure = error
        else:
            lifecycle = self._host.lifecycle
            assert lifecycle is not None
            self._settled.set()
            await lifecycle.ended.wait()
            await self._calls.close(self._host.options.cancellation_timeout)
        # Not left to the loop's end, which does not come while the task of an abandoned service lives.
        self._settled.set()
        self._ended.set()

    def _end(self, reason: str) -> None:
        options = self._host.options
        if not self._ended.is_set():
            self._host.lifetime.request_stop(reason)
        timeout = options.shutdown_timeout + options.cancellation_timeout + MARGIN
        if not self._ended.wait(min(timeout, threading.TIMEOUT_MAX)):
            frame = current_frames().get(self._thread.ident or 0)
            message = f"the host cannot be stopped: {describe_block(frame)}"
            raise HostFailedError(message, [TimeoutError(message)])
        self._join()

    def _join(self) -> None:
        if not any(service.state is ServiceState.ABANDONED for service in self._host.status().services):
            # Bounded: a task that other code has left in the loop may ignore its cancellation.
            self._thread.join(min(self._host.options.cancellation_timeout, threading.TIMEOUT_MAX))

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._process:
            self._end("the interpreter exits")

    def _require_outside(self, method: str, instead: str) -> None:
        if os.getpid() != self._process:
            message = (
                f"the process was forked after the host was started in process {self._process}; "
                "start the host in the child (gunicorn: in post_worker_init)"
            )
            raise HostStateError(message)
        if threading.get_ident() == self._thread.ident:
            message = f"{method} in the host's own event loop: {instead}"
            raise HostStateError(message)


class _Calls:
    """The calls that other threads make into a host's event loop, which must not end before they have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._none_left: anyio.Event | None = None
        """There is one from the end of the host on."""

    def announce(self) -> None:
        """Announce a `run`, in the thread that calls.

        Raises:
            HostStateError: The host has ended.
        """
        with self._lock:
            if self._none_left is not None:
                raise HostStateError(AFTER_END)
            self._count += 1

    async def run(
        self, function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, T]], *args: *Arguments
    ) -> tuple[list[T], BaseException]:
        """Run *function*, in the loop; return its result, or none and what the caller is to raise.

        Raised here, an exit would end the loop, and the host with it.
        """
        message = "the host ended during the call, or other code has cancelled what it awaits"
        error: BaseException = HostStateError(message)
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        if self._none_left is not None:
            scope.cancel()
        try:
            with scope:
                return [await function(*args)], error
        except anyio.get_cancelled_exc_class():
            pass
        except BaseException as raised:  # noqa: BLE001  # the caller's
            error = raised
        finally:
            self._scopes.discard(scope)
            with self._lock:
                self._count -= 1
                if self._none_left is not None and not self._count:
                    self._none_left.set()
        return [], error

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109  # it gives up, and raises nothing
        """Let no further call in, cancel those that are there, and wait for them, in the loop."""
        with self._lock:
            self._none_left = anyio.Event()
            if not self._count:
                return
        for scope in self._scopes:
            scope.cancel()
        with anyio.move_on_after(timeout):
            await self._none_left.wait()
