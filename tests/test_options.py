"""`hostkit.HostOptions`: the options in code."""

import math
import sys
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from hostkit import HostOptions
from hostkit._config.options import CHECKS, OPTION_NAMES, default_dump_signal, main_module_name
from hostkit._config.outside import set_outside


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that tells hostkit nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/bin"})
    return tmp_path


def test_has_defaults() -> None:
    """Without arguments the options are those of a production host on asyncio, within Kubernetes' 30 seconds."""
    options = HostOptions(application_name="app", dump_signal=None)

    assert {name: getattr(options, name) for name in OPTION_NAMES} == {
        "application_name": "app",
        "environment": "production",
        "startup_timeout": 60,
        "stop_delay": 0,
        "shutdown_timeout": 20,
        "cancellation_timeout": 5,
        "hang_timeout": None,
        "lag_warning": None,
        "dump_signal": None,
        "terminate_on_failure": False,
        "log_level": "INFO",
        "log_format": "text",
        "logging": "auto",
        "backend": "asyncio",
    }
    assert set(CHECKS) == {field.name for field in fields(HostOptions)}


def test_durations_are_kept_in_seconds() -> None:
    """A duration may be a timedelta or an int."""
    options = HostOptions(
        startup_timeout=timedelta(minutes=2),  # type: ignore[arg-type]
        shutdown_timeout=7,
        cancellation_timeout=timedelta(0),  # type: ignore[arg-type]
        hang_timeout=timedelta(seconds=30),  # type: ignore[arg-type]
        lag_warning=0.25,
    )

    assert (options.startup_timeout, options.shutdown_timeout, options.cancellation_timeout) == (120, 7, 0)
    assert (options.hang_timeout, options.lag_warning) == (30, 0.25)
    assert type(options.shutdown_timeout) is float


def test_no_limit_is_none() -> None:
    """`startup_timeout=None` is a start without a limit, `hang_timeout=None` and the like switch something off."""
    options = HostOptions(startup_timeout=None, hang_timeout=None, lag_warning=None, dump_signal=None)

    assert (options.startup_timeout, options.hang_timeout, options.lag_warning) == (None, None, None)
    assert options.dump_signal is None


def test_words_are_taken_in_any_case() -> None:
    """Levels, formats, backends and signals are compared without case, and kept in their own."""
    options = HostOptions(log_level="debug", log_format="JSON", backend="Trio", dump_signal="sigusr2")  # type: ignore[arg-type]

    assert (options.log_level, options.log_format, options.backend) == ("DEBUG", "json", "trio")
    assert options.dump_signal == "SIGUSR2"


@pytest.mark.parametrize(
    ("environment", "development", "production"),
    [("Development", True, False), ("PRODUCTION", False, True), ("staging", False, False), ("production", False, True)],
)
def test_the_environment_is_free_text(environment: str, development: bool, production: bool) -> None:  # noqa: FBT001
    """`is_development` and `is_production` compare without case."""
    options = HostOptions(environment=environment)

    assert (options.is_development, options.is_production) == (development, production)
    assert options.environment == environment


