"""The failures of one lifecycle of a host, and what comes out of it in the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from anyio import get_cancelled_exc_class

from hostkit import HostFailedError, ServiceStuckError, StopTimeoutError
from hostkit._core.failures import Failures
from hostkit._values.exceptions import classify, exit_code_of


@pytest.fixture
def failures() -> Failures:
    """A lifecycle in which nothing has failed."""
    return Failures()


def cancelled() -> BaseException:
    """Return a cancellation, as the event loop raises it."""
    kind = get_cancelled_exc_class()
    return kind.__new__(kind)


def test_nothing_has_failed(failures: Failures) -> None:
    """Without a failure nothing comes out, and the exit code is 0 or the one that was asked for."""
    assert not failures
    assert failures.error() is failures.outcome() is None
    assert (failures.exit_code(None), failures.exit_code(0), failures.exit_code(7)) == (0, 0, 7)


def test_failures_are_kept_as_they_are(failures: Failures) -> None:
    """The group has the failures themselves, in order, each with a note that names its service."""
    first, second, third = OSError("no route"), KeyError("name"), ValueError("bad")
    failures.add(first, "web")
    failures.add(second)
    failures.add(third, "cache")

    error = failures.error()

    assert failures
    assert error is not None
    assert error.exceptions == (first, second, third)
    assert [getattr(failure, "__notes__", None) for failure in error.exceptions] == [
        ["service 'web'"],
        None,
        ["service 'cache'"],
    ]
    assert error.message == "host failed: OSError: no route (service 'web'), and 2 more"


def test_the_words_of_the_group_count_its_members(failures: Failures) -> None:
    """The first cause is told in words, and how many more there are."""
    messages = []
    for word in ("first", "second", "third"):
        failures.add(OSError(word))
        error = failures.error()
        assert error is not None
        messages.append(error.message)

    assert messages == [
        "host failed: OSError: first",
        "host failed: OSError: first, and 1 more",
        "host failed: OSError: first, and 2 more",
    ]


def test_every_reading_is_a_new_group(failures: Failures) -> None:
    """One object that is raised twice would pile up tracebacks."""
    failures.add(OSError("no route"), "web")

    first, second = failures.error(), failures.error()

    assert isinstance(first, HostFailedError)
    assert isinstance(second, HostFailedError)
    assert first is not second
    assert first.exceptions == second.exceptions


def test_one_error_is_noted_once(failures: Failures) -> None:
    """An error that fails a service again is not named twice; that of two services names both."""
    error = OSError("no route")
    failures.add(error, "web")
    failures.add(error, "web")
    failures.add(error, "cache")

    assert error.__notes__ == ["service 'web'", "service 'cache'"]
    assert str(failures.error()).startswith("host failed: OSError: no route (service 'web', service 'cache'), and 2")


def test_an_error_that_names_its_service_is_told_once(failures: Failures) -> None:
    """The words of a failure do not name its service twice; notes of others are not shown."""
    error = StopTimeoutError("web", None)
    error.add_note("a note of somebody else")
    failures.add(error, "web")

    group = failures.error()

    assert group is not None
    assert group.message == "host failed: StopTimeoutError: service 'web' did not stop in time and was cancelled"


def test_a_failure_is_exit_code_1(failures: Failures) -> None:
    """A failure wins over the code that was asked for, and over a service's own exit."""
    failures.add(OSError(), "web")
    failures.exit_request = SystemExit(7)

    assert failures.exit_code(None) == failures.exit_code(0) == failures.exit_code(9) == 1
    assert not failures.abandoned


def test_something_abandoned_is_exit_code_3(failures: Failures) -> None:
    """What was abandoned wins over everything."""
    failures.add(OSError(), "web")
    failures.abandoned = True

    assert failures.exit_code(None) == failures.exit_code(9) == 3


def test_a_stuck_service_is_abandoned(failures: Failures) -> None:
    """A failure that says that something was left behind means just that, whoever tells it."""
    failures.add(ServiceStuckError("web", None), "web")

    assert failures.abandoned
    assert failures.exit_code(None) == 3


