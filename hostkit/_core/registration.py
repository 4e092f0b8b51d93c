"""A service as it was registered: its name, its hooks and its policies, checked where it was added."""

from collections.abc import Callable
from typing import NamedTuple, TypedDict
from weakref import WeakKeyDictionary

from hostkit._core.service import (
    BackgroundService,
    FunctionService,
    HostedService,
    ThreadFunctionService,
    ThreadService,
)
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import (
    hyphenated,
    is_async,
    mismatch,
    name_of,
    refuse_generator,
    require_honest_wrapper,
    takes_task_status,
    takes_token,
)
from hostkit._values.restart import EndAction, Restart

Policy = EndAction | Restart
HOOKS = frozenset({"start", "stop", "check", "details", "execute"})
_checked: WeakKeyDictionary[type[HostedService], bool] = WeakKeyDictionary()
"""The classes whose hooks have been checked, as that takes longer than all else about an object of theirs; and whether
their objects say themselves when they are ready."""


class ServiceOptions(TypedDict, total=False):
    """The options of `HostBuilder.add_service`."""

    on_failure: Policy
    on_return: Policy
    stop_timeout: Duration | None
    heartbeat_timeout: Duration | None


class ServiceRegistration(NamedTuple):
    """How a service was registered (`Host.registrations`).

    Attributes:
        name: Its name.
        kind: ``"service"``, ``"background"`` or ``"thread"``.
        step: The number of its step in the start order, from 0; services that were added together share one.
        on_failure: What follows when it fails after it was first ready.
        on_return: What follows when its ``execute`` returns before it was asked to.
        stop_timeout: How many seconds it may take from its turn in the stop; None for the host's time.
        heartbeat_timeout: After how many seconds of silence it counts as stalled; None if that is not watched.
    """

    name: str
    kind: str
    step: int
    on_failure: Policy
    on_return: Policy
    stop_timeout: float | None
    heartbeat_timeout: float | None


class Registration:
    """One service of a host, and how it is to be run.

    Attributes:
        kind: ``"service"``, ``"background"`` or ``"thread"``.
        executes: Whether the service has a loop of its own.
        auxiliary: Whether the host has nothing left to do when all others have ended: it only looks on.
        starts: Whether it has a ``start()`` of its own.
        stops: Whether it has a ``stop()`` of its own.
        takes_task_status: Whether it says itself when it is ready.
        ready_at_once: Whether nothing has to be awaited for it to be ready.
        step: The number of its step in the start order of its host.
    """

    step: int

    def __init__(  # noqa: PLR0913  # one for each option of add_service
        self,
        service: HostedService,
        name: str,
        *,
        on_failure: Policy = EndAction.STOP_HOST,
        on_return: Policy = EndAction.IGNORE,
        stop_timeout: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
    ) -> None:
        """Check everything that can be checked before the start.

        Raises:
            TypeError: *service* has an ``execute`` that cannot be called, or an option is of the wrong type.
            ValueError: A duration is negative or NaN.
        """
        self.service = service
        self.name = name
        self.on_failure = _checked_policy("on_failure", on_failure)
        self.on_return = _checked_policy("on_return", on_return)
        self.stop_timeout = None if stop_timeout is None else to_seconds(stop_timeout, "stop_timeout")
        self.heartbeat_timeout = (
            None if heartbeat_timeout is None else to_seconds(heartbeat_timeout, "heartbeat_timeout")
        )
        if self.heartbeat_timeout == 0:
            message = "heartbeat_timeout must be more than 0 seconds"
            raise ValueError(message)
        self.kind = "service"
        if isinstance(service, (BackgroundService, ThreadService)):
            self.kind = "background" if isinstance(service, BackgroundService) else "thread"
        self.executes = self.kind != "service"
        self.auxiliary = False
        self.starts = overrides(service, "start")
        self.stops = overrides(service, "stop")
        self.takes_task_status = _check_hooks(service)
        self.ready_at_once = not self.starts and not self.takes_task_status

    def facts(self) -> ServiceRegistration:
        """Return what everyone may know of it."""
        return ServiceRegistration(
            self.name, self.kind, self.step, self.on_failure, self.on_return, self.stop_timeout, self.heartbeat_timeout
        )


