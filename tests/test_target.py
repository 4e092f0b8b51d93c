"""What a command-line target names, and the host that is made of it."""

import os
import sys
import zipapp
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hostkit import Host, HostBuilder, HostOptions, HostSettings, LoadError
from hostkit._command.target import Target, load, make_host
from hostkit._config.options import WrongSettingsError, main_module_name

HOST = "from hostkit import HostBuilder, HostOptions\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is loaded from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/bin"})
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = sys.modules.copy()
    yield tmp_path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


def write(path: str, *lines: str) -> None:
    """Write a file below the working directory."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "target",
    [
        "app.py",
        "./app.py",
        "app.py:host",
        "app",
        "app:host",
        "shop/web.py",
        "shop.web",
        "shop.web:host",
        "shop/web.py:host",
    ],
)
def test_finds_a_target_by_file_or_module(target: str) -> None:
    """A target is a file or a module, with a name in it or without."""
    write("app.py", "host = 'found'", "other = 'other'")
    write("shop/__init__.py")
    write("shop/web.py", "host = 'found'")

    assert load(target).value == "found"


def test_an_absolute_path_is_a_target(folder: Path) -> None:
    """A file may lie anywhere."""
    write("shop/web.py", "host = 'found'")

    assert load(str(folder / "shop" / "web.py")) == Target("found", "web", str(folder / "shop" / "web.py"))


def test_finds_a_target_by_name() -> None:
    """The name behind the colon is taken whatever else there is."""
    write("app.py", "host = 'host'", "other = 'other'")

    assert load("app.py:other") == Target("other", "app", "app.py:other")
    assert load("app:other") == Target("other", "app", "app:other")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["build = 3", "builder = 2", "host = 1"], 1),
        (["build = 3", "builder = 2"], 2),
        (["build = 3"], 3),
    ],
)
def test_the_name_has_defaults(lines: list[str], found: int) -> None:
    """Without a name `host` is taken, then `builder`, then `build`."""
    write("app.py", *lines)

    assert load("app").value == found


def test_a_file_sees_what_stands_beside_it() -> None:
    """A file is run as Python runs a script: the modules beside it can be imported, and it is one itself."""
    write(
        "shop/web.py", "import parts", "import sys", "host = parts.host", "assert sys.modules[__name__].parts is parts"
    )
    write("shop/parts.py", "host = 'found'")

    assert load("shop/web.py").value == "found"


def test_what_stands_beside_a_target_comes_first(folder: Path) -> None:
    """What stands beside a file, or in the working directory for a module, is found before anything else."""
    write("shop/web.py", "import sys", "host = sys.path[0]")
    write("app.py", "import sys", "host = sys.path[0]")

    assert load("shop/web.py").value == str(folder / "shop")
    assert load("app").value == str(folder)


MAIN = (HOST, "from hostkit import HostBuilder", "host = HostBuilder(HostOptions(log_level='ERROR')).build()")


def test_a_package_with_a_main_is_a_target() -> None:
    """What `python -m package` runs is found by the package's name and by its file, and named after the package."""
    write("shop/__init__.py")
    write("shop/parts.py", "found = 1")
    write("shop/__main__.py", "from . import parts", *MAIN)

    for target in ("shop", "shop.__main__", "shop/__main__.py"):
        loaded = load(target)
        host = make_host(loaded, (), "hostkit")
        assert (loaded.module, host.options.application_name) == ("shop", "shop")


def test_a_folder_with_a_main_is_a_target() -> None:
    """A file `__main__.py` that is in no package is named after its folder, and is not this process's main module."""
    write("app/__main__.py", *MAIN, "import sys; assert sys.modules['__main__'].__dict__ is not globals()")

    assert make_host(load("app/__main__.py"), (), "hostkit").options.application_name == "app"


def test_a_zip_application_is_a_target() -> None:
    """A zip application is run as Python runs it: what lies in it can be imported."""
    write("app/__main__.py", "import parts", *MAIN)
    write("app/parts.py", "found = 1")
    zipapp.create_archive("app", "app.pyz")

    assert make_host(load("app.pyz"), (), "hostkit").options.application_name == "app"


