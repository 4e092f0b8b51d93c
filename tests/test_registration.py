"""What can be a service, what it is called, and what is refused at the line that adds it."""

import gc
import math
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from unittest.mock import Mock

import pytest
from anyio.abc import TaskStatus

from hostkit import (
    BackgroundService,
    EndAction,
    HostBuilder,
    HostedService,
    HostOptions,
    Restart,
    StoppingToken,
    ThreadService,
    ThreadStoppingToken,
)
from hostkit._core.registration import Registration, default_name, to_service
from hostkit._values.functions import is_async, takes_task_status, takes_token


class Idle(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


class Blocking(ThreadService):
    def execute(self, stopping_token: ThreadStoppingToken) -> None:
        stopping_token.wait()


class Plain(HostedService):
    pass


async def worker(stopping_token: StoppingToken) -> None:
    """Wait, as a function."""


async def tokenless() -> None:
    """Work without a token."""


async def ready_later(stopping_token: StoppingToken, *, task_status: TaskStatus[None]) -> None:
    """Say when it is ready."""


async def with_defaults(stopping_token: StoppingToken, pace: float = 1, *, retries: int = 3) -> None:
    """Have more parameters, which need not be given."""


def blocker(stopping_token: ThreadStoppingToken) -> None:
    """Wait, as a blocking function."""


class AsyncCallable:
    async def __call__(self, stopping_token: StoppingToken) -> None: ...


class BlockingCallable:
    def __call__(self, stopping_token: ThreadStoppingToken) -> None: ...


class Methods:
    async def poll(self, stopping_token: StoppingToken) -> None: ...
    def watch(self, stopping_token: ThreadStoppingToken) -> None: ...
    async def scale(self, factor: float, stopping_token: StoppingToken) -> None: ...


def add(service: object, **options: object) -> HostedService:
    """Add what no type checker has looked at."""
    builder = HostBuilder(HostOptions())
    return builder.add_service(service, **options)  # type: ignore[call-overload, no-any-return]


def kind_of(given: object) -> str:
    """Return what kind of service *given* becomes in a host."""
    builder = HostBuilder(HostOptions())
    builder.add_service(given)  # type: ignore[call-overload]
    (row,) = builder.build().status().services
    return row.kind


def test_an_object_is_the_service() -> None:
    """A service object is taken as it is, and given back."""
    for service in (Idle(), Blocking(), Plain()):
        assert add(service) is service


def test_a_class_is_made() -> None:
    """A class is made without arguments, and the object is given back."""
    assert type(add(Idle)) is Idle
    assert type(add(Blocking)) is Blocking
    assert type(add(Plain)) is Plain


@pytest.mark.parametrize(
    "given",
    [
        Idle,
        worker,
        tokenless,
        ready_later,
        with_defaults,
        AsyncCallable(),
        Methods().poll,
        partial(worker),
        partial(partial(with_defaults, pace=2), retries=1),
        partial(Methods().scale, 2.0),
    ],
)
def test_what_is_async_is_a_background_service(given: object) -> None:
    """A class, an async function, method, partial or callable object is a background service."""
    assert kind_of(given) == "background"


@pytest.mark.parametrize("given", [Blocking, blocker, BlockingCallable(), Methods().watch, partial(blocker)])
def test_what_blocks_is_a_thread_service(given: object) -> None:
    """A blocking function, method, partial or callable object is a thread service."""
    assert kind_of(given) == "thread"


def test_what_has_no_loop_is_a_service() -> None:
    """A hosted service without a loop is only started and stopped."""
    assert kind_of(Plain) == "service"


def stream(stopping_token: StoppingToken) -> Iterator[None]:
    """Yield, by mistake."""
    yield


async def async_stream(stopping_token: StoppingToken) -> AsyncIterator[None]:
    """Yield, by mistake."""
    yield


class Needy(HostedService):
    def __init__(self, directory: str) -> None: ...


class Half(BackgroundService):
    pass


NO_SERVICES: list[tuple[object, str]] = [
    (
        42,
        "not a service: 42; give a HostedService, BackgroundService or ThreadService (object or class), or a function",
    ),
    (None, "not a service: None; "),
    ("worker", "not a service: 'worker'; "),
    (int, "not a service: <class 'int'>; "),
    (AsyncCallable, "not a service: <class '"),
    (Needy, "Needy cannot be made without arguments ("),
    (Half, "Half cannot be made without arguments ("),
    (lambda: None, "<function <lambda> at "),
]


@pytest.mark.parametrize(("given", "complaint"), NO_SERVICES, ids=lambda value: str(value)[:20])
def test_refuses_what_is_no_service(given: object, complaint: str) -> None:
    """What cannot be a service is named, with what is right."""
    with pytest.raises(TypeError) as caught:
        add(given)

    assert str(caught.value).startswith(complaint)


def test_a_class_that_needs_arguments_is_told_how_to_be_given() -> None:
    """A class whose constructor wants something is to be given as an object; the constructor's error is the cause."""
    with pytest.raises(TypeError, match=r"'directory'\); give an object: Needy\(\.\.\.\)$") as caught:
        add(Needy)

    assert isinstance(caught.value.__cause__, TypeError)


async def token_second(directory: str, stopping_token: StoppingToken) -> None:
    """Want something that nobody gives."""


async def misnamed(token: StoppingToken) -> None:
    """Call the token something else."""


async def keyword_only(*, stopping_token: StoppingToken) -> None:
    """Want the token by name only."""


def blocking_without_token() -> None:
    """Block without a way to learn of the stop."""


def blocking_with_status(stopping_token: ThreadStoppingToken, *, task_status: TaskStatus[None]) -> None:
    """Want what only async functions get."""


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (token_second, "its only parameter must be stopping_token"),
        (misnamed, "missing a required argument: 'token'; its only parameter must be stopping_token"),
        (keyword_only, "its only parameter must be stopping_token"),
        (blocking_without_token, "a blocking function needs the parameter stopping_token"),
        (blocking_with_status, "its only parameter must be stopping_token"),
        (stream, "must not have a yield: nothing of it would run"),
        (async_stream, "must not have a yield: nothing of it would run"),
        (partial(async_stream), "must not have a yield: nothing of it would run"),
    ],
)
def test_refuses_functions_that_cannot_be_called(function: Callable[..., object], complaint: str) -> None:
    """A function takes the stopping token and nothing else, and runs when it is called."""
    with pytest.raises(TypeError) as caught:
        add(function)

    assert str(caught.value).startswith(repr(function))
    assert str(caught.value).endswith(complaint)


