"""What can be read off a function that hostkit is to call."""

import re
from collections.abc import Callable
from functools import partial
from inspect import signature


def takes_token(function: Callable[..., object]) -> bool:
    """Return whether the first parameter of *function* is named ``stopping_token``."""
    return next(iter(signature(function).parameters), None) == "stopping_token"


def name_of(function: object) -> str:
    """Return a name after *function*: ``log-cleanup`` for ``LogCleanup`` and ``log_cleanup``."""
    while isinstance(function, partial):
        function = function.func
    words = getattr(function, "__name__", type(function).__name__)
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^0-9A-Za-z]+", "-", words)
    return parts.strip("-").lower()
