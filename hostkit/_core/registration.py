"""A service as it was registered: its name, its hooks and its policies, checked where it was added."""

from collections.abc import Awaitable, Callable
from inspect import Parameter, signature

from hostkit._core.service import (
    BackgroundService,
    FunctionService,
    HostedService,
    ThreadFunctionService,
    ThreadService,
)
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import hyphenated, is_async, is_generator, name_of, takes_token
from hostkit._values.restart import EndAction, Restart

Policy = EndAction | Restart


class Registration:
    """One service of a host, and how it is to be run."""

    __slots__ = (
        "heartbeat_timeout",
        "kind",
        "name",
        "on_failure",
        "on_return",
        "service",
        "starts",
        "stop_timeout",
        "stops",
        "takes_task_status",
    )

    def __init__(  # noqa: PLR0913  # one for each option of add_service
        self,
        service: HostedService,
        name: str,
        *,
        on_failure: Policy,
        on_return: Policy,
        stop_timeout: Duration | None,
        heartbeat_timeout: Duration | None,
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
        self.kind = (
            "background"
            if isinstance(service, BackgroundService)
            else "thread"
            if isinstance(service, ThreadService)
            else "service"
        )
        self.starts = type(service).start is not HostedService.start
        self.stops = type(service).stop is not HostedService.stop
        self.takes_task_status = False
        self._check_hooks()

    @property
    def executes(self) -> bool:
        """Whether the service has a loop of its own."""
        return self.kind != "service"

    @property
    def ready_at_once(self) -> bool:
        """Whether nothing has to be awaited for the service to be ready."""
        return not self.starts and not self.takes_task_status

    def _check_hooks(self) -> None:
        service, kind = self.service, type(self.service).__name__
        for hook in ("start", "stop", "check"):
            if not is_async(getattr(service, hook)):
                message = f"{kind}.{hook} must be an async function: async def {hook}(self)"
                raise TypeError(message)
        if isinstance(service, FunctionService):
            self.takes_task_status = takes_task_status(service.function)
        elif isinstance(service, BackgroundService):
            _refuse_generator(service.execute, f"{kind}.execute")
            if not is_async(service.execute):
                message = f"{kind}.execute must be an async function (a ThreadService has a blocking one)"
                raise TypeError(message)
            self.takes_task_status = takes_task_status(service.execute)
            _check_execute(service.execute, kind, takes_task_status=self.takes_task_status)
        elif isinstance(service, ThreadService):
            _refuse_generator(service.execute, f"{kind}.execute")
            if is_async(service.execute):
                message = f"{kind}.execute must be a blocking function (a BackgroundService has an async one)"
                raise TypeError(message)
            _check_execute(service.execute, kind, takes_task_status=False)


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


def default_name(given: object) -> str:
    """Return the name of a service by its class or function: ``log-cleanup`` for ``LogCleanup`` and ``log_cleanup``."""
    if isinstance(given, (FunctionService, ThreadFunctionService)):
        return name_of(given.function) or "service"  # it may be called "_"
    return hyphenated(type(given).__name__) or "service"


def takes_task_status(function: Callable[..., object]) -> bool:
    """Return whether *function* wants to say itself when it is ready, as anyio's convention has it."""
    parameter = signature(function).parameters.get("task_status")
    return parameter is not None and parameter.kind is Parameter.KEYWORD_ONLY


def _function_service(function: Callable[..., object]) -> HostedService:
    _refuse_generator(function, repr(function))
    with_token = takes_token(function)
    asynchronous = is_async(function)
    extra: dict[str, object] = {"task_status": None} if asynchronous and takes_task_status(function) else {}
    try:
        signature(function).bind(*([None] if with_token else []), **extra)
    except TypeError as error:
        message = f"{function!r} cannot be a service: {error}; its only parameter must be stopping_token"
        raise TypeError(message) from None
    if asynchronous:
        return FunctionService(_as_async(function), takes_token=with_token)
    if not with_token:
        message = f"{function!r} cannot be a service: a blocking function needs the parameter stopping_token"
        raise TypeError(message)
    return ThreadFunctionService(function)


def _as_async(function: Callable[..., object]) -> Callable[..., Awaitable[object]]:
    return function  # type: ignore[return-value]  # is_async has looked


def _check_execute(execute: Callable[..., object], kind: str, *, takes_task_status: bool) -> None:
    extra: dict[str, object] = {"task_status": None} if takes_task_status else {}
    try:
        signature(execute).bind(None, **extra)
    except TypeError as error:
        message = (
            f"{kind}.execute must take the stopping token and nothing else: execute(self, stopping_token) ({error})"
        )
        raise TypeError(message) from None


def _refuse_generator(function: object, words: str) -> None:
    if is_generator(function):
        message = f"{words} must not have a yield: nothing of it would run"
        raise TypeError(message)


def _checked_policy(name: str, policy: object) -> Policy:
    if not isinstance(policy, (EndAction, Restart)):
        message = f"{name} must be EndAction.STOP_HOST, EndAction.IGNORE or a Restart(...), got {policy!r}"
        raise TypeError(message)
    return policy