def test_a_given_name_of_the_application_stays() -> None:
    """A name that was given in code is not replaced by that of the target, even if it is the program's own."""
    host = HostBuilder(HostOptions(application_name=main_module_name() + "", log_level="ERROR")).build()

    assert make_host(Target(host, "shop.web"), (), "hostkit").options.application_name == main_module_name()


def test_a_file_does_not_take_the_place_of_a_module() -> None:
    """A file that is called like a module in use would break what uses that."""
    write("logging.py", "host = 1")

    assert complaint("logging.py") == (
        "'logging.py' would stand for the module 'logging', which is in use; give the file another name"
    )


def test_a_working_directory_that_is_gone_is_named(folder: Path) -> None:
    """Without a working directory no module can be found in it."""
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()

    assert complaint("app") == "the working directory is gone: change to one that exists"
    assert complaint("app.py") == "no such file: 'app.py'"
    os.chdir(folder)


def complaint(target: str) -> str:
    """Return why *target* cannot be loaded."""
    with pytest.raises(LoadError) as caught:
        load(target)
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.py", "no such file: 'nowhere.py'"),
        ("shop/nowhere.py:host", "no such file: 'shop/nowhere.py'"),
        ("shop", "'shop' has no host or builder or build"),
        ("shop/", "no such file: 'shop'"),
        ("shop/notes", "not a Python file: 'shop/notes'; its name must end in .py"),
        ("nowhere", "no such module: 'nowhere'"),
        ("shop.nowhere:host", "no such module: 'shop.nowhere'"),
        ("app.nowhere", "no such module: 'app.nowhere'"),
        ("app:nowhere", "'app' has no nowhere"),
        ("app.py:nowhere", "'app.py' has no nowhere"),
        ("app.py", "'app.py' has no host or builder or build"),
        ("app:", "no such module: 'app:'"),
        ("app:a.b", "no such module: 'app:a.b'"),
        ("shop..web", "not a module's name: 'shop..web'"),
        ("__main__", "not a module's name: '__main__'"),
        ("shop\0", "not a module's name: 'shop\\x00'"),
        ("a\0.py", "no such file: 'a\\x00.py'"),
        ("shop/notes.pyz", "not a zip application: "),
        ("", "not a module's name: ''"),
        (":host", "not a module's name: ''"),
        (".app", "not a module's name: '.app'"),
        ("..", "not a module's name: '..'"),
    ],
)
def test_says_what_is_not_there(target: str, words: str) -> None:
    """No such file, module or name: one clear line."""
    write("app.py", "other = 1")
    write("shop/__init__.py")
    write("shop/notes", "host = 1")
    write("shop/notes.pyz", "host = 1")

    assert complaint(target).startswith(words)


@pytest.mark.parametrize("target", ["app", "app.py", "shop.web"])
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("import nowhere", ModuleNotFoundError),
        ("from shop.nowhere import x", ModuleNotFoundError),
        ("int('x')", ValueError),
        ("int([])", TypeError),
        ("raise OSError", OSError),
    ],
)
def test_an_error_inside_the_module_is_shown_as_it_is(target: str, line: str, error: type[Exception]) -> None:
    """What goes wrong inside the user's code comes out as it is, a module that is missing there too."""
    write("app.py", line)
    write("shop/__init__.py")
    write("shop/web.py", line)

    with pytest.raises(error) as caught:
        load(target)

    assert not isinstance(caught.value, LoadError)
    files = {Path(entry.path).name for entry in caught.traceback}
    assert files & {"app.py", "web.py"}


