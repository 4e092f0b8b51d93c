"""The host: starts its services, keeps them running, and stops them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from hostkit._config.logging import bounded_log
from hostkit._core.runner import HostRunner
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.errors import HostFailedError, HostStateError
from hostkit._values.functions import require_sync
from hostkit._values.text import add_note, notes_of, repr_of

# The rest is imported where it is used: importing hostkit shall cost little more than importing anyio.
if TYPE_CHECKING:
    from hostkit._config.options import HostOptions
    from hostkit._core.lifetime import HostLifetime, Listener
    from hostkit._core.registration import ServiceRegistration
    from hostkit._core.service import HostedService
    from hostkit._core.status import HostStatus, ServiceStatus
    from hostkit._process.host_thread import HostThread


class Host:
    """Services that are started in order, kept running, and stopped in reverse; made by `HostBuilder.build`.

    Either the host owns the process (`run`, `run_async`) and takes its signals, its logging and its exit code; or it is
    embedded (``async with``, `start` and `stop`, `lifespan`, `start_in_thread`) and touches none of them.

    Attributes:
        lifetime: The host's instants, and the way to ask for a stop.
    """

    def __init__(self, runner: HostRunner) -> None:
        """Take what the builder has made."""
        self.lifetime: HostLifetime = runner.lifetime
        self._runner = runner
        runner.lifetime.show(runner.status)

    @property
    def services(self) -> Mapping[str, "HostedService"]:
        """Every service by its name, in start order; read-only."""
        return self._runner.services

    @property
    def registrations(self) -> Mapping[str, "ServiceRegistration"]:
        """How each service was registered, by its name, in start order; read-only."""
        return MappingProxyType({name: each.facts() for name, each in self._runner.registrations.items()})

    @property
    def options(self) -> "HostOptions":
        """The options that the host runs with."""
        return self._runner.lifetime.options

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
            LoadError: It is called in a module that the command line loads as its target.
        """
        from hostkit._process import owner

        owner.run(self._runner, configure_logging=configure_logging)

    async def run_async(self, *, configure_logging: bool = True) -> int:
        """Do what `run` does inside a running event loop, and return the exit code: ``raise SystemExit(await …)``.

        It raises nothing of its own; failures are logged and in ``lifetime.failure``. Signals are taken in the main
        thread only.

        Raises:
            HostStateError: It was run before, or another host owns the process.
            LoadError: As for `run`.
        """
        from hostkit._process import owner

        return await owner.run_async(self._runner, configure_logging=configure_logging)

    async def start(self) -> None:
        """Start the services, one after the other, and return when every one is ready.

        When a stop is asked for before that, what had started is stopped and ``lifetime.state`` is `STOPPED`; nothing
        is raised. When the caller is cancelled, the same, and then the cancellation comes out. A host that has stopped
        may be started again, in another event loop too.

        Raises:
            HostFailedError: A service failed, or was not ready in time; everything has been stopped again.
            HostStateError: The host has started and not ended yet, or a service abandoned in its last one still runs.
        """
        loop_watch = on_fatal_end = None
        if self.options.lag_warning is not None:
            from hostkit._process.watchdog import Watchdog

            loop_watch = Watchdog(bounded_log(self.options), lag_warning=self.options.lag_warning)
        if self.options.terminate_on_failure:
            from hostkit._process.terminate import terminate_process

            on_fatal_end = partial(terminate_process, self._runner.lifetime)
        runner = self._runner
        lifecycle = runner.begin(loop_watch=loop_watch, on_fatal_end=on_fatal_end)
        try:
            await lifecycle.settled.wait()
        except anyio.get_cancelled_exc_class():
            self.lifetime.request_stop("start() was cancelled")
            await runner.end(lifecycle)
            raise
        if not lifecycle.started:  # it has ended
            runner.raise_outcome()

    async def stop(self, reason: str = "stop() was called") -> None:
        """Stop the services in reverse order, and return when the host has ended; any number of times.

        A cancellation of the caller does not shorten it; it comes out when the host has ended, unless the host has
        failed. A host that was never started ends nothing and raises nothing.

        Raises:
            HostFailedError: The host has failed, in its start, its run or its stop.
            HostStateError: A service of this host awaits it; the stop is requested all the same, but only
                ``lifetime.request_stop()`` does not wait for the one that calls it. Or the host runs in another event
                loop: see `HostThread.call`.
        """
        self._refuse_other_loop("stop()")
        self.lifetime.request_stop(reason)
        lifecycle = self._runner.lifecycle
        if lifecycle is not None:
            self._runner.refuse_own_service("stop()")
            await self._runner.end(lifecycle)

    async def wait(self) -> None:
        """Wait until the host has ended. Cancelling the wait changes nothing for the host.

        Raises:
            HostFailedError: The host has failed.
            HostStateError: The host was never started, a service of this host awaits it, or the host runs in another
                event loop.
        """
        lifecycle = self._runner.lifecycle
        if lifecycle is None:
            message = "wait() before start(): the host has not been started"
            raise HostStateError(message)
        self._refuse_other_loop("wait()")
        self._runner.refuse_own_service("wait()")
        await lifecycle.ended.wait()
        self._runner.raise_outcome()

    async def __aenter__(self) -> Self:
        """Start; see `start`."""
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; see `stop`. An error of the body comes out as itself, with the host's failures as notes."""
        lifecycle = self._runner.lifecycle
        assert lifecycle is not None
        self.lifetime.request_stop("the end of async with" if exc is None else f"async with left by {repr_of(exc)}")
        if exc is None or isinstance(exc, anyio.get_cancelled_exc_class()):
            await self._runner.end(lifecycle)
            return
        await self._runner.wait_to_end(lifecycle)
        failure = self.lifetime.failure
        if failure is not None and not self._is_own(exc, failure):
            for error in failure.exceptions:
                notes = "; ".join(notes_of(error))
                add_note(exc, f"besides, the host failed: {repr_of(error)} ({notes})")

    async def restart(self, name: str) -> None:
        """Restart one service, and return when it is ready again; the others go on.

        It is asked to stop by its token; its ``stop()`` and a new run follow. One that has ended or failed is run
        again, and one that waits for its restart is run at once. That is no failure, and counts for no `Restart`.

        Stopping:
            The service has its ``stop_timeout``, or the host's ``shutdown_timeout``, to end, then it is cancelled; one
            that ignores that for the ``cancellation_timeout`` is abandoned, which is a failure of the host.

        Raises:
            ValueError: There is no service of that name.
            HostStateError: The host is not started, or began to stop meanwhile, or runs in another event loop; or the
                service awaits this itself, or has ended again before it was ready.
        """
        supervisor = self._runner.supervisor(name)
        self._refuse_other_loop("restart()")
        self._runner.refuse_own_service("restart()", supervisor)
        assert self._runner.lifecycle is not None
        await self._runner.lifecycle.restart(supervisor)

    def on_event(self, listener: "Listener") -> Callable[[], None]:
        """Have *listener* called with every event from now on; see `HostBuilder.on_event`. Before and during a run.

        Returns:
            A function that takes the registration back; calling it twice is fine.

        Raises:
            TypeError: *listener* cannot be called, or is an async function.
        """
        require_sync(listener, "on_event()")
        return self._runner.lifetime.add_listener(listener)

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:  # noqa: ARG002  # the frameworks give it
        """Return the host as the ``lifespan=`` of FastAPI, Starlette or Litestar; *app* is not used."""
        return self._lifespan()

    def status(self, *, services: bool = True, lines: bool = True) -> "HostStatus":
        """Return what the host and its services are doing; from any thread, cheap enough for several times a second.

        Args:
            services: Whether to look at each service, which takes most of the time.
            lines: Whether to look for the line of code where each service is, which takes a part of that.
        """
        return self._runner.status(services=services, lines=lines)

    def service_status(self, name: str, *, lines: bool = True) -> "ServiceStatus":
        """Return what the service *name* is doing, as in `status`; from any thread.

        A host of thousands of services can be read in parts with it, between which its event loop turns.

        Raises:
            ValueError: There is no service of that name.
        """
        return self._runner.service_status(name, lines=lines)

    async def check(self, timeout: Duration = 5) -> Mapping[str, Exception | None]:  # noqa: ASYNC109  # for each service, not for the call
        """Ask every service's `HostedService.check`, side by side.

        A service that is not running as it should (not started or not ready yet, failed, its failure ignored or not, to
        be restarted, stalled, abandoned) is not asked: it has a `HostStateError` that says so. One that has returned,
        which was fine, is well. A check that is cancelled by other code, or raises no `Exception`, such as a
        ``SystemExit``, has a `HostStateError` as well.

        Args:
            timeout: How long each may take, in seconds or as a `timedelta`; one that takes longer has a `TimeoutError`.

        Returns:
            For each service, in start order, what is wrong with it, or None.

        Raises:
            HostStateError: The host runs in another event loop.
            TypeError: *timeout* is no duration.
            ValueError: *timeout* is negative or NaN.
        """
        from hostkit._core.snapshot import check_all

        self._refuse_other_loop("check()")
        return await check_all(self._runner.registrations, self._runner.lifecycle, to_seconds(timeout, "timeout"))

    def start_in_thread(self) -> "HostThread":
        """Start the host in an event loop of its own on a daemon thread, and return when every service is ready.

        For synchronous apps (WSGI) and scripts. Use the result as a context manager, or call its ``stop()``.

        Raises:
            HostFailedError: A service failed, or was not ready in time; everything has been stopped again.
            HostStateError: The host has started and not ended yet.
        """
        from hostkit._process.host_thread import HostThread

        return HostThread(self._runner, self.start)

    def _refuse_other_loop(self, method: str) -> None:
        """Refuse a call in another event loop than the one in which the host runs: it would wait in vain."""
        lifecycle = self._runner.lifecycle
        if lifecycle is None or lifecycle.ended.is_set() or lifecycle.token == anyio.lowlevel.current_token():
            return
        message = f"{method} in another event loop than the host's; for a host on a thread, use HostThread.call()"
        raise HostStateError(message)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with self:
            yield
            self.lifetime.request_stop("the app's lifespan has ended")

    @staticmethod
    def _is_own(exc: BaseException, failure: HostFailedError) -> bool:
        return isinstance(exc, HostFailedError) and set(map(id, exc.exceptions)) <= set(map(id, failure.exceptions))


def runner_of(host: Host) -> HostRunner:
    """Return the other side of *host*, for what runs it in the place of its user."""
    return host._runner  # noqa: SLF001  # the two are one
