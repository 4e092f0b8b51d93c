"""What a service is, and functions as services."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping

from hostkit._tokens.stopping_token import StoppingToken
from hostkit._tokens.thread_stopping_token import ThreadStoppingToken


class HostedService:
    """Something that a host starts and stops.

    `start`, then `execute` where there is one, then `stop` are awaited one after the other in one task: what `start`
    opens (a task group, a cancel scope, a context variable) `execute` sees and `stop` must close. A restart is a new
    task. Override what you need; none of them needs a call to ``super()``.

    Attributes:
        extended_stop: Whether `stop` has the time until the host abandons what still runs: at the end of
            ``shutdown_timeout`` (and of its own ``stop_timeout``) it is not cancelled, and when it ends within the
            ``cancellation_timeout``, that is no failure. For a `stop` that saves something; set it on the class.
    """

    extended_stop: bool = False

    async def start(self) -> None:
        """Return when the service is ready; the next one starts only then.

        Stopping:
            A start that is pending when the stop begins is cancelled. `stop` is not called then, nor after a start
            that failed: `start` cleans up after itself.

        Failures:
            An error here fails the start of the host: what had started is stopped, in reverse order.
        """

    async def stop(self) -> None:
        """Clean up: called once for every run whose `start` returned, also after `execute` has failed.

        Stopping:
            It runs when the services after this one have stopped, and has what is left of the host's
            ``shutdown_timeout``, then of its ``cancellation_timeout``.

        Failures:
            An error here is a failure of the host, and keeps no other service from stopping.
        """

    async def check(self) -> None:
        """Raise an error when the service is unwell; asked by `Host.check`."""

    def details(self) -> Mapping[str, object]:
        """Return a few facts about what the service does right now, for the status (`ServiceStatus.details`).

        Called at every status, from any thread and from the handler of the dump signal, in any state of the
        service: it must be quick, must not wait, and must take no lock. Values should be ready for JSON. Of much, the
        status shows a part; of an error in it, its text.
        """
        return {}


class BackgroundService(HostedService, ABC):
    """A service with a loop of its own."""

    @abstractmethod
    async def execute(self, stopping_token: StoppingToken) -> None:
        """Do the service's work until *stopping_token* asks for the stop.

        A keyword-only parameter ``task_status`` makes the service ready only when ``task_status.started()`` is called,
        once; without it, it is ready as soon as `start` has returned.

        Stopping:
            Return when the token asks. A service that does not is cancelled at the end of ``shutdown_timeout``; async
            clean-up belongs in `stop` or under a shielded scope with a deadline, since a cancelled ``finally`` ends
            at its first await.

        Failures:
            An error, and a cancellation that the host did not cause, is a failure of the service: ``on_failure`` of
            `HostBuilder.add_service` decides. A return is its end: ``on_return`` decides.
        """


class ThreadService(HostedService, ABC):
    """A service whose loop blocks; it runs on a daemon thread of its own."""

    @abstractmethod
    def execute(self, stopping_token: ThreadStoppingToken) -> None:
        """Do the service's work until *stopping_token* asks for the stop.

        Stopping:
            Return when the token asks; its waits wake at once. A thread cannot be cancelled: one that goes on past
            ``shutdown_timeout`` and ``cancellation_timeout`` is abandoned.

        Failures:
            As of `BackgroundService.execute`.
        """


class FunctionService(BackgroundService):
    """An async function as a service."""

    def __init__(self, function: Callable[..., Awaitable[object]], *, takes_token: bool) -> None:
        """Wrap *function*."""
        self.function = function
        self._takes_token = takes_token

    def execute(self, stopping_token: StoppingToken, **options: object) -> Awaitable[None]:  # type: ignore[override]
        """Call the function; its own coroutine is handed on, for one frame less."""
        arguments = (stopping_token,) if self._takes_token else ()
        return self.function(*arguments, **options)  # type: ignore[return-value]  # the value is ignored


class ThreadFunctionService(ThreadService):
    """A blocking function as a service."""

    def __init__(self, function: Callable[[ThreadStoppingToken], object]) -> None:
        """Wrap *function*."""
        self.function = function

    def execute(self, stopping_token: ThreadStoppingToken) -> object:  # type: ignore[override]
        """Call the function; where it returns something to be awaited, that is awaited in the event loop."""
        return self.function(stopping_token)