def test_a_services_exit_comes_out(failures: Failures) -> None:
    """A `SystemExit` of a service comes out as it is, with the failures of others as its cause."""
    request = failures.exit_request = SystemExit(7)

    assert failures.outcome() is request
    assert request.__cause__ is None
    assert failures.exit_code(None) == 7
    assert failures.exit_code(9) == 9

    failures.add(OSError(), "web")
    assert failures.outcome() is request
    assert isinstance(request.__cause__, HostFailedError)


def test_what_an_exit_was_raised_from_is_kept(failures: Failures) -> None:
    """The cause of a user's own exception is its own, where nothing failed besides; it may be a frozen dataclass."""
    cause = OSError("no route")

    @dataclass(frozen=True)
    class QuitError(SystemExit):
        code: int

    request = failures.exit_request = QuitError(7)
    object.__setattr__(request, "__cause__", cause)

    assert failures.outcome() is request
    assert request.__cause__ is cause

    failures.add(OSError(), "web")
    assert failures.outcome() is request
    assert isinstance(request.__cause__, HostFailedError)


@pytest.mark.parametrize(("asked", "code"), [(255, 255), (256, 0), (-1, 255), (300, 44)])
def test_an_exit_code_is_the_one_that_the_process_will_have(asked: int, code: int) -> None:
    """Of a larger number the system keeps one byte."""
    assert exit_code_of(SystemExit(asked)) == code


def test_failures_come_out_as_a_group(failures: Failures) -> None:
    """Without an exit of a service the failures are what comes out."""
    failures.add(OSError(), "web")

    assert isinstance(failures.outcome(), HostFailedError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(), 0),
        (SystemExit(0), 0),
        (SystemExit(7), 7),
        (SystemExit(1.5), 1),
        (SystemExit("cannot go on"), 1),
        (KeyboardInterrupt(), 130),
        (BaseException(), 1),
    ],
)
def test_exit_codes_are_the_interpreters(error: BaseException, code: int) -> None:
    """An exit is understood as the interpreter does: no code is 0, a text is 1, Ctrl-C is 130."""
    assert exit_code_of(error) == code


async def test_an_error_is_a_failure() -> None:
    """An error, and a group of errors, is a failure as it is."""
    error, group = OSError(), ExceptionGroup("", [OSError(), ValueError()])

    assert classify(error) == (error, None)
    assert classify(group) == (group, None)


async def test_a_cancellation_is_neither() -> None:
    """A cancellation, alone or in a group, is no failure and no exit."""
    error = cancelled()

    assert classify(error) == (None, None)
    assert classify(BaseExceptionGroup("", [error, cancelled()])) == (None, None)


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt(), BaseException()])
async def test_what_is_no_error_is_an_exit(error: BaseException) -> None:
    """`SystemExit`, `KeyboardInterrupt` and the like ask for the exit, alone or as a leaf of a group."""
    assert classify(error) == (None, error)
    assert classify(BaseExceptionGroup("", [cancelled(), error, SystemExit(9)])) == (None, error)
    assert classify(BaseExceptionGroup("", [BaseExceptionGroup("", [error]), cancelled()])) == (None, error)


async def test_a_mixed_group_is_both() -> None:
    """A group of errors, exits and cancellations is a failure without the latter, and the first of the exits."""
    group = BaseExceptionGroup(
        "mixed", [OSError("a"), BaseExceptionGroup("", [cancelled(), ValueError("b"), SystemExit(7)]), SystemExit(9)]
    )

    failure, request = classify(group)

    assert pytest.RaisesGroup(OSError, pytest.RaisesGroup(ValueError)).matches(failure)
    assert isinstance(request, SystemExit)
    assert request.code == 7


class BadGroup(BaseExceptionGroup[BaseException]):
    """A group that cannot be split."""

    def derive(self, excs: Sequence[BaseException]) -> "BadGroup":  # type: ignore[override]  # as users write it
        raise ValueError


async def test_a_group_that_cannot_be_split_is_taken_apart() -> None:
    """Of a group of the user's own kind that refuses to be split, the errors are a failure, with its text."""
    error, request = OSError("a"), SystemExit(7)

    failure, found = classify(BadGroup("mixed", [cancelled(), BadGroup("", [error]), request]))

    assert isinstance(failure, ExceptionGroup)
    assert failure.exceptions == (error,)
    assert failure.message == "BadGroup: mixed (3 sub-exceptions)"
    assert found is request
    assert classify(BadGroup("", [cancelled()])) == (None, None)
