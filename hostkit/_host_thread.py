"""A host on a thread of its own, for synchronous apps and scripts."""

import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, Unpack

import anyio

from hostkit._errors import HostFailedError, HostStateError
from hostkit._stopping import is_async

if TYPE_CHECKING:
    from anyio.lowlevel import EventLoopToken

    from hostkit._host import Host

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class HostThread:
    """A started host whose event loop runs on a daemon thread; made by `Host.start_in_thread`.

    A context manager that stops it. At the interpreter's exit it is stopped too, as far as that is still possible:
    where a signal ends the process without the interpreter's exit, or a worker thread is needed for the stop, it is
    not. A process that forks after the start has no host in the child: start it there (gunicorn's ``post_fork``).
    """

    def __init__(self, host: "Host") -> None:
        """Start *host* and wait until it is ready."""
        self._host = host
        self._process = os.getpid()
        self._loop: EventLoopToken | None = None
        self._settled = threading.Event()
        self._outcome: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="hostkit", daemon=True)
        self._thread.start()
        self._settled.wait()
        if self._outcome is not None:
            self._thread.join()
            raise self._outcome
        atexit.register(self._stop_at_exit)

    def call(self, function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, T]], *args: *Arguments) -> T:
        """Run an async function in the host's event loop, and return its result or raise its error.

        Raises:
            HostStateError: The host has ended, this is its own event loop, or the process was forked.
            TypeError: *function* is not async.
        """
        self._require_own_process()
        if not is_async(function):
            message = f"call() takes an async function, got {function!r}"
            raise TypeError(message)
        if threading.get_ident() == self._thread.ident:
            message = "call() in the host's own event loop: await the function there"
            raise HostStateError(message)
        try:
            return anyio.from_thread.run(function, *args, token=self._loop)
        except anyio.RunFinishedError:
            message = "call() after the end: the host has ended"
            raise HostStateError(message) from None

    def stop(self) -> None:
        """Stop the host and wait until it has ended; any number of times.

        Raises:
            HostFailedError: The host has failed.
            HostStateError: This is the host's own event loop, or the process was forked.
        """
        self._require_own_process()
        if threading.get_ident() == self._thread.ident:
            message = "stop() in the host's own event loop would wait for itself; call lifetime.request_stop()"
            raise HostStateError(message)
        self._host.lifetime.request_stop("HostThread.stop() was called")
        self._thread.join()
        atexit.unregister(self._stop_at_exit)
        self._host._raise_outcome()

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
            exc.add_note(f"besides, {error}")

    def _work(self) -> None:
        backend = self._host.options.backend
        try:
            anyio.run(
                self._live,
                backend="trio" if backend == "trio" else "asyncio",
                backend_options={"use_uvloop": True} if backend == "uvloop" else {},
            )
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that stops the host
            self._outcome = error
        finally:
            self._settled.set()

    async def _live(self) -> None:
        self._loop = anyio.lowlevel.current_token()
        await self._host.start()
        self._settled.set()
        await self._host.wait()

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._process:
            self._host.lifetime.request_stop("the interpreter exits")
            self._thread.join(self._host.options.shutdown_timeout + self._host.options.cancellation_timeout)

    def _require_own_process(self) -> None:
        if os.getpid() != self._process:
            message = (
                f"the process was forked after the host was started in process {self._process}; "
                "start the host in the child (gunicorn: in post_fork)"
            )
            raise HostStateError(message)
