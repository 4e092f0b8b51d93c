"""Finds what a command-line target names, and makes a host of it."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from types import ModuleType, SimpleNamespace
from typing import get_type_hints

from hostkit import Host, HostBuilder
from hostkit._config.options import main_module_name
from hostkit._values.errors import HostStateError, LoadError
from hostkit._values.frozen import Value
from hostkit._values.functions import is_async

DEFAULT_NAMES = ("host", "builder", "build")


@dataclass(frozen=True, eq=False, repr=False)
class Target(Value):
    """What is to be run.

    Attributes:
        value: A host, a builder, or a function that returns either.
        module: The name of the module that it was found in, for the application's name.
    """

    value: object
    module: str | None


def load(name: str) -> Target:
    """Return what the target *name* stands for: ``package.module[:name]`` or ``path/to/file.py[:name]``.

    Raises:
        LoadError: There is no such file, module or name. A module that is missing inside the target's own code comes
            out as the `ModuleNotFoundError` that it is.
    """
    place, attribute = _split(name)
    module = _load_file(place) if place.endswith(".py") or os.sep in place else _load_module(place)
    return Target(_pick(module, attribute, place), module.__name__)


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
        message = f"not a host: {value!r}; give a Host, a HostBuilder, or a function that returns either"
        raise LoadError(message)
    options = value.options
    if target.module is not None and options.application_name == main_module_name():
        options = replace(options, application_name=target.module.rpartition(".")[2])
    if arguments:
        from hostkit._config.settings import read_flags

        options = read_flags(options, arguments, program)
    value._options = options  # flags reach a host that was built at import, too
    return value


def _split(name: str) -> tuple[str, str | None]:
    place, colon, attribute = name.rpartition(":")
    if colon and attribute.isidentifier():
        return place, attribute
    return name, None


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        message = f"no such file: {os.path.normpath(path)!r}"
        raise LoadError(message)
    # As python itself does for a script: what stands beside it can be imported.
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = f"not a Python file: {path!r}; its name must end in .py"
        raise LoadError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    # Looked at here: a TypeError or ValueError of the import may be one of the module's own.
    if not name or name.startswith("."):
        message = f"not a module's name: {name!r}"
        raise LoadError(message)
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            message = f"no such module: {name!r}"
            raise LoadError(message) from None
        raise


def _pick(module: ModuleType, attribute: str | None, place: str) -> object:
    for name in DEFAULT_NAMES if attribute is None else (attribute,):
        if hasattr(module, name):
            return getattr(module, name)
    wanted = attribute or " or ".join(DEFAULT_NAMES)
    message = f"{place!r} has no {wanted}"
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
    return function(parse(kind, arguments, program)), ()


def _resolve(annotation: object, function: object) -> object:
    """Return what a parameter's annotation stands for, or None if it stands for nothing."""
    if not isinstance(annotation, str):
        return annotation
    while isinstance(function, partial):
        function = function.func
    called = function if hasattr(function, "__globals__") else getattr(function, "__call__", None)  # noqa: B004
    # This one alone: the others may name what only the type checker knows.
    stand_in = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(stand_in, getattr(called, "__globals__", {}))["it"]
    except NameError:
        return None
