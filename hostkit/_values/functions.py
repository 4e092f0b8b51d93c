"""What can be read off a function that hostkit is to call."""

import re
from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature


def takes_token(function: Callable[..., object]) -> bool:
    """Return whether the first parameter of *function* is named ``stopping_token``."""
    try:
        parameters = signature(function).parameters
    except ValueError:  # a builtin that does not tell its parameters
        return False
    return next(iter(parameters), None) == "stopping_token"


def name_of(function: object) -> str:
    """Return a name after *function*: ``log-cleanup`` for ``log_cleanup``; empty if it is called ``_``."""
    while isinstance(function, partial):
        function = function.func
    return hyphenated(getattr(function, "__name__", type(function).__name__))


def hyphenated(words: str) -> str:
    """Return ``log-cleanup`` for ``LogCleanup`` and ``log_cleanup``."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+", "-", words)
    return parts.strip("-").lower()


def require_sync(callback: object, taker: str) -> None:
    """Refuse what is no synchronous callback, at the line that gave it.

    Raises:
        TypeError: *callback* cannot be called, or is an async function or a generator.
    """
    if not callable(callback):
        message = f"{taker} takes a function, got {callback!r}"
        raise TypeError(message)
    if is_async(callback):
        message = f"{taker} takes a synchronous function, got the async {callback!r}"
        raise TypeError(message)
    if is_generator(callback):
        message = f"{taker} takes a function, got {callback!r}, which has a yield"
        raise TypeError(message)


def is_async(function: object) -> bool:
    """Return whether calling *function* gives a coroutine; partials and callable objects are looked through."""
    return any(map(iscoroutinefunction, _called(function)))


def is_generator(function: object) -> bool:
    """Return whether calling *function* runs nothing of it, as it has a ``yield``."""
    called = _called(function)
    return any(map(isgeneratorfunction, called)) or any(map(isasyncgenfunction, called))


def _called(function: object) -> tuple[object, object]:
    while isinstance(function, partial):
        function = function.func
    return function, getattr(function, "__call__", None)  # noqa: B004  # the method itself is wanted