class SyncExecute(BackgroundService):
    def execute(self, stopping_token: StoppingToken) -> None:  # type: ignore[override]
        pass


class YieldingExecute(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> AsyncIterator[None]:  # type: ignore[override]
        yield


class AsyncExecute(ThreadService):
    async def execute(self, stopping_token: ThreadStoppingToken) -> None:  # type: ignore[override]
        pass


class YieldingThread(ThreadService):
    def execute(self, stopping_token: ThreadStoppingToken) -> Iterator[None]:  # type: ignore[override]
        yield


class NoToken(BackgroundService):
    async def execute(self) -> None:  # type: ignore[override]
        pass


class NoThreadToken(ThreadService):
    def execute(self) -> None:  # type: ignore[override]
        pass


class TooMuch(BackgroundService):
    async def execute(self, stopping_token: StoppingToken, directory: str) -> None:  # type: ignore[override]
        pass


class ThreadWithStatus(ThreadService):
    def execute(self, stopping_token: ThreadStoppingToken, *, task_status: object) -> None:  # type: ignore[override]
        pass


class SyncStart(HostedService):
    def start(self) -> None:  # type: ignore[override]
        pass


class SyncStop(Idle):
    def stop(self) -> None:  # type: ignore[override]
        pass


class SyncCheck(Blocking):
    check = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (SyncExecute, "SyncExecute.execute must be an async function (a ThreadService has a blocking one)"),
        (YieldingExecute, "YieldingExecute.execute must not have a yield: nothing of it would run"),
        (AsyncExecute, "AsyncExecute.execute must be a blocking function (a BackgroundService has an async one)"),
        (YieldingThread, "YieldingThread.execute must not have a yield: nothing of it would run"),
        (NoToken, "NoToken.execute must take the stopping token and nothing else: execute(self, stopping_token) ("),
        (NoThreadToken, "NoThreadToken.execute must take the stopping token and nothing else: "),
        (TooMuch, "TooMuch.execute must take the stopping token and nothing else: "),
        (ThreadWithStatus, "ThreadWithStatus.execute must take the stopping token and nothing else: "),
        (SyncStart, "SyncStart.start must be an async function: async def start(self)"),
        (SyncStop, "SyncStop.stop must be an async function: async def stop(self)"),
        (SyncCheck, "SyncCheck.check must be an async function: async def check(self)"),
    ],
)
def test_refuses_hooks_of_a_wrong_form(kind: type[HostedService], complaint: str) -> None:
    """A hook that could not be called, or would do nothing, is named with what is right."""
    for given in (kind, kind()):
        with pytest.raises(TypeError) as caught:
            add(given)

        assert str(caught.value).startswith(complaint)