def to_service(given: object) -> HostedService:
    """Return *given* as a service: an object as it is, a class made without arguments, a function wrapped.

    Raises:
        TypeError: It is none of these, or a function or class that needs other arguments.
    """
    if isinstance(given, HostedService):
        return given
    if isinstance(given, type) and issubclass(given, HostedService):
        try:
            return given()
        except TypeError as error:
            message = (
                f"{given.__name__} cannot be made without arguments ({error}); give an object: {given.__name__}(...)"
            )
            raise TypeError(message) from error
    if not callable(given) or isinstance(given, type):
        message = (
            f"not a service: {given!r}; give a HostedService, BackgroundService or ThreadService (object or class), "
            "or a function whose first parameter is stopping_token"
        )
        raise TypeError(message)
    return _function_service(given)


def overrides(service: HostedService, hook: str) -> bool:
    """Return whether a service has a *hook* of its own: of its class, or of this very object."""
    return hook in vars(service) or getattr(type(service), hook, None) is not getattr(HostedService, hook)


def default_name(given: object) -> str:
    """Return the name of a service by its class or function: ``log-cleanup`` for ``LogCleanup`` and ``log_cleanup``."""
    if isinstance(given, (FunctionService, ThreadFunctionService)):
        return name_of(given.function) or "service"  # it may be called "_"
    return hyphenated(type(given).__name__) or "service"


def _function_service(function: Callable[..., object]) -> HostedService:
    refuse_generator(function, repr(function))
    require_honest_wrapper(function)
    with_token, asynchronous = takes_token(function), is_async(function)
    task_status = asynchronous and takes_task_status(function)
    error = mismatch(function, token=with_token, task_status=task_status)
    if error is not None:
        message = f"{function!r} cannot be a service: {error}; its only parameter must be stopping_token"
        raise TypeError(message)
    if asynchronous:
        return FunctionService(function, takes_token=with_token)  # type: ignore[arg-type]  # is_async has looked
    if not with_token:
        message = f"{function!r} cannot be a service: a blocking function needs the parameter stopping_token"
        raise TypeError(message)
    return ThreadFunctionService(function)


def _check_hooks(service: HostedService) -> bool:
    """Check the hooks of a service, and return whether it says itself when it is ready."""
    if isinstance(service, FunctionService):
        return takes_task_status(service.function)
    if not HOOKS.isdisjoint(vars(service)):  # this very object has its own
        return _check_each_hook(service)
    kind = type(service)
    if kind not in _checked:
        _checked[kind] = _check_each_hook(service)
    return _checked[kind]


def _check_each_hook(service: HostedService) -> bool:
    kind = type(service).__name__
    for hook in ("start", "stop", "check"):
        if not is_async(getattr(service, hook)):
            message = f"{kind}.{hook} must be an async function: async def {hook}(self)"
            raise TypeError(message)
    if is_async(service.details):
        message = f"{kind}.details must be a plain function: def details(self), called from any thread"
        raise TypeError(message)
    if not isinstance(service, (BackgroundService, ThreadService)):
        return False
    refuse_generator(service.execute, f"{kind}.execute")
    blocking = isinstance(service, ThreadService)
    if is_async(service.execute) is blocking:
        words = "a blocking function (a BackgroundService has an async one)"
        if not blocking:
            words = "an async function (a ThreadService has a blocking one)"
        message = f"{kind}.execute must be {words}"
        raise TypeError(message)
    task_status = not blocking and takes_task_status(service.execute)
    error = mismatch(service.execute, token=True, task_status=task_status)
    if error is not None:
        message = (
            f"{kind}.execute must take the stopping token and nothing else: execute(self, stopping_token) ({error})"
        )
        raise TypeError(message)
    if blocking:
        # Loaded now: when its thread begins, there may be no descriptor left to load it.
        from hostkit._execution import daemon_thread  # noqa: F401
    return task_status


def _checked_policy(name: str, policy: object) -> Policy:
    if not isinstance(policy, (EndAction, Restart)):
        message = f"{name} must be EndAction.STOP_HOST, EndAction.IGNORE or a Restart(...), got {policy!r}"
        raise TypeError(message)
    if isinstance(policy, Restart):
        # Loaded now: when a delay is wanted, there may be no descriptor left to load what `Backoff` needs.
        import random  # noqa: F401
    return policy
