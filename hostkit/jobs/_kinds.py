"""How a job's function has to be called, found out once for each function."""

from collections.abc import Callable, MutableMapping
from inspect import CO_COROUTINE
from types import FunctionType, MethodType
from typing import NamedTuple
from weakref import WeakKeyDictionary

from hostkit._values.functions import is_async, is_generator, takes_token


class Kind(NamedTuple):
    """How a function has to be called."""

    asynchronous: bool
    takes_token: bool
    quick: bool
    """Whether a call with nothing but the job's arguments gives a coroutine: what nearly all jobs are."""


# Reading a signature takes longer than running a short job.
KINDS: dict[object, Kind] = {}
"""Of functions that live as long as their module: to look in here first is a little quicker than to call `kind_of`."""
# Of those that come and go, and would be kept from going. A method is a new object at each access, its function not.
_functions: WeakKeyDictionary[FunctionType, Kind] = WeakKeyDictionary()
_methods: WeakKeyDictionary[FunctionType, Kind] = WeakKeyDictionary()


def kind_of(function: Callable[..., object]) -> Kind:
    """Return how *function* has to be called.

    Raises:
        TypeError: It cannot be called, or has a ``yield``.
    """
    known: MutableMapping[FunctionType, Kind] | dict[object, Kind] = _functions
    key: object = function
    if type(function) is MethodType:
        known, key = _methods, function.__func__
    if type(key) is not FunctionType:
        return _read(function)
    if known is _functions and "<locals>" not in key.__qualname__:
        known = KINDS
    kind = known.get(key)
    if kind is None:
        kind = known[key] = _read(function)
    return kind


def _read(function: object) -> Kind:
    if not callable(function):
        message = f"a job is a function with its arguments, got {function!r}"
        raise TypeError(message)
    if is_generator(function):
        message = f"a job is a function without yield, got {function!r}"
        raise TypeError(message)
    with_token = takes_token(function)
    code = getattr(function, "__code__", None)
    makes_coroutine = code is not None and bool(code.co_flags & CO_COROUTINE)
    return Kind(is_async(function), with_token, makes_coroutine and not with_token)
