"""What is read off a function."""

from collections.abc import Iterator
from functools import partial

import pytest

from hostkit._values.functions import hyphenated, is_async, is_generator, name_of, takes_token


class LogCleanup:
    def __call__(self) -> None: ...


class Nameless(LogCleanup):
    __name__ = None


def log_cleanup() -> None:
    """Give a name."""


def _() -> None:
    """Give none."""


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (log_cleanup, "log-cleanup"),
        (partial(partial(log_cleanup)), "log-cleanup"),
        (LogCleanup, "log-cleanup"),
        (LogCleanup(), "log-cleanup"),
        (Nameless(), "nameless"),
        (lambda: None, "lambda"),
        (_, ""),
    ],
)
def test_a_name_is_made_of_a_function_s(function: object, name: str) -> None:
    """A function, a partial of one, a class or a callable object gives a name."""
    assert name_of(function) == name


def test_a_class_is_called_as_a_class() -> None:
    """An async ``__call__`` is that of the objects of a class, and not what a call of the class does."""

    class Task:
        async def __call__(self) -> None: ...

    class Numbers:
        def __call__(self) -> Iterator[int]:
            yield 1

    assert is_async(Task())
    assert not is_async(Task)
    assert is_generator(partial(Numbers()))
    assert not is_generator(partial(Numbers))


def test_a_builtin_may_keep_its_parameters_to_itself() -> None:
    """A builtin without a signature takes no token."""
    assert not takes_token(dict.fromkeys)
    assert not takes_token(vars)


@pytest.mark.parametrize(
    ("words", "name"), [("HTTPServer2", "http-server2"), ("Tagebuch_Öffner", "tagebuch-öffner"), ("__", "")]
)
def test_words_are_hyphenated(words: str, name: str) -> None:
    """Words in capitals and with underscores become words with hyphens."""
    assert hyphenated(words) == name
