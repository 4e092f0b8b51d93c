"""What hostkit raises of its own."""

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest

import hostkit
from hostkit import (
    HostFailedError,
    HostkitError,
    RestartLimitError,
    ServiceCancelledError,
    ServiceStuckError,
    StartupTimeoutError,
    StopTimeoutError,
)
from hostkit.jobs import JobState, JobStateError, QueueClosedError, QueueFullError, RetryAfterError


def through_pickle(error: HostkitError) -> HostkitError:
    """Return a copy, as another process would get it."""
    copied: HostkitError = pickle.loads(pickle.dumps(error))  # noqa: S301  # its own
    return copied


def test_the_tree_is_flat() -> None:
    """Every error derives directly from `HostkitError`, and nothing from another error of hostkit."""
    errors = [value for name in hostkit.__all__ if name.endswith("Error") for value in [getattr(hostkit, name)]]

    assert len(errors) == 9
    assert all(inspect.isclass(error) and issubclass(error, HostkitError) for error in errors)
    assert all(HostkitError in error.__bases__ for error in errors if error is not HostkitError)


@pytest.mark.parametrize(
    "error",
    [
        StartupTimeoutError(["database", "web"], 2.5),
        StopTimeoutError("web", "app.py:3 in serve"),
        RestartLimitError("web", 6),
        HostFailedError("host failed", [OSError(2, "gone")]),
        RetryAfterError(30),
        QueueFullError(7),
        QueueClosedError("mail"),
        JobStateError("mail", JobState.RUNNING, "it has no result"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("copied", [copy.copy, through_pickle])
def test_errors_travel(error: HostkitError, copied: Callable[[HostkitError], HostkitError]) -> None:
    """A copy of an error has the same message and the same facts: it may come out of a pool of processes."""
    error.add_note("a note")
    other = copied(error)

    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


def test_startup_timeout_names_the_services_and_the_variable() -> None:
    """A start that took too long names who was late, the budget and the variable that raises it."""
    error = StartupTimeoutError(["database", "web"], 2.5)

    assert str(error) == (
        "not ready within 2.5 s: 'database', 'web'; if it needs longer, raise startup_timeout (HOSTKIT_STARTUP_TIMEOUT)"
    )
    assert (error.services, error.timeout) == (("database", "web"), 2.5)


def test_forced_services_are_told_with_their_line() -> None:
    """A service that had to be cancelled or abandoned is named, with the line where it was, if that is known."""
    late, stuck = StopTimeoutError("web", "app.py:3 in serve"), ServiceStuckError("web", "app.py:3 in serve")

    assert str(late) == "service 'web' did not stop in time and was cancelled, at app.py:3 in serve"
    assert str(stuck) == "service 'web' ignores its cancellation and was abandoned, at app.py:3 in serve"
    assert (late.service, late.waiting_at) == (stuck.service, stuck.waiting_at) == ("web", "app.py:3 in serve")
    assert str(StopTimeoutError("web", None)) == "service 'web' did not stop in time and was cancelled"
    assert str(ServiceStuckError("web", None)) == "service 'web' ignores its cancellation and was abandoned"


def test_a_service_that_was_given_up_is_told_with_its_count() -> None:
    """A restart limit names the service and how often it ended."""
    error = RestartLimitError("web", 6)

    assert str(error) == "service 'web' ended 6 times in a row; giving up"
    assert (error.service, error.failures) == ("web", 6)


def test_a_foreign_cancellation_is_told_as_such() -> None:
    """A service that somebody else has cancelled is named."""
    error = ServiceCancelledError("web")

    assert str(error) == "service 'web' was ended by a cancellation that did not come from the host"
    assert error.service == "web"


@pytest.fixture
def failed() -> HostFailedError:
    """A host's failure of two kinds."""
    return HostFailedError("host failed", [OSError("no route"), ExceptionGroup("", [ValueError("bad"), OSError()])])


def test_host_failed_is_caught_as_itself_and_as_a_group(failed: HostFailedError) -> None:
    """`except HostFailedError`, `except HostkitError` and `except ExceptionGroup` all take it."""
    for kind in (HostFailedError, HostkitError, ExceptionGroup):
        with pytest.raises(kind) as caught:
            raise failed

        assert caught.value is failed


def test_except_star_gives_the_members(failed: HostFailedError) -> None:
    """`except*` takes the failures by their type, in groups of the same kind; what nobody takes comes out so, too."""
    taken: list[object] = []

    def fail() -> None:
        try:
            raise failed
        except* OSError as group:
            taken.append(group)

    with pytest.raises(HostFailedError) as rest:
        fail()

    (members,) = taken
    assert isinstance(members, HostFailedError)
    assert [type(error) for error in members.exceptions] == [OSError, ExceptionGroup]
    assert rest.group_contains(ValueError, match="bad")
    assert not rest.group_contains(OSError)


def test_except_star_cannot_take_the_group_itself() -> None:
    """`except*` with a group is Python's own error: catch `HostFailedError` with `except`."""
    code = "try:\n    raise failed\nexcept* HostFailedError:\n    pass"

    with pytest.raises(TypeError, match="catching ExceptionGroup"):
        exec(code, {"HostFailedError": HostFailedError, "failed": HostFailedError("", [OSError()])})  # noqa: S102


def test_parts_of_the_group_are_of_its_kind(failed: HostFailedError) -> None:
    """`split`, `subgroup` and `derive` give `HostFailedError`s with the same message."""
    matching, rest = failed.split(OSError)
    derived = failed.derive([KeyError("new")])

    parts = [matching, rest, failed.subgroup(ValueError), derived]
    assert all(type(part) is HostFailedError and part.message == "host failed" for part in parts)
    assert [type(error) for error in derived.exceptions] == [KeyError]


def test_a_failed_host_has_failures() -> None:
    """There is no failure of a host without one of a service."""
    with pytest.raises(ValueError, match="non-empty"):
        HostFailedError("host failed", [])
