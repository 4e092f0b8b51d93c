"""What can be read off a function that hostkit is to call."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    Parameter,
    isasyncgenfunction,
    iscoroutinefunction,
    isgeneratorfunction,
    signature,
    unwrap,
)
from types import FunctionType, MethodType
from typing import NamedTuple
from weakref import WeakKeyDictionary


class FunctionKind(NamedTuple):
    """How a function has to be called.

    Attributes:
        is_async: Whether what it returns has to be awaited.
        takes_token: Whether its first parameter is named ``stopping_token``.
        makes_coroutine: Whether a call without a token gives a native coroutine.
    """

    is_async: bool
    takes_token: bool
    makes_coroutine: bool


_PLAIN_KINDS = {
    (is_async, takes_token): FunctionKind(is_async, takes_token, is_async and not takes_token)
    for is_async in (False, True)
    for takes_token in (False, True)
}
_NOT_PLAIN = CO_GENERATOR | CO_ASYNC_GENERATOR
# Reading a signature takes longer than running a short job. Weak: a closure may hold on to anything.
_kinds: WeakKeyDictionary[Callable[..., object], FunctionKind] = WeakKeyDictionary()


def kind_of(function: Callable[..., object]) -> FunctionKind:
    """Return how *function* has to be called.

    Raises:
        TypeError: It cannot be called, has a ``yield``, or is a wrapper that hides the kind of what it wraps.
    """
    plain: object = function
    skipped = 0
    if type(function) is MethodType:
        plain, skipped = function.__func__, 1
    if type(plain) is FunctionType and not plain.__dict__:
        # Nothing but its code says what it is; a decorator leaves its mark in the attributes.
        code = plain.__code__
        flags = code.co_flags
        if code.co_argcount > skipped or not code.co_varnames:
            takes_token = code.co_varnames[skipped : skipped + 1] == ("stopping_token",)
            if not flags & _NOT_PLAIN:
                return _PLAIN_KINDS[flags & CO_COROUTINE != 0, takes_token]
    try:
        kind = _kinds.get(function)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return _read_kind(function)
    if kind is None:
        kind = _kinds[function] = _read_kind(function)
    return kind


def _read_kind(function: Callable[..., object]) -> FunctionKind:
    if not callable(function):
        message = f"a job is a function with its arguments, got {function!r}"
        raise TypeError(message)
    if is_generator(function):
        message = f"a job is a function without yield, got {function!r}"
        raise TypeError(message)
    require_honest_wrapper(function)
    with_token = takes_token(function)
    code = getattr(function, "__code__", None)
    native = code is not None and bool(code.co_flags & CO_COROUTINE)
    return FunctionKind(is_async(function), with_token, native and not with_token)


def require_honest_wrapper(function: Callable[..., object]) -> None:
    """Refuse a plain wrapper round an async function that takes the token, or the other way round.

    Its signature promises the token, and which of the two kinds of token that is depends on the function inside.

    Raises:
        TypeError: *function* is such a wrapper.
    """
    outer: object = function
    while isinstance(outer, partial):
        outer = outer.func
    wrapped = unwrap(outer)  # type: ignore[arg-type]  # callable, as a partial of it is
    if wrapped is outer or is_async(wrapped) == is_async(function) or not takes_token(function):
        return
    if is_async(wrapped):
        message = (
            f"{function!r} is a plain function round the async {wrapped!r}, which takes the stopping_token: make the "
            "wrapper async as well (async def, and await the inner function)"
        )
    else:
        message = (
            f"{function!r} is an async function round the blocking {wrapped!r}, which takes the stopping_token: make "
            "the wrapper a plain function as well"
        )
    raise TypeError(message)


def takes_token(function: Callable[..., object]) -> bool:
    """Return whether the first parameter of *function* is named ``stopping_token``."""
    try:
        parameters = signature(function).parameters
    except ValueError:  # a builtin whose parameters are not known
        return False
    return next(iter(parameters), None) == "stopping_token"


def takes_task_status(function: Callable[..., object]) -> bool:
    """Return whether *function* says itself when it is ready, by a keyword-only ``task_status`` as anyio has it."""
    parameter = signature(function).parameters.get("task_status")
    return parameter is not None and parameter.kind is Parameter.KEYWORD_ONLY


def mismatch(function: Callable[..., object], *, token: bool, task_status: bool) -> TypeError | None:
    """Return what would be wrong with a call with nothing but a token and a ``task_status``, or None."""
    extra: dict[str, object] = {"task_status": None} if task_status else {}
    try:
        signature(function).bind(*([None] if token else []), **extra)
    except TypeError as error:
        return error
    return None


def refuse_generator(function: object, name: str) -> None:
    """Refuse a function with a ``yield``.

    Raises:
        TypeError: *function* is one.
    """
    if is_generator(function):
        message = f"{name} must not have a yield: nothing of it would run"
        raise TypeError(message)


def name_of(function: object) -> str:
    """Return a name after *function*: ``log-cleanup`` for ``log_cleanup``; empty if it is called ``_``."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return hyphenated(name if isinstance(name, str) else type(function).__name__)


@lru_cache
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
    # The method itself is wanted, and of a class it is that of its objects.
    return function, None if isinstance(function, type) else getattr(function, "__call__", None)  # noqa: B004