def test_looks_at_a_class_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a class has is the same for all its objects; what an object has beside it is looked at for itself."""

    class Counted(Idle):
        pass

    looked_at = Mock(wraps=is_async)
    monkeypatch.setattr("hostkit._core.registration.is_async", looked_at)
    builder = HostBuilder(HostOptions())

    builder.add_services(*(Counted() for _ in range(100)))
    others = looked_at.call_count
    odd = Counted()
    odd.stop = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError, match=r"Counted\.stop must be an async function"):
        builder.add_service(odd)

    assert others == len(("start", "stop", "check", "details", "execute"))


def test_keeps_no_class_alive() -> None:
    """A class that is made again and again, as in a notebook, goes with its last object."""

    class Short(Idle):
        async def execute(self, stopping_token: StoppingToken) -> None:
            await super().execute(stopping_token)

    known = weakref.ref(Short)
    HostBuilder(HostOptions()).add_service(Short)

    del Short
    gc.collect()

    assert known() is None


@pytest.mark.usefixtures("unmeasured_children")
@pytest.mark.parametrize(
    ("added", "loaded"),
    [
        ("waiting", "set()"),
        ("blocking", "{'hostkit._execution.daemon_thread'}"),
        ("waiting, on_failure=Restart(), on_return=Restart()", "{'random'}"),
    ],
)
def test_loads_what_a_service_will_need(added: str, loaded: str) -> None:
    """What only threads or delays need is loaded with the first service that has one, as no descriptor may be left."""
    code = f"""
