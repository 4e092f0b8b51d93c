"""The host: starts its services, keeps them running, and stops them."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from hostkit._config.logging import EventLog
from hostkit._config.options import HostOptions
from hostkit._core.lifetime import HostLifetime
from hostkit._core.listeners import Listener
from hostkit._core.registration import Registration
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.errors import HostFailedError, HostStateError
from hostkit._values.states import HostState
from hostkit._values.text import add_note, repr_of

# The rest is imported where it is used: importing hostkit shall cost little more than importing anyio.
if TYPE_CHECKING:
    from hostkit._core.fatal import FatalCallback
    from hostkit._core.host_status import HostStatus
    from hostkit._core.lifecycle import Life
    from hostkit._core.service import HostedService
    from hostkit._process.host_thread import HostThread


class Host:
    """Services that are started in order, kept running, and stopped in reverse; made by `HostBuilder.build`.

    Either the host owns the process (`run`, `run_async`) and takes its signals, its logging and its exit code; or it is
    embedded (``async with``, `start` and `stop`, `lifespan`, `start_in_thread`) and touches none of them.

    Attributes:
        lifetime: The host's instants, and the door to ask for a stop.
        services: Every service by its name, in start order; read-only.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[Registration]],
        options: HostOptions,
        lifetime: HostLifetime,
        listeners: Sequence[Listener],
        on_fatal: Sequence["FatalCallback"],
    ) -> None:
        """Take what the builder has collected."""
        self.lifetime = lifetime
        self.services: Mapping[str, HostedService] = MappingProxyType(
            {registration.name: registration.service for step in steps for registration in step}
        )
        self._steps = steps
        self._options = options
        self._listeners = listeners
        self._on_fatal = on_fatal
        self._life: Life | None = None
        self._was_run = False
        self._process_of_life = os.getpid()
        lifetime._status = self.status  # the host's side of the lifetime

    @property
    def options(self) -> HostOptions:
        """The options that the host runs with."""
        return self._options

    def run(self, *, configure_logging: bool = True) -> None:
        """Run the host in an event loop of its own until it is stopped; it owns the process meanwhile.

        SIGINT and SIGTERM (on Windows SIGINT and SIGBREAK): the first asks for the stop, the second cancels everything
        at once, the third leaves. A service that cannot be ended is named on standard error, and the process left with
        exit code 3; with 1 when it blocks the event loop itself. Returns for exit code 0. Once only.

        Args:
            configure_logging: Whether to set loguru up from the options: one sink on standard error, with the standard
                library's `logging` routed in.

        Raises:
            SystemExit: The exit code is not 0; the `HostFailedError` is its cause. What a service has raised as
                `SystemExit` or `KeyboardInterrupt` comes out as it is.
            HostStateError: It was run before, or not in the main thread, or an event loop is running, or another host
                owns the process.
        """
        from hostkit._process import owner as _process

        _process.run(self, configure_logging=configure_logging)

    async def run_async(self, *, configure_logging: bool = True) -> int:
        """Do what `run` does inside a running event loop, and return the exit code: ``raise SystemExit(await …)``.

        It raises nothing of its own; failures are logged and in ``lifetime.failure``. Signals are taken in the main
        thread only.

        Raises:
            HostStateError: It was run before, or another host owns the process.
        """
        from hostkit._process import owner as _process

        return await _process.run_async(self, configure_logging=configure_logging)

    async def start(self) -> None:
        """Start the services, one after the other, and return when every one is ready.

        When a stop is asked for before that, what had started is stopped and ``lifetime.state`` is `STOPPED`; nothing
        is raised. When the caller is cancelled, the same, and then the cancellation comes out. A host that has stopped
        may be started again, in another event loop too.

        Raises:
            HostFailedError: A service failed, or was not ready in time; everything has been stopped again.
            HostStateError: The host has started and not ended yet, or a service abandoned in its last life still runs.
        """
        from hostkit._core.fatal import tell_fatal, terminate_process

        life = self._begin()
        life.on_crash = partial(tell_fatal, callbacks=self._on_fatal, on_error=life.on_hook_error)
        if self.options.terminate_on_failure:
            life.on_fatal_end = partial(terminate_process, life.failures)
        try:
            await life.settled.wait()
        except anyio.get_cancelled_exc_class():
            self.lifetime.request_stop("start() was cancelled")
            await self._wait_to_end(life)
            self._raise_outcome()
            raise
        if not life.started:
            await self._wait_to_end(life)
            self._raise_outcome()

    async def stop(self, reason: str = "stop() was called") -> None:
        """Stop the services in reverse order, and return when the host has ended; any number of times.

        A cancellation of the caller does not cut it short; it comes out when the host has ended, unless the host has
        failed. A host that was never started ends nothing and raises nothing.

        Raises:
            HostFailedError: The host has failed, in its start, its run or its stop.
            HostStateError: A service of this host awaits it; the stop is requested all the same, but only
                ``lifetime.request_stop()`` does not wait for the one that calls it.
        """
        life = self._life
        if life is None:
            self.lifetime.request_stop(reason)
            return
        self.lifetime.request_stop(reason)
        self._refuse_own_service("stop()")
        await self._end(life)

    async def wait(self) -> None:
        """Wait until the host has ended. Cancelling the wait changes nothing for the host.

        Raises:
            HostFailedError: The host has failed.
            HostStateError: The host was never started, or a service of this host awaits it.
        """
        life = self._life
        if life is None:
            message = "wait() before start(): the host has not been started"
            raise HostStateError(message)
        self._refuse_own_service("wait()")
        await life.ended.wait()
        self._raise_outcome()

    async def __aenter__(self) -> Self:
        """Start; see `start`."""
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see `stop`. An error of the body comes out as itself, with the host's failures as notes."""
        life = self._life
        assert life is not None
        self.lifetime.request_stop("the end of async with" if exc is None else f"async with left by {repr_of(exc)}")
        if exc is None or isinstance(exc, anyio.get_cancelled_exc_class()):
            await self._end(life)
            return
        await self._wait_to_end(life)
        failure = life.failure()
        if failure is not None and not self._is_own(exc, failure):
            for error in failure.exceptions:
                notes = "; ".join(getattr(error, "__notes__", ()))
                add_note(exc, f"besides, the host failed: {repr_of(error)} ({notes})")

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:  # noqa: ARG002  # the frameworks give it
        """Return the host as the ``lifespan=`` of FastAPI, Starlette or Litestar; *app* is not used."""
        return self._lifespan()

    def status(self) -> "HostStatus":
        """Return what the host and its services are doing; from any thread, cheap enough for several times a second."""
        from hostkit._core.snapshot import host_status

        registrations = (registration for step in self._steps for registration in step)
        return host_status(self.options, self.lifetime, self._life, registrations)

    async def check(self, timeout: Duration = 5) -> Mapping[str, Exception | None]:  # noqa: ASYNC109  # for each service, not for the call
        """Ask every service's `HostedService.check`, side by side.

        Args:
            timeout: How long each may take, in seconds or as a `timedelta`; one that takes longer has a `TimeoutError`.

        Returns:
            For each service, in start order, the error that it raised, or None.

        Raises:
            TypeError: *timeout* is no duration.
            ValueError: *timeout* is negative or NaN.
        """
        from hostkit._core.checks import ask_all

        return await ask_all(self.services, to_seconds(timeout, "timeout"))

    def start_in_thread(self) -> "HostThread":
        """Start the host in an event loop of its own on a daemon thread, and return when every service is ready.

        For synchronous apps (WSGI) and scripts. Use the result as a context manager, or call its ``stop()``.

        Raises:
            HostFailedError: A service failed, or was not ready in time; everything has been stopped again.
            HostStateError: The host has started and not ended yet.
        """
        from hostkit._process.host_thread import HostThread

        return HostThread(self)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with self:
            yield
            self.lifetime.request_stop("the app's lifespan has ended")

    # For the owner of the process.

    def _run_once(self) -> None:
        if self._was_run:
            message = "the host was run already: run() is once; start() may be called again"
            raise HostStateError(message)
        self._was_run = True

    def _begin(self) -> "Life":
        """Begin a life in the running event loop."""
        from hostkit._core.lifecycle import Life

        state = self.lifetime.state
        if state not in (HostState.CREATED, HostState.STOPPED):
            message = f"the host is {state}: it can be started when it is new or has stopped"
            if os.getpid() != self._process_of_life:
                message = "the process was forked after the host was started; make the host in the child"
            raise HostStateError(message)
        if self._life is not None:
            left = [repr(supervisor.name) for supervisor in self._life.supervisors() if supervisor.alive]
            if left:
                message = f"services abandoned in the host's last life still run: {', '.join(left)}"
                raise HostStateError(message)
        log_listener = EventLog(self._options)
        context = copy_context()
        detailed = log_listener.detailed or bool(self._listeners)
        listeners: list[Listener] = [log_listener, *self._listeners]
        life = Life(self._steps, self._options, self.lifetime, listeners, context, detailed=detailed)
        self._life = life
        self._process_of_life = os.getpid()
        self.lifetime._begin_life(life)  # the host's side of the lifetime
        life.root.spawn(life.live, context, life.lose)
        return life

    async def _wait_to_end(self, life: "Life") -> None:
        """Wait for the end; cancellations, native ones too, come out only then."""
        cancellation: BaseException | None = None
        while not life.ended.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await life.ended.wait()
            except anyio.get_cancelled_exc_class() as error:
                cancellation = error
                self.lifetime.request_stop("the task that waits for the host was cancelled")
        if cancellation is not None:
            raise cancellation

    async def _end(self, life: "Life") -> None:
        try:
            await self._wait_to_end(life)
            await anyio.lowlevel.checkpoint_if_cancelled()
        finally:
            # A failure of the host wins over a cancellation of the caller.
            self._raise_outcome()

    def _outcome(self) -> BaseException | None:
        return None if self._life is None else self._life.failures.outcome()

    def _raise_outcome(self) -> None:
        outcome = self._outcome()
        if outcome is not None:
            raise outcome

    def _refuse_own_service(self, method: str) -> None:
        from hostkit._core.blocks import running_supervisor

        supervisor = running_supervisor(sys._getframe())  # the documented way to one's own stack
        if supervisor is not None and supervisor.life is self._life:
            message = (
                f"service {supervisor.name!r} awaits {method} of its own host, which waits for that service; "
                "call lifetime.request_stop() instead"
            )
            raise HostStateError(message)

    @staticmethod
    def _is_own(exc: BaseException, failure: HostFailedError) -> bool:
        return isinstance(exc, HostFailedError) and set(map(id, exc.exceptions)) <= set(map(id, failure.exceptions))
