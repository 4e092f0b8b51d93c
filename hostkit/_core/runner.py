"""Runs a host: begins its lifecycles, one after the other, and waits for their ends."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from hostkit._config.event_log import WAIT_CANCELLED
from hostkit._config.options import HostOptions
from hostkit._core.lifetime import LifetimeController
from hostkit._core.registration import Registration
from hostkit._values.errors import HostStateError
from hostkit._values.states import HostState, ServiceState

# Imported where it is used: importing hostkit shall cost little more than importing anyio.
if TYPE_CHECKING:
    from hostkit._core.lifecycle import Lifecycle, LoopWatch
    from hostkit._core.service import HostedService
    from hostkit._core.status import HostStatus, ServiceStatus
    from hostkit._core.supervisor import Supervisor


class HostRunner:
    """The other side of a `Host`, for the host itself and for what owns the process or the thread.

    Attributes:
        steps: The services, step by step in start order.
        registrations: The same by name.
        services: The objects of the user's by name, read-only.
        lifetime: Its lifetime.
        lifecycle: The current or last lifecycle; None before the first start.
    """

    def __init__(self, steps: Sequence[Sequence[Registration]], lifetime: LifetimeController) -> None:
        """Take what the builder has collected."""
        self._take(steps)
        self.lifetime = lifetime
        self.lifecycle: Lifecycle | None = None
        self._was_run = False
        self._beginning = Lock()

    @property
    def options(self) -> HostOptions:
        """The options of the host."""
        return self.lifetime.options

    def put_first(self, service: "HostedService", name: str) -> None:
        """Put a service that only looks on in front of all others, before the host has been started.

        It starts first and stops last, and does not keep a host that has nothing else to do. When *name* is taken, it
        gets another.
        """
        taken = self.registrations
        names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 2)))
        registration = Registration(service, next(name for name in names if name not in taken))
        registration.auxiliary = True
        self._take([[registration], *self.steps])

    def _take(self, steps: Sequence[Sequence[Registration]]) -> None:
        self.steps = steps
        self.registrations = {each.name: each for step in steps for each in step}
        self.services: Mapping[str, HostedService] = MappingProxyType(
            {name: each.service for name, each in self.registrations.items()}
        )
        for number, step in enumerate(steps):
            for registration in step:
                registration.step = number

    def run_once(self) -> None:
        """Count a call of ``run()``.

        Raises:
            HostStateError: It is not the first.
        """
        if self._was_run:
            message = "the host was run already: run() is once; start() may be called again"
            raise HostStateError(message)
        self._was_run = True

    def begin(
        self,
        *,
        owns_process: bool = False,
        loop_watch: "LoopWatch | None" = None,
        on_fatal_end: Callable[[], None] | None = None,
    ) -> "Lifecycle":
        """Begin a lifecycle in the running event loop.

        Args:
            owns_process: Whether the host owns the process, and is not embedded in another app.
            loop_watch: Watches the event loop, where that is wanted.
            on_fatal_end: Called at the end of an embedded host that a failure has stopped after it had started.

        Raises:
            HostStateError: The host has started and not ended yet, or a service abandoned in its last lifecycle still
                runs.
        """
        # Loaded now, with all that the status and the stop need: in trouble there may be no descriptor left for it.
        from hostkit._core import snapshot  # noqa: F401
        from hostkit._core.lifecycle import Lifecycle

        # Checked and begun in one step: two threads, each with a loop of its own, may come here at once.
        with self._beginning:
            self._refuse_abandoned()
            self.lifecycle = lifecycle = Lifecycle(
                self.steps, self.lifetime, owns_process=owns_process, loop_watch=loop_watch
            )
        lifecycle.on_fatal_end = on_fatal_end
        lifecycle.loop.spawn(lifecycle.run, copy_context(), lifecycle.on_loop_closed)
        return lifecycle

    async def wait_to_end(self, lifecycle: "Lifecycle") -> None:
        """Wait for the end; cancellations, native ones too, come out only then."""
        cancellation: BaseException | None = None
        while not lifecycle.ended.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await lifecycle.ended.wait()
            except anyio.get_cancelled_exc_class() as error:
                cancellation = error
                self.lifetime.request_stop(WAIT_CANCELLED)
        if cancellation is not None:
            raise cancellation

    async def end(self, lifecycle: "Lifecycle") -> None:
        """Wait for the end, and raise what the host has failed with; see `Host.stop`."""
        try:
            await self.wait_to_end(lifecycle)
            await anyio.lowlevel.checkpoint_if_cancelled()
        finally:
            # A failure of the host wins over a cancellation of the caller.
            self.raise_outcome()

    def raise_outcome(self) -> None:
        """Raise what the end of the host raises, if there is something."""
        outcome = self.lifetime.failures.outcome()
        if outcome is not None:
            raise outcome

    def supervisor(self, name: str) -> "Supervisor":
        """Return the supervisor of the service *name* in the current lifecycle.

        Raises:
            ValueError: There is no service of that name.
            HostStateError: The host is not started.
        """
        self._registration(name)
        if self.lifecycle is None or self.lifetime.state is not HostState.STARTED:
            message = f"the host is {self.lifetime.state}: a service can be restarted while the host is started"
            raise HostStateError(message)
        return self.lifecycle.supervisors[name]

    def refuse_own_service(self, method: str, only: "Supervisor | None" = None) -> None:
        """Refuse a call that one of the host's own services awaits, or *only* that one: it would wait for itself.

        Raises:
            HostStateError: It does.
        """
        from hostkit._core.service_run import running_service

        run = running_service(sys._getframe())  # noqa: SLF001  # the documented way to one's own stack
        if run is None or self.lifecycle is None or run.supervisor.group is not self.lifecycle.group:
            return
        if only is None:
            why = "its own host, which waits for that service; call lifetime.request_stop() instead"
        elif run.supervisor is only:
            why = "itself, which waits for its end; return instead"
        else:
            return
        message = f"service {run.supervisor.name!r} awaits {method} of {why}"
        raise HostStateError(message)

    def status(self, *, services: bool = True, lines: bool = True) -> "HostStatus":
        """Return what the host and its services are doing."""
        from hostkit._core.snapshot import host_status

        wanted = self.registrations.values() if services else ()
        return host_status(wanted, self.lifetime, self.lifecycle, lines=lines)

    def service_status(self, name: str, *, lines: bool) -> "ServiceStatus":
        """Return what a service is doing; see `Host.service_status`."""
        from hostkit._core.snapshot import Look

        return Look(self.lifecycle, lines=lines).at(self._registration(name))

    def _registration(self, name: str) -> Registration:
        if name not in self.registrations:
            names = ", ".join(map(repr, self.registrations))
            message = f"there is no service named {name!r}; there are: {names}"
            raise ValueError(message)
        return self.registrations[name]

    def _refuse_abandoned(self) -> None:
        if self.lifecycle is None:
            return
        # A thread that has ended may be there a moment longer: only what was abandoned counts.
        left = [
            repr(each.name)
            for each in self.lifecycle.supervisors.values()
            if each.state is ServiceState.ABANDONED and each.run.alive
        ]
        if left:
            message = f"services abandoned in the host's last lifecycle still run: {', '.join(left)}"
            raise HostStateError(message)