import sys
from hostkit import HostBuilder, HostOptions, Restart
async def waiting(stopping_token): pass
def blocking(stopping_token): pass
HostBuilder(HostOptions()).add_service({added})
print({{'hostkit._execution.daemon_thread', 'random'}} & sys.modules.keys())
"""

    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)

    assert child.stdout.strip() == loaded


class Ready(BackgroundService):
    async def execute(self, stopping_token: StoppingToken, *, task_status: TaskStatus[None]) -> None:  # type: ignore[override]
        pass


def registered(given: object, **options: object) -> Registration:
    """Register *given* as the builder does."""
    values: dict[str, object] = {
        "on_failure": EndAction.STOP_HOST,
        "on_return": EndAction.IGNORE,
        "stop_timeout": None,
        "heartbeat_timeout": None,
    }
    return Registration(to_service(given), "name", **values | options)  # type: ignore[arg-type]


def test_finds_out_who_says_when_it_is_ready() -> None:
    """A keyword-only parameter `task_status` is asked for its word; another of that name is not."""

    def positional(stopping_token: object, task_status: object = None) -> None: ...

    assert takes_task_status(ready_later)
    assert not takes_task_status(worker)
    assert not takes_task_status(positional)
    assert registered(Ready).takes_task_status
    assert registered(ready_later).takes_task_status
    assert not registered(worker).takes_task_status


def test_finds_out_who_takes_the_token() -> None:
    """A first parameter named `stopping_token` is the token; the name is what counts."""
    assert takes_token(worker)
    assert takes_token(partial(Methods().scale, 2.0))
    assert not takes_token(tokenless)
    assert not takes_token(token_second)
    assert not takes_token(misnamed)


def test_finds_out_which_hooks_there_are() -> None:
    """What a class has not overridden is not called."""

    class Starting(Idle):
        async def start(self) -> None: ...

    class Stopping(Plain):
        async def stop(self) -> None: ...

    found = {
        given: (registered(given).starts, registered(given).stops, registered(given).executes)
        for given in (Starting, Stopping, Idle, Blocking, Plain, worker, blocker)
    }

    assert found == {
        Starting: (True, False, True),
        Stopping: (False, True, False),
        Idle: (False, False, True),
        Blocking: (False, False, True),
        Plain: (False, False, False),
        worker: (False, False, True),
        blocker: (False, False, True),
    }
    assert not registered(Starting).ready_at_once
    assert not registered(Ready).ready_at_once
    assert registered(Stopping).ready_at_once
    assert registered(worker).ready_at_once


class LogCleanup(Plain):
    pass


class HTTPServer(Plain):
    pass


class MyHTTPServerV2(Plain):
    pass


class S3Sync(Plain):
    pass


class _Private(Plain):
    pass


async def log_cleanup() -> None:
    """Have words in its name."""


async def _() -> None:
    """Have no name to speak of."""


class Pump:
    """A callable object with an attribute of a misleading name."""

    func = "not a partial's"

    async def __call__(self, stopping_token: StoppingToken) -> None: ...


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (LogCleanup, "log-cleanup"),
        (HTTPServer, "http-server"),
        (MyHTTPServerV2, "my-http-server-v2"),
        (S3Sync, "s3-sync"),
        (_Private, "private"),
        (type("GünlükTemizliği", (Plain,), {}), "günlük-temizliği"),
        (log_cleanup, "log-cleanup"),
        (blocker, "blocker"),
        (partial(partial(log_cleanup)), "log-cleanup"),
        (Methods().poll, "poll"),
        (partial(Methods().scale, 2.0), "scale"),
        (AsyncCallable(), "async-callable"),
        (BlockingCallable(), "blocking-callable"),
        (Pump(), "pump"),
        (lambda stopping_token: None, "lambda"),  # the name is what counts
        (_, "service"),
    ],
)
def test_names_a_service_by_its_class_or_function(given: object, name: str) -> None:
    """A name is made of the words of the class or function, acronyms kept together."""
    assert default_name(to_service(given)) == name


@pytest.mark.parametrize("name", ["on_failure", "on_return"])
@pytest.mark.parametrize("value", ["ignore", None, True, Restart, 3])
def test_refuses_what_is_no_policy(name: str, value: object) -> None:
    """A policy is an `EndAction` or a `Restart`, not a text."""
    with pytest.raises(TypeError) as caught:
        add(Idle, **{name: value})

    assert str(caught.value) == (
        f"{name} must be EndAction.STOP_HOST, EndAction.IGNORE or a Restart(...), got {value!r}"
    )


def test_takes_policies() -> None:
    """Every policy may be given for failures and for returns."""
    for policy in (EndAction.STOP_HOST, EndAction.IGNORE, Restart(limit=1)):
        registration = registered(Idle, on_failure=policy, on_return=policy)

        assert (registration.on_failure, registration.on_return) == (policy, policy)


@pytest.mark.parametrize("name", ["stop_timeout", "heartbeat_timeout"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ValueError),
        (math.nan, ValueError),
        (timedelta(seconds=-1), ValueError),
        (True, TypeError),
        ("5", TypeError),
    ],
)
def test_refuses_wrong_timeouts(name: str, value: object, error: type[Exception]) -> None:
    """A timeout is a duration, and named if it is wrong."""
    with pytest.raises(error, match=rf"^{name} must "):
        add(Idle, **{name: value})


def test_takes_timeouts() -> None:
    """Timeouts are kept in seconds; a service may be cancelled at once, but not be stalled at once."""
    registration = registered(Idle, stop_timeout=timedelta(seconds=5), heartbeat_timeout=30)

    assert (registration.stop_timeout, registration.heartbeat_timeout) == (5, 30)
    assert registered(Idle, stop_timeout=0).stop_timeout == 0
    assert (registered(Idle).stop_timeout, registered(Idle).heartbeat_timeout) == (None, None)
    with pytest.raises(ValueError, match=r"^heartbeat_timeout must be more than 0 seconds$"):
        add(Idle, heartbeat_timeout=0)


async def test_functions_are_called_with_what_they_take() -> None:
    """A function service gets the token if it takes it, and its `task_status`."""
    called: list[object] = []

    async def with_token(stopping_token: object) -> None:
        called.append(stopping_token)

    async def without() -> None:
        called.append("nothing")

    async def with_status(stopping_token: object, *, task_status: object) -> None:
        called.append((stopping_token, task_status))

    def blocking(stopping_token: object) -> None:
        called.append(stopping_token)

    await execute(with_token, "token")
    await execute(without, "token")
    await execute(with_status, "token", task_status="status")
    to_service(blocking).execute("thread token")  # type: ignore[attr-defined]

    assert called == ["token", "nothing", ("token", "status"), "thread token"]


async def execute(function: Callable[..., Awaitable[None]], *args: object, **kwargs: object) -> None:
    """Call the `execute` of the service that *function* becomes."""
    await to_service(function).execute(*args, **kwargs)  # type: ignore[attr-defined]
