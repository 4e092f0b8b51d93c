"""Finds what a command-line target names, and makes a host of it."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, signature, unwrap
from types import ModuleType, SimpleNamespace
from typing import get_type_hints
from zipimport import ZipImportError, zipimporter

from hostkit import Host, HostBuilder
from hostkit._config.options import FoundName
from hostkit._config.outside import asks_for_help, help_text, read_flags
from hostkit._core.host import runner_of
from hostkit._values.errors import HostStateError, LoadError
from hostkit._values.frozen import Value
from hostkit._values.functions import is_async
from hostkit._values.text import printable, repr_of

DEFAULT_NAMES = ("host", "builder", "build")
MAIN = "__main__"


@dataclass(frozen=True, eq=False, repr=False)
class Target(Value):
    """What is to be run.

    Attributes:
        value: A host, a builder, or a function that returns either.
        module: The name of the module that it was found in, for the application's name.
        name: What was said, to name it in an error; None for an object in hand.
    """

    value: object
    module: str | None
    name: str | None = None


def load(name: str) -> Target:
    """Return what the target *name* stands for: ``package.module[:name]`` or ``path/to/file.py[:name]``.

    The file may also be a zip application, and the module a package with a ``__main__``.

    Raises:
        LoadError: There is no such file, module or name. A module that is missing inside the target's own code comes
            out as the `ModuleNotFoundError` that it is.
    """
    place, attribute = _split(name)
    if place.endswith((".py", ".pyz")) or os.sep in place:
        module = _load_file(place)
    else:
        module = _load_module(place)
        if attribute is None and _default(module) is None and hasattr(module, "__path__"):
            module = _import(f"{place}.{MAIN}") or module  # what `python -m` would run
    return Target(_pick(module, attribute, place), module.__name__.removesuffix(f".{MAIN}"), name)


def make_host(target: Target, arguments: Sequence[str], program: str) -> Host:
    """Make a host of *target*, with *arguments* as flags.

    Raises:
        LoadError: It is none of what can be run.
        WrongSettingsError: Flags or settings are wrong.
    """
    value = target.value
    if callable(value) and not isinstance(value, (Host, HostBuilder, type)):
        value, arguments = _call(value, arguments, program)
    if isinstance(value, HostBuilder):
        try:
            value = value.build()
        except HostStateError:
            message = "not a host, but a builder that was built already; give the host that it has made"
            raise LoadError(message) from None
    if not isinstance(value, Host):
        what = "not a host" if target.name is None else f"{target.name!r} is not a host"
        message = f"{what}: {printable(repr_of(value))}; give a Host, a HostBuilder, or a function that returns either"
        raise LoadError(message)
    runner = runner_of(value)
    if target.module is not None and isinstance(runner.options.application_name, FoundName):
        runner.lifetime.options = replace(runner.options, application_name=target.module.rpartition(".")[2])
    if asks_for_help(arguments):
        sys.stdout.write(help_text(program, (), runner.options))
        raise SystemExit(0)
    # Flags reach a host that was built at import, too.
    runner.lifetime.options = read_flags(runner.options, arguments)
    return value


def _split(name: str) -> tuple[str, str | None]:
    place, colon, attribute = name.rpartition(":")
    if colon and attribute.isidentifier():
        return place, attribute
    return name, None


def _load_file(path: str) -> ModuleType:
    if "\0" in path or not os.path.isfile(path):
        message = f"no such file: {os.path.normpath(path)!r}"
        raise LoadError(message)
    folder, base = os.path.split(os.path.abspath(path))
    name = os.path.splitext(base)[0]
    if path.endswith(".pyz"):
        return _load_zip(os.path.realpath(path), name)
    if name == MAIN:
        # As `python -m` would run it, or `python folder`: it is not the main module of this process.
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            sys.path.insert(0, os.path.dirname(folder))
            return importlib.import_module(f"{os.path.basename(folder)}.{MAIN}")
        name = os.path.basename(folder)
    # As python itself does for a script: what stands beside it can be imported.
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = f"not a Python file: {path!r}; its name must end in .py"
        raise LoadError(message)
    module = importlib.util.module_from_spec(spec)
    _register(module, path)
    spec.loader.exec_module(module)
    return module


def _load_zip(path: str, name: str) -> ModuleType:
    try:
        code = zipimporter(path).get_code(MAIN)
    except ZipImportError:
        message = f"not a zip application: {path!r}; it must be a zip file with a {MAIN}.py"
        raise LoadError(message) from None
    sys.path.insert(0, path)
    module = ModuleType(name)
    module.__file__ = os.path.join(path, f"{MAIN}.py")
    _register(module, path)
    exec(code, vars(module))  # noqa: S102  # what the interpreter itself does with it
    return module


def _register(module: ModuleType, path: str) -> None:
    name = module.__name__
    other = sys.modules.get(name)
    file = None if other is None else getattr(other, "__file__", None)
    if other is not None and (file is None or os.path.realpath(file) != os.path.realpath(module.__file__ or "")):
        message = f"{path!r} would stand for the module {name!r}, which is in use; give the file another name"
        raise LoadError(message)
    sys.modules[name] = module


def _load_module(name: str) -> ModuleType:
    # Looked at here: a TypeError or ValueError of the import may be one of the module's own.
    if not all(name.split(".")) or "\0" in name or name == MAIN:
        message = f"not a module's name: {name!r}"
        raise LoadError(message)
    try:
        sys.path.insert(0, os.getcwd())
    except FileNotFoundError:
        message = "the working directory is gone: change to one that exists"
        raise LoadError(message) from None
    module = _import(name)
    if module is None:
        message = f"no such module: {name!r}"
        raise LoadError(message)
    return module


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


def _default(module: ModuleType) -> object | None:
    return next((getattr(module, name) for name in DEFAULT_NAMES if hasattr(module, name)), None)


def _pick(module: ModuleType, attribute: str | None, place: str) -> object:
    for name in DEFAULT_NAMES if attribute is None else (attribute,):
        if hasattr(module, name):
            return getattr(module, name)
    wanted = attribute or " or ".join(DEFAULT_NAMES)
    message = f"{printable(repr(place))} has no {wanted}"
    raise LoadError(message)


def _call(function: Callable[..., object], arguments: Sequence[str], program: str) -> tuple[object, Sequence[str]]:
    """Call *function*; return what it returns, and the arguments that are still to be read."""
    name = getattr(function, "__name__", repr(function))
    if is_async(function):
        message = f"{name}() is an async function; a target is made by a plain one"
        raise LoadError(message)
    parameters = list(signature(function).parameters.values())
    if not parameters:
        return function(), arguments
    from hostkit._config.settings import HostSettings, parse

    kind = _resolve(parameters[0].annotation, function)
    if len(parameters) != 1 or not isinstance(kind, type) or not issubclass(kind, HostSettings):
        message = f"{name}() must take no parameter, or one that is annotated with HostSettings or a subclass of it"
        raise LoadError(message)
    settings, by_name = parse(kind, arguments, program), parameters[0].kind is Parameter.KEYWORD_ONLY
    return (function(**{parameters[0].name: settings}) if by_name else function(settings)), ()


def _resolve(annotation: object, function: Callable[..., object]) -> object:
    """Return what a parameter's annotation stands for, or None if it stands for nothing."""
    if not isinstance(annotation, str):
        return annotation
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    called = function if hasattr(function, "__globals__") else getattr(function, "__call__", None)  # noqa: B004
    # This one alone: the others may name what only the type checker knows.
    stand_in = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(stand_in, getattr(called, "__globals__", {}))["it"]
    except NameError:
        return None
