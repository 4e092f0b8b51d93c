"""The failures of one life of a host, and what comes out of it in the end."""

from collections.abc import Sequence

import anyio

from hostkit._values.errors import HostFailedError, ServiceStuckError
from hostkit._values.text import add_note, text_of

INTERRUPT_EXIT_CODE = 130


class Failures:
    """What went wrong in one life of a host."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._errors: list[Exception] = []
        self.abandoned = False
        self.exit_request: BaseException | None = None
        """The first ``SystemExit``, ``KeyboardInterrupt`` or the like that a service raised."""

    def __bool__(self) -> bool:
        """Whether anything failed or was forced."""
        return bool(self._errors)

    def add(self, error: Exception, service: str | None = None) -> None:
        """Keep *error* as it is, with a note that names the service."""
        if service is not None:
            note = f"service {service!r}"
            if note not in getattr(error, "__notes__", ()):
                add_note(error, note)
        self._errors.append(error)
        if isinstance(error, ServiceStuckError):
            # Also where a service tells it itself, of a thread that it has to leave behind.
            self.abandoned = True

    def error(self) -> HostFailedError | None:
        """Return a new group over the failures, or None: one object raised twice would pile up tracebacks."""
        if not self._errors:
            return None
        count = len(self._errors)
        words = "host failed: " + _in_words(self._errors[0]) + (f", and {count - 1} more" if count > 1 else "")
        return HostFailedError(words, list(self._errors))

    def exit_code(self, asked: int | None) -> int:
        """Return the process's exit code; *asked* is the one that a stop request gave."""
        if self.abandoned:
            return 3
        if self._errors:
            return 1
        if asked is not None:
            return asked
        return 0 if self.exit_request is None else exit_code_of(self.exit_request)

    def outcome(self) -> BaseException | None:
        """Return what the end of the host raises: an exit that a service asked for, with the failures as its cause."""
        failed = self.error()
        if self.exit_request is None:
            return failed
        self.exit_request.__cause__ = failed
        return self.exit_request


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that *error* asks for, as the interpreter would understand it."""
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        return error.code if isinstance(error.code, int) else 1
    return INTERRUPT_EXIT_CODE if isinstance(error, KeyboardInterrupt) else 1


def sort_out(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """Return what *error* means: a failure, and a request to exit; neither if it is nothing but a cancellation.

    `SystemExit` and `KeyboardInterrupt` cannot stand in an `ExceptionGroup`, so they are taken out of groups.
    """
    if isinstance(error, Exception):
        return error, None
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return None, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    failure, rest = error.split(Exception)
    exits = [] if rest is None else [leaf for leaf in _leaves(rest) if sort_out(leaf)[1] is not None]
    return failure, exits[0] if exits else None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Sequence[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _in_words(error: Exception) -> str:
    text = text_of(error)
    notes = ", ".join(note for note in getattr(error, "__notes__", ()) if note.startswith("service "))
    return f"{text} ({notes})" if notes and notes not in text else text