def test_wrong_settings_at_import_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder that a module makes at import refuses wrong settings, for files and modules alike."""
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")
    write("app.py", "from hostkit import HostBuilder", "builder = HostBuilder()")

    for target in ("app", "app.py"):
        with pytest.raises(WrongSettingsError, match="HOSTKIT_LOG_FORMAT=xml"):
            load(target)


def make(value: object, *flags: str, module: str | None = None) -> Host:
    """Make a host of *value*."""
    return make_host(Target(value, module), flags, "hostkit run app")


def builder() -> HostBuilder:
    """Return a builder with options of its own."""
    return HostBuilder(HostOptions(application_name="app", shutdown_timeout=7, log_level="ERROR"))


def test_a_host_is_a_host() -> None:
    """A host, a builder, and a function, partial or object that returns either, make a host."""
    host = builder().build()

    class Factory:
        def __call__(self) -> HostBuilder:
            return builder()

    assert make(host) is host
    assert make(lambda: host) is host
    for value in (builder(), builder, partial(builder), Factory(), Factory().__call__):
        assert make(value).options.shutdown_timeout == 7


@pytest.mark.parametrize("value", [None, 42, "host", int, HostBuilder, lambda: None, lambda: 42])
def test_says_what_is_not_a_host(value: object) -> None:
    """What is no host is shown, with what is right."""
    with pytest.raises(
        LoadError, match=r"^not a host: .*; give a Host, a HostBuilder, or a function that returns either$"
    ):
        make(value)


async def async_build() -> Host:
    """Be async, by mistake."""
    return builder().build()


def unannotated(settings) -> Host:  # type: ignore[no-untyped-def]  # noqa: ANN001  # that is the mistake
    """Take settings of no type."""
    return builder().build()


def misannotated(settings: int) -> Host:
    """Take no settings."""
    return builder().build()


def generic(settings: list[HostSettings]) -> Host:
    """Take several settings."""
    return builder().build()


def two(settings: HostSettings, more: HostSettings) -> Host:
    """Take two settings."""
    return builder().build()


@pytest.mark.parametrize("function", [unannotated, misannotated, generic, two, partial(two)])
def test_a_function_takes_nothing_or_settings(function: object) -> None:
    """A target that is a function has no parameter, or one for the settings."""
    with pytest.raises(LoadError) as caught:
        make(function)

    name = getattr(function, "__name__", repr(function))
    assert str(caught.value) == (
        f"{name}() must take no parameter, or one that is annotated with HostSettings or a subclass of it"
    )


@pytest.mark.parametrize("function", [async_build, partial(async_build)])
def test_a_function_is_synchronous(function: object) -> None:
    """A target that is an async function is refused."""
    with pytest.raises(LoadError, match=r"\(\) is an async function; a target is made by a plain one$"):
        make(function)


def test_what_a_function_raises_comes_out() -> None:
    """An error of the user's function is the user's."""

    def fail() -> Host:
        message = "no route"
        raise OSError(message)

    with pytest.raises(OSError, match="no route"):
        make(fail)


def test_a_builder_that_was_used_is_refused() -> None:
    """A builder makes one host, here too."""
    used = builder()
    used.build()

    with pytest.raises(LoadError, match="a builder that was built already"):
        make(used)


class ShopSettings(HostSettings):
    """Settings of a program, on top of the host's."""

    directory: str = "data"
    dry_run: bool = False


