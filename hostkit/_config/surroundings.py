"""What the supervision of one service needs of the life of its host."""

from typing import TYPE_CHECKING, Protocol

from hostkit._core.service_group import ServiceGroup
from hostkit._execution.event_loop import RootTask
from hostkit.events import HostEvent

if TYPE_CHECKING:
    from hostkit._core.supervisor import Supervisor


class Surroundings(Protocol):
    """The life of a host, as its services' supervisors see it."""

    root: RootTask
    group: ServiceGroup
    stopping: bool
    detailed: bool
    """Whether somebody listens to the events of services that go well."""

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether a cancellation is the end of the loop or of the group, and no failure of a service."""

    def tell(self, event: HostEvent) -> None:
        """Hand *event* to the listeners."""

    def fail(self, error: Exception, service: str) -> None:
        """Keep a failure, which stops the host."""

    def ask_exit(self, error: BaseException, who: str) -> None:
        """Take a ``SystemExit`` or ``KeyboardInterrupt`` that somebody has raised as a request to stop."""

    def on_hook_error(self, error: BaseException, hook: str) -> None:
        """Take note of what a callback of the user's has raised, which is logged already."""

    def log(
        self, level: str, message: str, *args: object, service: str | None = None, error: BaseException | None = None
    ) -> None:
        """Write a log line, if its level is not below the options'."""

    def begin_stop(self, reason: str) -> None:
        """Stop the host."""

    def on_ready(self, supervisor: "Supervisor") -> None:
        """Take note that a service is ready."""

    def on_restarting(self, supervisor: "Supervisor") -> None:
        """Take note that a service waits to be run again."""

    def on_rest(self) -> None:
        """Take note that the loop of one more service has ended for good."""

    def on_ended(self, supervisor: "Supervisor") -> None:
        """Take note that a service has ended for good, or was abandoned."""
