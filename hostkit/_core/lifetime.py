"""The host's instants, for whoever wants to know, and the one door to ask for a stop."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import anyio

from hostkit._config.logging import log_error
from hostkit._execution.event_loop import RootTask
from hostkit._values.errors import HostFailedError, HostStateError
from hostkit._values.functions import require_sync
from hostkit._values.states import HostState

if TYPE_CHECKING:
    from hostkit._core.host_status import HostStatus

LARGEST_EXIT_CODE = 255


class Lived(Protocol):
    """What a lifetime needs of the life of the host that it stands for."""

    root: RootTask

    def begin_stop(self, reason: str, at: float | None = None) -> None:
        """Stop the host."""

    def failure(self) -> HostFailedError | None:
        """Return what went wrong."""

    def exit_code(self, asked: int | None) -> int:
        """Return the exit code as it is now."""

    def on_hook_error(self, error: BaseException, hook: str) -> None:
        """Take note of what a callback of the user's has raised, which is logged already."""


class HostLifetime:
    """Where a host is in its life: for services that watch it or stop it.

    `request_stop`, `status`, and the attributes may be used from any thread; ``wait_…`` and ``on_…`` belong to the
    host's event loop.
    """

    def __init__(self) -> None:
        """Make the lifetime of a host that has not been started."""
        self._life: Lived | None = None
        self._state = HostState.CREATED
        self._requests: list[tuple[str, float | None]] = []
        self._codes: list[int] = []
        self._callbacks: dict[HostState, list[Callable[[], None]]] = {}
        self._passed: dict[HostState, anyio.Event] = {}
        self._status: Callable[[], HostStatus] | None = None
        self._on_request: Callable[[], None] | None = None  # for the owner of the process, in the caller's own frame
        self._renew()

    @property
    def state(self) -> HostState:
        """Where the host is."""
        return self._state

    @property
    def failure(self) -> HostFailedError | None:
        """What the host's `wait` and `stop` would raise now; a new group at each reading."""
        return None if self._life is None else self._life.failure()

    @property
    def stop_reason(self) -> str | None:
        """The first cause of the stop, in words; there at once when it was asked for."""
        return self._requests[0][0] if self._requests else None

    @property
    def exit_code(self) -> int:
        """The process's exit code, were it to end now.

        0: nothing failed and nothing was forced. 1: something failed or had to be cancelled. 3: something was
        abandoned. Otherwise the code that was asked for.
        """
        asked = self._codes[0] if self._codes else None
        return (asked or 0) if self._life is None else self._life.exit_code(asked)

    def request_stop(self, reason: str = "stop requested", *, exit_code: int | None = None) -> None:
        """Ask the host to stop, and return at once.

        From any thread, from a signal handler, any number of times: the first reason and the first exit code win. It
        never blocks. What follows, follows in the event loop, not in this call. Before the start it is remembered, and
        the host will start nothing; after the end it does nothing, not even for the next life.

        Args:
            reason: Why, in words, for the log and the status.
            exit_code: The process's exit code if nothing fails, 0 to 255.

        Raises:
            ValueError: *exit_code* is no whole number from 0 to 255.
        """
        if exit_code is not None and (type(exit_code) is not int or not 0 <= exit_code <= LARGEST_EXIT_CODE):
            message = f"exit_code must be a whole number from 0 to {LARGEST_EXIT_CODE}, got {exit_code!r}"
            raise ValueError(message)
        if self._state is HostState.STOPPED:
            return
        life = self._life
        if exit_code is not None:
            self._codes.append(exit_code)
        if not self._requests:
            self._requests.append((reason, None if life is None else life.root.time()))
            if self._on_request is not None:
                self._on_request()
        if life is not None:
            life.root.post(self._pass_on)

    async def wait_started(self) -> None:
        """Wait until every service is ready.

        Raises:
            HostStateError: The host has ended without.
        """
        started, stopped = self._passed[HostState.STARTED], self._passed[HostState.STOPPED]
        await started.wait()
        if stopped.is_set() and not self._has_started:
            message = "the host has ended without having started"
            raise HostStateError(message)

    async def wait_stopping(self) -> None:
        """Wait until the stop has begun."""
        await self._passed[HostState.STOPPING].wait()

    async def wait_stopped(self) -> None:
        """Wait until the host has ended; see `Host.wait` for one that raises its failure."""
        await self._passed[HostState.STOPPED].wait()

    def on_started(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when every service is ready, in this life and every further one.

        It must be short and synchronous. An error in it is logged and keeps no other callback from running; a
        ``SystemExit`` or ``KeyboardInterrupt`` also stops the host, and comes out of it as from a service. If the
        instant has passed already, it is called at once.

        Raises:
            TypeError: *callback* cannot be called, or is an async function.
        """
        self._on(HostState.STARTED, callback, "on_started()")

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when the stop begins, before the first service is told; see `on_started`."""
        self._on(HostState.STOPPING, callback, "on_stopping()")

    def on_stopped(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when the host has ended; see `on_started`."""
        self._on(HostState.STOPPED, callback, "on_stopped()")

    def status(self) -> "HostStatus":
        """Return what the host and its services are doing; cheap enough for several times a second.

        Raises:
            HostStateError: The host has not been built yet.
        """
        if self._status is None:
            message = "no status: the host has not been built yet"
            raise HostStateError(message)
        return self._status()

    # The host's side.

    def _begin_life(self, life: Lived) -> None:
        """Begin a life; what was asked for before the first one holds for it."""
        if self._state is HostState.STOPPED:
            self._requests, self._codes = [], []
            self._renew()
        self._life = life
        self._enter(HostState.STARTING)

    def _enter(self, state: HostState) -> None:
        self._state = state
        if state is HostState.STARTED:
            self._has_started = True
        if state is HostState.STOPPED:
            self._passed[HostState.STARTED].set()
        if state in self._passed:
            self._passed[state].set()
            for callback in self._callbacks.get(state, ()):
                self._call(callback)

    def _note_reason(self, reason: str) -> str:
        if not self._requests:
            self._requests.append((reason, None))
        return self._requests[0][0]

    def _pass_on(self) -> None:
        """Hand a request that was recorded to the life, in its loop."""
        if self._life is not None and self._requests:
            self._life.begin_stop(*self._requests[0])

    def _renew(self) -> None:
        self._passed = {state: anyio.Event() for state in (HostState.STARTED, HostState.STOPPING, HostState.STOPPED)}
        self._has_started = False

    def _on(self, state: HostState, callback: Callable[[], None], taker: str) -> None:
        require_sync(callback, taker)
        self._callbacks.setdefault(state, []).append(callback)
        passed = self._has_started if state is HostState.STARTED else self._passed[state].is_set()
        if passed:
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except BaseException as error:  # noqa: BLE001  # the user's callback: logged, and no other is kept from running
            log_error("lifetime callback {} failed: {}", callback, error, error=error)
            if self._life is not None:
                self._life.on_hook_error(error, "a lifetime callback")