NO_DURATIONS = [-1, math.nan, math.inf, True, "5", timedelta(seconds=-1), 10**400]
WRONG = [
    *[(name, value, "a number of seconds, 0 or more") for name in ("shutdown_timeout",) for value in NO_DURATIONS],
    *[("cancellation_timeout", value, "a number of seconds, 0 or more") for value in (-1, None, math.inf)],
    *[(name, 0, "more than 0 seconds, or None") for name in ("startup_timeout", "hang_timeout", "lag_warning")],
    *[(name, -1, "a number of seconds, 0 or more") for name in ("startup_timeout", "hang_timeout", "lag_warning")],
    ("application_name", "", "a str that is not empty"),
    ("application_name", None, "a str that is not empty"),
    ("environment", "  ", "a str that is not empty"),
    ("terminate_on_failure", 1, "true or false"),
    ("terminate_on_failure", "no", "true or false"),
    ("log_level", "LOUD", "one of TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR, CRITICAL"),
    ("log_level", None, "one of TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR, CRITICAL"),
    ("log_level", 10, "one of TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR, CRITICAL"),
    ("log_format", "xml", "one of text, json"),
    ("backend", "curio", "one of asyncio, uvloop, trio"),
    ("dump_signal", "SIGKILL", "one of SIGUSR1, SIGUSR2, SIGQUIT, SIGHUP"),
    ("dump_signal", "SIGTERM", "one of SIGUSR1, SIGUSR2, SIGQUIT, SIGHUP"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_refuses_wrong_values(name: str, value: object, words: str) -> None:
    """A wrong value is refused where it was written, with its name, what is right and what was given."""
    with pytest.raises(ValueError, match=f"^{name} must be ") as caught:
        HostOptions(**{name: value})  # type: ignore[arg-type]

    assert str(caught.value) == f"{name} must be {words}, got {value!r}"


def test_reports_all_wrong_values_together() -> None:
    """One error tells of every wrong value."""
    with pytest.raises(ValueError, match=r"^shutdown_timeout .*") as caught:
        HostOptions(log_format="xml", shutdown_timeout=-1, terminate_on_failure=1)  # type: ignore[arg-type]

    assert str(caught.value).split("; ") == [
        "shutdown_timeout must be a number of seconds, 0 or more, got -1",
        "terminate_on_failure must be true or false, got 1",
        "log_format must be one of text, json, got 'xml'",
    ]


def test_options_are_frozen_and_named() -> None:
    """Options do not change, and are given by name."""
    with pytest.raises(FrozenInstanceError):
        HostOptions().shutdown_timeout = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        HostOptions("app")  # type: ignore[call-arg]


def test_read_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`HostOptions` is complete in code: the environment means nothing to it."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")

    assert HostOptions().shutdown_timeout == 20


def main_module(name: str, *, spec: str | None = None, file: str | None = None) -> ModuleType:
    """Return a main module as `python` makes it."""
    module = ModuleType(name)
    module.__spec__ = None if spec is None else ModuleSpec(spec, None)
    if file is not None:
        module.__file__ = file
    return module


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (main_module("__main__", file="/srv/app/worker.py"), "worker"),
        (main_module("__main__", spec="shop.worker", file="/srv/shop/worker.py"), "shop.worker"),
        (main_module("__main__", spec="shop.__main__", file="/srv/shop/__main__.py"), "shop"),
        (main_module("__main__", file="/srv/shop/__main__.py"), "shop"),
        (main_module("__main__", spec="__main__", file="/srv/shop.pyz/__main__.py"), "shop"),
        (main_module("__main__"), "python"),
        (None, "python"),
    ],
)
def test_the_application_is_named_after_the_program(
    module: ModuleType | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a name the application has the main module's: its file's, or the one after `python -m`."""
    if module is None:
        monkeypatch.delitem(sys.modules, "__main__")
    else:
        monkeypatch.setitem(sys.modules, "__main__", module)

    assert main_module_name() == name
    assert HostOptions().application_name == name


@pytest.mark.parametrize(
    ("file", "maker", "name"),
    [
        ("{bin}/uvicorn", "shop.web", "web"),
        ("{bin}/uvicorn", "shop.__main__", "shop"),
        ("{bin}/uvicorn", "__main__", "uvicorn"),
        ("{bin}/shop", "shop.host", "shop"),
        ("/venv/lib/site-packages/pytest/__main__.py", "test_shop", "test_shop"),
        ("/srv/shop/run.py", "shop.web", "run"),
    ],
)
def test_under_a_server_the_application_is_named_after_the_module_that_makes_the_host(
    file: str, maker: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a server or a test runner the name is not the server's; a command of the app's own keeps its name."""
    program = main_module("__main__", file=file.format(bin=f"{sys.prefix}/bin"))
    monkeypatch.setitem(sys.modules, "__main__", program)
    made: dict[str, object] = {"__name__": maker, "HostOptions": HostOptions}

    exec("options = HostOptions()", made)  # noqa: S102  # in a module of that name

    assert getattr(made["options"], "application_name", None) == name


@pytest.mark.parametrize(("platform", "signal"), [("linux", "SIGUSR1"), ("darwin", "SIGUSR1"), ("win32", None)])
def test_the_dump_signal_is_there_where_the_platform_has_it(
    platform: str, signal: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is printed on SIGUSR1, and on nothing on Windows."""
    monkeypatch.setattr(sys, "platform", platform)

    assert default_dump_signal() == signal
    assert HostOptions().dump_signal == signal


@pytest.mark.parametrize(
    ("variable", "dotenv", "found"),
    [
        (None, None, False),
        ("HOSTKIT_LOG_LEVEL", None, True),
        ("hostkit_log_level", None, True),
        ("HOSTKITTY", None, False),
        (None, "export hostkit_log_level=DEBUG\n", True),
        (None, "OTHER=1\n", False),
        (None, "binary \udcff HOSTKIT_LOG_LEVEL=DEBUG", True),
    ],
)
def test_finds_out_whether_anything_is_set_outside(
    variable: str | None, dotenv: str | None, *, found: bool, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable, in any case, or a line in `.env` is what makes the builder look outside."""
    if variable:
        monkeypatch.setenv(variable, "DEBUG")
    if dotenv:
        (bare / ".env").write_bytes(dotenv.encode(errors="surrogateescape"))

    assert set_outside() is found


def test_a_folder_named_dotenv_says_nothing(bare: Path) -> None:
    """Only a file can say something to the host."""
    (bare / ".env").mkdir()

    assert set_outside() is False
