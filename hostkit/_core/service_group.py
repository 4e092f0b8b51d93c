"""The tasks of one lifecycle: the group in which the services run, and the wait of the task that drives them."""

import math
from collections.abc import Callable, Coroutine

import anyio

from hostkit._config.service_context import ServiceContexts
from hostkit._execution.event_loop import EventLoop


class ServiceGroup:
    """A task group in which services run.

    A service that leaves a cancel scope or a task group open breaks it: anyio cancels every task in it then.
    """

    def __init__(
        self,
        loop: EventLoop,
        contexts: ServiceContexts,
        on_break: Callable[[Exception], None],
    ) -> None:
        """Prepare to run services in *contexts* of their own; *on_break* is called once, when a break is noticed."""
        self.loop = loop
        self.time = loop.time
        self._contexts = contexts
        self._on_break = on_break
        self.tasks: anyio.abc.TaskGroup | None = None
        """The group, while it is open."""
        self._reported = False
        self._last_ended = ""

    @property
    def cancelled(self) -> bool:
        """Whether every task in it is being cancelled."""
        return self.tasks is not None and self.tasks.cancel_scope.cancel_called

    def spawn(self, coroutine: Coroutine[object, object, None], service: str) -> "anyio.TaskHandle[None]":
        """Run *coroutine* as a part of *service*, in a context of its own."""
        assert self.tasks is not None
        return self.tasks.create_task(coroutine, name=service, context=self._contexts.of(service))

    def on_run_ended(self, service: str) -> None:
        """Remember that a run of *service* has ended last, and may be the one that breaks the group."""
        if not self.cancelled:
            self._last_ended = service

    def report_broken_group(self) -> bool:
        """Report a break that was not reported yet; return whether there was one."""
        if self._reported or not self.cancelled:
            return False
        self._reported = True
        message = (
            "a service has left a cancel scope or a task group open, which cancels all services; "
            f"the last that ended was {self._last_ended!r}"
        )
        self._on_break(RuntimeError(message))
        return True


class Wakeup:
    """What the task that drives a lifecycle waits with: until it is woken, or until a deadline."""

    def __init__(self, time: Callable[[], float], on_loop_end: Callable[[], None]) -> None:
        """Prepare; *on_loop_end* is called when a wait is cancelled, which only the end of the loop can do."""
        self.time = time
        self.event = anyio.Event()
        """Set it to end the current wait, or the next one at once."""
        self._on_loop_end = on_loop_end

    async def wait(self, deadline: float = math.inf) -> None:
        """Wait for the event, at most until *deadline*; asyncio's end of the loop does not shorten it."""
        try:
            with anyio.move_on_at(deadline):
                await self.event.wait()
        except anyio.get_cancelled_exc_class():
            self._on_loop_end()
        if self.event.is_set():
            self.event = anyio.Event()

    async def pause(self) -> None:
        """Let the loop turn once."""
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self._on_loop_end()
