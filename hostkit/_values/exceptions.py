"""What an exception means: a failure, a request to exit, or nothing but a cancellation."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import anyio

from hostkit._values.text import text_of

INTERRUPT_EXIT_CODE = 130


def classify(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """Return what *error* means: a failure, and a request to exit; neither if it is nothing but a cancellation.

    `SystemExit` and `KeyboardInterrupt` cannot stand in an `ExceptionGroup`, so they are taken out of groups.
    """
    if isinstance(error, Exception):
        return error, None
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return None, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    neither = (Exception, anyio.get_cancelled_exc_class())
    exits = (leaf for leaf in leaves(error) if not isinstance(leaf, neither))
    failure: Any = part_of(error, lambda inner: isinstance(inner, Exception))
    return failure, next(exits, None)


def part_of(
    group: BaseExceptionGroup[BaseException], is_wanted: Callable[[BaseException], bool]
) -> BaseExceptionGroup[BaseException] | None:
    """Return *group* with those errors alone that are wanted, None if none is; groups in it are asked about as well."""
    try:
        return group.subgroup(is_wanted)
    except Exception:  # noqa: BLE001  # a group of the user's own kind, which cannot be split
        wanted = [leaf for leaf in leaves(group) if is_wanted(leaf)]
        return BaseExceptionGroup(text_of(group), wanted) if wanted else None


def has_cancellation(error: BaseException) -> bool:
    """Return whether *error* is a cancellation, or a group with one in it; in the event loop only."""
    cancelled = anyio.get_cancelled_exc_class()
    return any(isinstance(leaf, cancelled) for leaf in leaves(error))  # a group of the user's may refuse `subgroup`


def sees_cancellation() -> bool:
    """Return whether this task is being cancelled by a scope round it."""
    return anyio.current_effective_deadline() == -math.inf


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, or what is in it if it is a group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that *error* asks for, as the interpreter would understand it."""
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        return error.code & 0xFF if isinstance(error.code, int) else 1  # POSIX keeps no more of it
    return INTERRUPT_EXIT_CODE if isinstance(error, KeyboardInterrupt) else 1