def test_a_function_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with one annotated parameter gets those settings: their fields are the flags, and flags win."""
    seen: list[ShopSettings] = []
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    monkeypatch.setenv("HOSTKIT_LAG_WARNING", "4")
    monkeypatch.setenv("DIRECTORY", "wrong")

    def build(settings: "ShopSettings") -> Host:
        seen.append(settings)
        return HostBuilder(settings).build()

    host = make(build, "--directory", "logs", "--dry-run", "--shutdown-timeout", "5")

    (settings,) = seen
    assert (settings.directory, settings.dry_run) == ("logs", True)
    assert (host.options.shutdown_timeout, host.options.lag_warning) == (5, 4)


def test_only_the_settings_have_to_be_known_at_run_time() -> None:
    """Annotations may be texts, also under a decorator, and those of no account may name what is not there."""
    write(
        "tracing.py",
        "from functools import wraps",
        "def traced(function): return wraps(function)(lambda *args: function(*args))",
    )
    write(
        "app.py",
        "from __future__ import annotations",
        "from functools import partial",
        "from tracing import traced",
        "from hostkit import HostBuilder, HostSettings",
        "def build(settings: HostSettings) -> Host: return HostBuilder(settings)",
        "def named(*, settings: HostSettings) -> Host: return HostBuilder(settings)",
        "wrapped = traced(build)",
        "class Factory:",
        "    def __call__(self, settings: HostSettings) -> Host: return HostBuilder(settings)",
        "factory, bound, part = Factory(), Factory().__call__, partial(build)",
        "def unknown(settings: ShopSettings) -> Host: return HostBuilder(settings)",
    )

    for name in ("build", "named", "wrapped", "factory", "bound", "part"):
        host = make_host(load(f"app:{name}"), ["--shutdown-timeout", "5"], "app")

        assert host.options.shutdown_timeout == 5
    with pytest.raises(LoadError, match=r"^unknown\(\) must take no parameter, or one that is annotated with "):
        make_host(load("app:unknown"), [], "app")


def test_a_bound_function_gets_its_settings() -> None:
    """Methods, partials and callable objects get settings too."""

    class Factory:
        def __call__(self, settings: ShopSettings) -> Host:
            return HostBuilder(settings).build()

    def build(size: int, settings: ShopSettings) -> HostBuilder:
        return HostBuilder(settings)

    for function in (Factory(), Factory().__call__, partial(build, 3)):
        assert make(function, "--shutdown-timeout", "5").options.shutdown_timeout == 5


def test_plain_host_settings_are_settings() -> None:
    """A function may take `HostSettings` itself."""
    assert make(build_settled, "--shutdown-timeout", "5").options.shutdown_timeout == 5


def test_flags_reach_a_host_that_was_built_at_import() -> None:
    """Flags win over what code has said, and change nothing else."""
    for value in (builder().build(), builder(), builder):
        options = make(value, "--shutdown-timeout", "5", "--startup-timeout", "none").options

        assert options == HostOptions(
            application_name="app", shutdown_timeout=5, startup_timeout=None, log_level="ERROR"
        )


def build_settled(settings: HostSettings) -> HostBuilder:
    """Take the settings as options."""
    return HostBuilder(settings)


@pytest.mark.parametrize("target", [builder, build_settled, partial(builder)])
def test_wrong_flags_are_refused(target: object) -> None:
    """Wrong flags are named, whatever the target is."""
    with pytest.raises(WrongSettingsError) as caught:
        make(target, "--shutdown-timeout", "-1", "--log-format", "xml")

    assert str(caught.value).splitlines() == [
        "--shutdown-timeout -1: must be a number of seconds, 0 or more",
        "--log-format xml: must be one of text, json",
    ]
    with pytest.raises(WrongSettingsError, match="unrecognized arguments: --directory"):
        make(target, "--directory", "logs")


def test_the_application_is_named_after_the_module() -> None:
    """A host without a name of its own has that of its module, not that of the command that loads it."""

    def nameless() -> HostBuilder:
        return HostBuilder(HostOptions())

    assert make(nameless, module="shop.web").options.application_name == "web"
    assert make(build_settled, module="shop").options.application_name == "shop"
    assert make(nameless).options.application_name == main_module_name()
    assert make(builder, module="shop.web").options.application_name == "app"
    assert make(build_settled, "--application-name", "x", module="shop").options.application_name == "x"
    assert make(nameless, "--application-name", "x", module="shop").options.application_name == "x"


def test_a_path_is_taken_as_the_system_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dots after a symbolic link lead to where the link points, not to where it lies."""
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "far" / "beyond_the_link.py").write_text("host = 'found'")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inner")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])

    target = load("link/../beyond_the_link.py")

    assert target.value == "found"
    del sys.modules["beyond_the_link"]
