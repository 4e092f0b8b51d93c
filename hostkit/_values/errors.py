"""What hostkit raises of its own."""

from collections.abc import Sequence
from copyreg import __newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Self


class HostkitError(Exception):
    """Base of every error that hostkit raises of its own."""

    def __reduce__(self) -> tuple[object, ...]:
        """Be copied and pickled with message and facts: made anew, it would take the message for the facts."""
        return __newobj__, (type(self), *self.args), self.__dict__


class HostStateError(HostkitError):
    """Raised when something is asked of a host, builder or lifetime that its state does not allow."""


class StartupTimeoutError(HostkitError):
    """Raised when the services were not all ready in time.

    Attributes:
        services: Names of those that were still starting.
        timeout: The option ``startup_timeout``, in seconds.
    """

    def __init__(self, services: Sequence[str], timeout: float) -> None:
        """Say which services were late."""
        names = ", ".join(map(repr, services))
        super().__init__(
            f"not ready within {timeout:g} s: {names}; "
            f"if it needs longer, raise startup_timeout (HOSTKIT_STARTUP_TIMEOUT)"
        )
        self.services = tuple(services)
        self.timeout = timeout


class StopTimeoutError(HostkitError):
    """Raised when a service did not end in time at the stop and had to be cancelled.

    Attributes:
        service: Name of the service.
        waiting_at: The line where it was when it was cancelled, if known.
    """

    def __init__(self, service: str, waiting_at: str | None) -> None:
        """Say where the service was."""
        super().__init__(f"service {service!r} did not stop in time and was cancelled{_at(waiting_at)}")
        self.service = service
        self.waiting_at = waiting_at


class ServiceStuckError(HostkitError):
    """Raised when a service did not even end after its cancellation and was abandoned.

    Its task or thread is still there; only the end of the process can end it.

    Attributes:
        service: Name of the service.
        waiting_at: The line where it is, if known.
    """

    def __init__(self, service: str, waiting_at: str | None) -> None:
        """Say where the service is."""
        super().__init__(f"service {service!r} ignores its cancellation and was abandoned{_at(waiting_at)}")
        self.service = service
        self.waiting_at = waiting_at


class RestartLimitError(HostkitError):
    """Raised when a service has ended more often in a row than its `Restart` allows.

    The last failure is the ``__cause__``; there is none if the service returned.

    Attributes:
        service: Name of the service that was given up.
        failures: How often in a row it ended, the last time included.
    """

    def __init__(self, service: str, failures: int) -> None:
        """Say how often the service ended."""
        super().__init__(f"service {service!r} ended {failures} times in a row; giving up")
        self.service = service
        self.failures = failures


class ServiceCancelledError(HostkitError):
    """Raised when a service was ended by a cancellation that the host did not cause.

    For example: it awaited a future or a task that was cancelled by other code.

    Attributes:
        service: Name of the service.
    """

    def __init__(self, service: str) -> None:
        """Name the service."""
        super().__init__(f"service {service!r} was ended by a cancellation that did not come from the host")
        self.service = service


class LoadError(HostkitError):
    """Raised when a command-line target cannot be loaded or is no host."""


class HostFailedError(HostkitError, ExceptionGroup[Exception]):
    """Raised when a host has failed: the failures of its services, the first cause first.

    Each member is what the service raised, with a note that names the service. Catch it with ``except``;
    ``except*`` takes its members, not itself.
    """

    def derive(self, excs: Sequence[Exception]) -> Self:  # type: ignore[override]  # typeshed widens to any exception
        """Return a group of the same kind over *excs*; ``split`` and ``except*`` use it."""
        return type(self)(self.message, excs)


def _at(waiting_at: str | None) -> str:
    return f", at {waiting_at}" if waiting_at else ""
