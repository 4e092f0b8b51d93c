"""The builder: collects services and options, then makes one host."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Unpack, overload

from hostkit._config.options import HostOptions
from hostkit._core.host import Host
from hostkit._core.lifetime import FatalCallback, HostLifetime, LifetimeController, Listener
from hostkit._core.registration import Registration, ServiceOptions, default_name, to_service
from hostkit._core.runner import HostRunner
from hostkit._core.service import HostedService
from hostkit._values.errors import HostStateError
from hostkit._values.functions import require_sync

if TYPE_CHECKING:
    from hostkit._config.settings import HostSettings

S = TypeVar("S", bound=HostedService)
F = TypeVar("F", bound=Callable[..., object])


class HostBuilder:
    """Collects services and options, and makes one host of them.

    Services start in the order in which they are added, and stop in reverse.

    Attributes:
        options: The host's options, resolved.
        lifetime: The lifetime of the host to be, for services that watch the host or stop it.
        host: The host, once it has been built; None before.
    """

    def __init__(self, options: "HostOptions | HostSettings | None" = None) -> None:
        """Resolve the options; without any, they are read from the environment (`HostSettings`).

        Raises:
            TypeError: *options* is neither.
            ValueError: The environment is wrong; the message names each variable and its value.
        """
        self.options = _resolve(options)
        self._lifetime = LifetimeController(self.options)
        self.lifetime: HostLifetime = self._lifetime
        self._steps: list[list[Registration]] = []
        self._names: dict[str, int] = {}  # and the last number that was given to another service of that name
        self._given: set[int] = set()
        self.host: Host | None = None

    @overload
    def add_service(self, service: type[S], *, name: str | None = ..., **options: Unpack[ServiceOptions]) -> S: ...
    @overload
    def add_service(self, service: S, *, name: str | None = ..., **options: Unpack[ServiceOptions]) -> S: ...
    @overload
    def add_service(
        self, service: Callable[..., object], *, name: str | None = ..., **options: Unpack[ServiceOptions]
    ) -> HostedService: ...
    def add_service(
        self, service: object, *, name: str | None = None, **options: Unpack[ServiceOptions]
    ) -> HostedService:
        """Add a service behind those that are there.

        Args:
            service: A `HostedService`, `BackgroundService` or `ThreadService`; a class of these, which is made without
                arguments; or a function, async or blocking, whose only positional parameter is ``stopping_token`` (an
                async one may go without).
            name: Its name, unique in the host; made of the class or function if not given (``log-cleanup`` for
                ``LogCleanup``, ``log-cleanup-2`` for a second one).
            on_failure: What follows when it fails after it was first ready.
            on_return: What follows when its ``execute`` returns before it was asked to.
            stop_timeout: How long it may take from its turn in the stop until it is cancelled, in seconds or as a
                `timedelta`. It only shortens: the host's ``shutdown_timeout`` holds for all.
            heartbeat_timeout: After how long without a wait or a beat it counts as stalled, in seconds or as a
                `timedelta`: it is reported then, and restarted where its ``Restart`` says so.

        Returns:
            The service, as an object.

        Raises:
            HostStateError: The host has been built already.
            TypeError: *service* is none, or an option is of the wrong type.
            ValueError: The object was added before, the name is taken, or a duration is negative or NaN.
        """
        self._require_unbuilt("add_service()")
        registration = self._register(service, name, options)
        self._steps.append([registration])
        return registration.service

    def add_services(
        self,
        *services: HostedService | type[HostedService] | Callable[..., object],
        **options: Unpack[ServiceOptions],
    ) -> tuple[HostedService, ...]:
        """Add services as one step of the order: they start together and stop together.

        When one of them fails to start, the pending starts of the others are cancelled, and those that had started are
        stopped together. The options are those of `add_service`, for each of them.

        Returns:
            The services, as objects.

        Raises:
            HostStateError: The host has been built already.
            TypeError: There are none, one of them is no service, or an option is of the wrong type.
            ValueError: An object was added before, or a duration is negative or NaN.
        """
        self._require_unbuilt("add_services()")
        if not services:
            message = "add_services() needs at least one service"
            raise TypeError(message)
        before = self._names.copy(), self._given.copy()
        try:
            step = [self._register(service, None, options) for service in services]
        except BaseException:  # of a service's constructor, too
            self._names, self._given = before
            raise
        self._steps.append(step)
        return tuple(registration.service for registration in step)

    @overload
    def service(self, function: F, /) -> F: ...
    @overload
    def service(
        self, function: None = None, /, *, name: str | None = ..., **options: Unpack[ServiceOptions]
    ) -> Callable[[F], F]: ...
    def service(
        self,
        function: Callable[..., object] | None = None,
        /,
        *,
        name: str | None = None,
        **options: Unpack[ServiceOptions],
    ) -> object:
        """Add the decorated function as a service; the options are those of `add_service`.

        ``@builder.service`` does, and so does ``@builder.service(name=…)``. The function itself stays what it is.

        Raises:
            HostStateError: The host has been built already.
            TypeError: The function cannot be a service, or an option is of the wrong type.
        """
        self._require_unbuilt("service()")

        def add(function: F) -> F:
            self.add_service(function, name=name, **options)
            return function

        return add if function is None else add(function)

    def on_event(self, listener: Listener) -> None:
        """Have *listener* called with every event (`hostkit.events`), one at a time, in the event loop.

        It must be short and synchronous. An error in it is logged; it is kept, and so are the others. A ``SystemExit``
        or ``KeyboardInterrupt`` also stops the host, and comes out of it as from a service.

        Raises:
            HostStateError: The host has been built already.
            TypeError: *listener* cannot be called, or is an async function.
        """
        self._require_unbuilt("on_event()")
        require_sync(listener, "on_event()")
        self._lifetime.add_listener(listener)

    def on_fatal(self, callback: FatalCallback) -> None:
        """Have *callback* called, in the event loop, when a failure stops an embedded host that had started.

        It must be short and synchronous. It is called when the stop begins; the failure comes out at the host's exit
        all the same. An error in it is logged; a ``SystemExit`` or ``KeyboardInterrupt`` also comes out.

        Raises:
            HostStateError: The host has been built already.
            TypeError: *callback* cannot be called, or is an async function.
        """
        self._require_unbuilt("on_fatal()")
        require_sync(callback, "on_fatal()")
        self._lifetime.fatal_callbacks.append(callback)

    def build(self) -> Host:
        """Make the host; once.

        Raises:
            HostStateError: The host has been built already.
        """
        self._require_unbuilt("build()")
        self.host = Host(HostRunner(self._steps, self._lifetime))
        return self.host

    def _require_unbuilt(self, method: str) -> None:
        if self.host is not None:
            message = f"{method} after build(): the host has been built already"
            raise HostStateError(message)

    def _register(self, given: object, name: str | None, options: ServiceOptions) -> Registration:
        service = to_service(given)
        identity = id(service if isinstance(given, type) else given)
        if identity in self._given:
            message = f"{given!r} was added already; a service object belongs in a host once"
            raise ValueError(message)
        if name is not None and not isinstance(name, str):
            message = f"name must be a str, got {name!r}"
            raise TypeError(message)
        if name is not None and not name.strip():
            message = f"name must not be empty, got {name!r}"
            raise ValueError(message)
        if name in self._names:
            message = f"there is a service named {name!r} already"
            raise ValueError(message)
        registration = Registration(service, name or default_name(service), **options)
        if name is None:
            registration.name = self._free_name(registration.name)
        self._given.add(identity)
        self._names[registration.name] = 1
        return registration

    def _free_name(self, base: str) -> str:
        # By a counter for each base: a search would be quadratic with ten thousand of one class.
        name = base
        while name in self._names:
            self._names[base] += 1
            name = f"{base}-{self._names[base]}"
        return name


def _resolve(options: object) -> HostOptions:
    if isinstance(options, HostOptions):
        return options
    if options is None:
        from hostkit._config.outside import read_variables, set_outside

        return read_variables() if set_outside() else HostOptions()
    from hostkit._config.settings import HostSettings, to_options

    if isinstance(options, HostSettings):
        return to_options(options)
    message = f"options must be a HostOptions or a HostSettings, got {options!r}"
    raise TypeError(message)
