"""`hostkit.HostBuilder`: collects services and options, then makes one host."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from hostkit import (
    BackgroundService,
    EndAction,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostSettings,
    HostStateError,
    Restart,
    StoppingToken,
)
from hostkit.events import HostEvent
from hostkit.testing import Recorder


class LogCleanup(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


class Cache(HostedService):
    pass


class Broken(HostedService):
    def __init__(self) -> None:
        message = "no route"
        raise OSError(message)


async def worker(stopping_token: StoppingToken) -> None:
    """Wait for the stop."""
    await stopping_token.wait()


@pytest.fixture
def builder() -> HostBuilder:
    """A builder that reads nothing from outside."""
    return HostBuilder(HostOptions(application_name="app"))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that tells hostkit nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/bin"})
    return tmp_path


def names(builder: HostBuilder) -> list[str]:
    """Build, and return the names of the services."""
    return list(builder.build().services)


def test_makes_a_host_of_the_services(builder: HostBuilder) -> None:
    """The host has the services by name, in start order, and the builder's options and lifetime."""
    cleanup = builder.add_service(LogCleanup())
    cache = builder.add_service(Cache, name="memory")
    function = builder.add_service(worker)

    host = builder.build()

    assert dict(host.services) == {"log-cleanup": cleanup, "memory": cache, "worker": function}
    assert list(host.services) == ["log-cleanup", "memory", "worker"]
    assert host.options is builder.options
    assert host.lifetime is builder.lifetime
    with pytest.raises(TypeError):
        host.services["new"] = cache  # type: ignore[index]


def test_names_of_one_class_are_numbered(builder: HostBuilder) -> None:
    """Services of one class get distinct names, whatever explicit names stand in the way."""
    builder.add_service(LogCleanup)
    builder.add_service(LogCleanup())
    builder.add_service(LogCleanup, name="log-cleanup-4")
    builder.add_service(LogCleanup)
    builder.add_service(LogCleanup)
    builder.add_service(Cache, name="cache")
    builder.add_services(Cache, Cache)

    assert names(builder) == [
        "log-cleanup",
        "log-cleanup-2",
        "log-cleanup-4",
        "log-cleanup-3",
        "log-cleanup-5",
        "cache",
        "cache-2",
        "cache-3",
    ]


def test_a_number_in_a_name_is_a_name(builder: HostBuilder) -> None:
    """A class whose own name ends like a numbered one does not collide with it."""

    class Cache2(HostedService):
        pass

    builder.add_services(Cache, Cache, Cache2, Cache2)

    assert names(builder) == ["cache", "cache-2", "cache2", "cache2-2"]


