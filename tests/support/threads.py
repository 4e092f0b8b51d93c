"""Calls from other threads, for tests of what may be called from any."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def on_a_thread(function: Callable[[], T]) -> T:
    """Return what *function* returns on another thread, or raise what it raises; the loop has no turn until then."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
