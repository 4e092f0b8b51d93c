"""What a host lets its services know: read from a context variable by the services that come with hostkit.

So a scheduler or a queue makes no line below the host's ``log_level``, knows its own name, and hands its events to the
host's listeners, while the host knows nothing of runs and jobs.
"""

import math
import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context

from hostkit._config.logging import LEVELS, log
from hostkit.events import HostEvent


class ServiceContext:
    """What one service may know of its host; set in the context in which the service runs, and never changed.

    Attributes:
        name: Name of the service; empty outside a host.
        log_level: The lowest level that makes a line, as loguru numbers them: 10 is DEBUG, 20 is INFO.
        cancellation_timeout: The host's option, in seconds.
        emit: Hands an event to the host's listeners, in its event loop; without effect outside a host.
        request_exit: Takes an error as a request to stop, with the words for what has raised it; from any thread, and
            likewise without effect.
    """

    __slots__ = ("_has_listeners", "cancellation_timeout", "emit", "log_level", "name", "request_exit")

    def __init__(  # noqa: PLR0913  # one for each fact
        self,
        name: str = "",
        *,
        log_level: int = 20,
        emit: Callable[[HostEvent], None] = lambda _: None,
        has_listeners: Callable[[], bool] = lambda: False,
        request_exit: Callable[[BaseException, str], None] = lambda *_: None,
        cancellation_timeout: float = math.inf,
    ) -> None:
        """Describe a service; without arguments, one that no host runs."""
        self.name = name
        self.log_level = log_level
        self.emit = emit
        self.request_exit = request_exit
        self.cancellation_timeout = cancellation_timeout
        self._has_listeners = has_listeners

    @property
    def detailed(self) -> bool:
        """Whether a listener receives what `emit` is given; if not, the event need not be made.

        Read it for each event: listeners come and go while the host runs.
        """
        return self._has_listeners()


service_context: ContextVar[ServiceContext] = ContextVar("hostkit service", default=ServiceContext())  # noqa: B039  # it never changes


def log_in_service(level: str, message: str, *args: object) -> None:
    """Write one line in the name of the service that runs here, unless it is below the host's log level."""
    service = service_context.get()
    if LEVELS[level] >= service.log_level:
        log(level, message, *args, service=service.name or None)


class ServiceContexts:
    """The contexts in which services run: each knows its `ServiceContext`, and loguru the service's name.

    ``logger.contextualize`` has to be left again, and would hold a generator for each service all the time. So the
    context variable that it sets is found, once, and set directly.
    """

    def __init__(self, base: Context, describe: Callable[[str], ServiceContext]) -> None:
        """Make contexts that are copies of *base* otherwise; *describe* takes the name of a service."""
        self._base = base
        self._describe = describe
        self._variable: ContextVar[dict[str, object]] | None
        self._extra: dict[str, object]
        # A process that has never imported loguru has no lines of it that a service could be named in.
        self._variable, self._extra = base.copy().run(_find_variable) if "loguru" in sys.modules else (None, {})

    def of(self, service: str) -> Context:
        """Return a context of *service*'s own."""
        context = self._base.copy()
        context.run(self._enter, service)
        return context

    def _enter(self, service: str) -> None:
        if self._variable is not None:
            self._variable.set({**self._extra, "service": service})
        service_context.set(self._describe(service))


def _find_variable() -> tuple[ContextVar[dict[str, object]], dict[str, object]]:
    from loguru import logger

    mark = object()
    with logger.contextualize(hostkit=mark):
        for variable, value in copy_context().items():
            if isinstance(value, dict) and value.get("hostkit") is mark:
                return variable, {key: item for key, item in value.items() if key != "hostkit"}
    message = "loguru keeps no context variable"  # pragma: no cover  # it has since 0.5
    raise LookupError(message)  # pragma: no cover
