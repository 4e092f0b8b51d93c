"""What can be read off a function that hostkit is to call."""

import re
from collections.abc import Callable
from functools import partial
from inspect import signature


def takes_token(function: Callable[..., object]) -> bool:
    """Return whether the first parameter of *function* is named ``stopping_token``."""
    return next(iter(signature(function).parameters), None) == "stopping_token"


def name_of(function: object) -> str:
    """Return a name after *function*: ``log-cleanup`` for ``log_cleanup``; empty if it is called ``_``."""
    while isinstance(function, partial):
        function = function.func
    return hyphenated(getattr(function, "__name__", type(function).__name__))


def hyphenated(words: str) -> str:
    """Return ``log-cleanup`` for ``LogCleanup`` and ``log_cleanup``."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+", "-", words)
    return parts.strip("-").lower()
