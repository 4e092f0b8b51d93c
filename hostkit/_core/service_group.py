"""The task group of the services, and what becomes of them when one of them breaks it."""

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate

import anyio

from hostkit._config.logging import LogContexts


class ServiceGroup:
    """A task group in which services run.

    A service that leaves a cancel scope or a task group open breaks it: anyio cancels every task in it then.
    """

    def __init__(self, context: Context, on_break: Callable[[Exception], None]) -> None:
        """Prepare to run services in copies of *context*; *on_break* is called once, when a break is noticed."""
        self._contexts = LogContexts(context)
        self._on_break = on_break
        self._tasks: anyio.abc.TaskGroup | None = None
        self._told = False
        self._guard: Coroutine[object, object, None] | None = None
        self._last_ended = ""

    @property
    def cancelled(self) -> bool:
        """Whether every task in it is being cancelled."""
        return self._tasks is not None and self._tasks.cancel_scope.cancel_called

    async def hold(self, body: Callable[[], Awaitable[None]]) -> None:
        """Run *body* while the group is open, then wait for what is left in it; no cancel scope cuts that short."""
        # Trio cancels what is left when its main task ends, and that shall be an ordered stop.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as self._tasks:
                guard = self._tasks.create_task(self._watch(), name="hostkit: group")
                self._guard = guard.coro
                # When the group breaks, that shall be an ordered stop as well.
                with anyio.CancelScope(shield=True):
                    await body()
                guard.cancel()

    def spawn(self, coroutine: Coroutine[object, object, None], name: str) -> "anyio.TaskHandle[None]":
        """Run *coroutine* in a copy of the context that names the service to the log."""
        assert self._tasks is not None
        return self._tasks.create_task(coroutine, name=name, context=self._contexts.of(name))

    def on_run_ended(self, service: str) -> None:
        """Take note that a run of *service* has ended, and may be the one that breaks the group."""
        if not self.cancelled:
            self._last_ended = service

    def notice(self) -> bool:
        """Tell of a break that nobody has told of yet; return whether there was one."""
        if self._told or not self.cancelled:
            return False
        self._told = True
        message = (
            "a service has left a cancel scope or a task group open, which cancels all services; "
            f"the last that ended was {self._last_ended!r}"
        )
        self._on_break(RuntimeError(message))
        return True

    def drop_unbegun(self) -> None:
        """Give up what was cancelled before its first step, as asyncio does when its loop ends."""
        if self._guard is not None and getcoroutinestate(self._guard) == CORO_CREATED:
            self._guard.close()

    async def _watch(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.notice()