def test_ten_thousand_of_one_class_are_named_without_search(builder: HostBuilder) -> None:
    """Numbering goes on from the last number, and never looks through the names."""
    looked_up = 0

    class Names(dict[str, int]):
        def __contains__(self, name: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(name)

    builder._names = Names()
    for _ in range(1000):
        builder.add_service(Cache)

    assert list(builder.build().services)[-1] == "cache-1000"
    assert looked_up <= 5000


def test_an_explicit_name_twice_is_refused(builder: HostBuilder) -> None:
    """A name is unique in a host, be it given or made."""
    builder.add_service(Cache, name="memory")
    builder.add_service(LogCleanup)

    with pytest.raises(ValueError, match=r"^there is a service named 'memory' already$"):
        builder.add_service(LogCleanup, name="memory")
    with pytest.raises(ValueError, match=r"^there is a service named 'log-cleanup' already$"):
        builder.add_service(Cache, name="log-cleanup")

    assert names(builder) == ["memory", "log-cleanup"]


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_an_empty_name_is_refused(builder: HostBuilder, name: str) -> None:
    """A name is not empty."""
    with pytest.raises(ValueError, match=r"^name must not be empty, got "):
        builder.add_service(Cache, name=name)


@pytest.mark.parametrize("name", [5, b"cache", True])
def test_a_name_is_a_text(builder: HostBuilder, name: object) -> None:
    """A name is a text."""
    with pytest.raises(TypeError) as caught:
        builder.add_service(Cache, name=name)  # type: ignore[call-overload]

    assert str(caught.value) == f"name must be a str, got {name!r}"


def test_an_object_twice_is_refused(builder: HostBuilder) -> None:
    """A service object, or a function, belongs in a host once; a class may come again."""
    cache = builder.add_service(Cache())
    made = builder.add_service(Cache)
    builder.add_service(worker)

    for given in (cache, made, worker):
        with pytest.raises(ValueError, match=r" was added already; a service object belongs in a host once$"):
            builder.add_service(given, name="again")
    with pytest.raises(ValueError, match=" was added already"):
        builder.add_services(LogCleanup, cache)

    assert names(builder) == ["cache", "cache-2", "worker"]


def test_methods_of_two_objects_are_two_services(builder: HostBuilder) -> None:
    """Methods are told apart by their objects."""

    class Station:
        async def poll(self, stopping_token: StoppingToken) -> None: ...

    for _ in range(3):
        builder.add_service(Station().poll)

    assert names(builder) == ["poll", "poll-2", "poll-3"]


def test_a_refused_service_leaves_nothing(builder: HostBuilder) -> None:
    """What was refused can be added rightly, under the same name."""
    cache = Cache()
    with pytest.raises(TypeError):
        builder.add_service(cache, name="memory", on_failure="ignore")  # type: ignore[call-overload]
    with pytest.raises(OSError, match="no route"):
        builder.add_service(Broken, name="memory")

    builder.add_service(cache, name="memory")
    for _ in range(2):
        with pytest.raises(ValueError, match="stop_timeout"):
            builder.add_service(LogCleanup, stop_timeout=-1)
        builder.add_service(LogCleanup)

    assert names(builder) == ["memory", "log-cleanup", "log-cleanup-2"]


def test_several_services_are_one_step(builder: HostBuilder) -> None:
    """`add_services` gives the services back in order, objects for classes and functions."""
    cache = Cache()

    result = builder.add_services(cache, LogCleanup, worker, stop_timeout=3, on_return=EndAction.STOP_HOST)

    assert result[0] is cache
    assert type(result[1]) is LogCleanup
    assert isinstance(result[2], BackgroundService)
    assert list(builder.build().services.values()) == list(result)


@pytest.mark.parametrize(
    ("bad", "error"),
    [(42, TypeError), (Broken, OSError), ("same", ValueError)],
    ids=["no service", "constructor", "same object"],
)
def test_a_step_is_added_in_whole_or_not_at_all(
    builder: HostBuilder, bad: object, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one of several services is refused, none is added, and their names are free."""
    cache = Cache()
    builder.add_service(Cache)

    with pytest.raises(error):
        builder.add_services(cache, LogCleanup, cache if bad == "same" else bad)  # type: ignore[arg-type]

    builder.add_services(cache, LogCleanup)
    assert names(builder) == ["cache", "cache-2", "log-cleanup"]


def test_a_step_needs_a_service(builder: HostBuilder) -> None:
    """`add_services` without services is a mistake."""
    with pytest.raises(TypeError, match=r"^add_services\(\) needs at least one service$"):
        builder.add_services()


def test_a_step_has_wrong_options(builder: HostBuilder) -> None:
    """Options hold for all services of a step, and are checked."""
    with pytest.raises(ValueError, match=r"^stop_timeout must "):
        builder.add_services(Cache, LogCleanup, stop_timeout=-1)

    assert names(builder) == []


def test_a_decorated_function_stays_what_it_is(builder: HostBuilder) -> None:
    """`@builder.service()` adds a function and gives it back."""

    @builder.service(name="ticker", on_failure=Restart(), stop_timeout=1)
    async def tick(stopping_token: StoppingToken) -> None: ...

    @builder.service()
    async def _(stopping_token: StoppingToken) -> None: ...

    assert tick.__name__ == "tick"
    assert names(builder) == ["ticker", "service"]


def test_a_decorator_checks_like_add_service(builder: HostBuilder) -> None:
    """What cannot be a service is refused by the decorator too."""
    with pytest.raises(TypeError, match="a blocking function needs the parameter stopping_token"):

        @builder.service()
        def wrong() -> None: ...


async def test_services_get_what_was_given(builder: HostBuilder, recorder: Recorder) -> None:
    """Options reach the services: what ends by itself stops the host where it was told to."""
    builder.on_event(recorder)
    builder.add_service(Cache)

    @builder.service(on_return=EndAction.STOP_HOST)
    async def short() -> None: ...

    async with builder.build() as host:
        await host.wait()

    assert host.lifetime.stop_reason == "service 'short' has returned"
    recorder.assert_order("cache started", "short started", "stop requested", "host stopped")


async def no_callback(event: object) -> None:
    """Be no callback: it would have to be awaited."""


class AsyncListener:
    async def __call__(self, event: object) -> None: ...


@pytest.mark.parametrize("listener", [no_callback, AsyncListener(), lambda event: (yield)])  # fakes
@pytest.mark.parametrize("method", ["on_event", "on_fatal"])
def test_callbacks_are_synchronous(builder: HostBuilder, method: str, listener: object) -> None:
    """An async function, or a generator, given as a callback is refused at once."""
    with pytest.raises(TypeError, match=rf"^{method}\(\) takes a "):
        getattr(builder, method)(listener)


@pytest.mark.parametrize("method", ["on_event", "on_fatal"])
def test_callbacks_can_be_called(builder: HostBuilder, method: str) -> None:
    """What cannot be called is no callback."""
    with pytest.raises(TypeError, match=rf"^{method}\(\) takes a function, got None$"):
        getattr(builder, method)(None)


async def test_callbacks_are_called(builder: HostBuilder) -> None:
    """Listeners hear every event, and those of a fatal failure the failure."""
    heard: list[HostEvent] = []
    fatal: list[HostFailedError] = []
    builder.on_event(heard.append)
    builder.on_fatal(fatal.append)

    @builder.service()
    async def failing(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)
        message = "no route"
        raise OSError(message)

    with pytest.raises(HostFailedError):
        async with builder.build() as host:
            await host.wait()

    assert heard
    (failure,) = fatal
    assert pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no route")).matches(failure)


AFTER_BUILD: dict[str, Callable[[HostBuilder], object]] = {
    "add_service": lambda builder: builder.add_service(Cache),
    "add_services": lambda builder: builder.add_services(Cache),
    "service": lambda builder: builder.service(),
    "on_event": lambda builder: builder.on_event(print),
    "on_fatal": lambda builder: builder.on_fatal(print),
    "build": lambda builder: builder.build(),
}


@pytest.mark.parametrize("method", AFTER_BUILD)
def test_a_builder_makes_one_host(builder: HostBuilder, method: str) -> None:
    """After `build()` every method is refused."""
    host = builder.build()

    with pytest.raises(HostStateError) as caught:
        AFTER_BUILD[method](builder)

    assert str(caught.value) == f"{method}() after build(): the host has been built already"
    assert dict(host.services) == {}


def test_options_are_given_in_code() -> None:
    """A builder takes options, or settings, as they are."""
    options = HostOptions(shutdown_timeout=3)

    assert HostBuilder(options).options is options
    assert HostBuilder(HostSettings(application_name="x", shutdown_timeout=3)).options == HostOptions(
        application_name="x", shutdown_timeout=3
    )


@pytest.mark.parametrize("options", [{}, "production", 3, HostOptions, False])
def test_refuses_what_are_no_options(options: object) -> None:
    """Options are a `HostOptions` or a `HostSettings`."""
    with pytest.raises(TypeError) as caught:
        HostBuilder(options)  # type: ignore[arg-type]

    assert str(caught.value) == f"options must be a HostOptions or a HostSettings, got {options!r}"


def test_reads_the_environment_without_options(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options the environment and `.env` are read, if they say something to the host."""
    assert HostBuilder().options == HostOptions()

    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    (outside / ".env").write_text("HOSTKIT_LOG_LEVEL=DEBUG\n")

    assert HostBuilder().options == HostOptions(shutdown_timeout=3, log_level="DEBUG")


@pytest.mark.parametrize("variables", [{}, {"HOSTKIT_LOG_LEVEL": "DEBUG"}])
def test_loads_no_pydantic(variables: dict[str, str], outside: Path) -> None:
    """pydantic, which is slow to import, is loaded by a settings class alone, not for the host's own variables."""
    code = "import sys; from hostkit import HostBuilder; HostBuilder(); print('pydantic' in sys.modules)"

    child = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=variables, timeout=60
    )

    assert child.stdout.strip() == "False"


async def test_the_decorator_works_without_parentheses() -> None:
    """`@builder.service` is enough where there is nothing to say; the function stays what it is."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    ran: list[str] = []

    @builder.service
    async def ticker(stopping_token: StoppingToken) -> None:
        ran.append("ticker")
        await stopping_token.wait()

    @builder.service()
    async def other(stopping_token: StoppingToken) -> None:
        ran.append("other")
        await stopping_token.wait()

    async with builder.build() as host:
        await anyio.sleep(1)

    assert list(host.services) == ["ticker", "other"]
    assert sorted(ran) == ["other", "ticker"]
    assert ticker.__name__ == "ticker"


def test_the_decorator_without_parentheses_refuses_what_is_no_service() -> None:
    """What cannot be a service is refused at the line of the decorator."""
    builder = HostBuilder(HostOptions())

    with pytest.raises(TypeError, match="cannot be a service: a blocking function needs the parameter stopping_token"):

        @builder.service
        def wrong() -> None:
            """Do nothing."""
