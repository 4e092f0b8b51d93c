"""The failures of one lifecycle of a host, the exit code that follows from them, and what is raised in the end."""

from hostkit._values.errors import HostFailedError, ServiceStuckError
from hostkit._values.exceptions import exit_code_of
from hostkit._values.text import add_note, notes_of, text_of


class Failures:
    """What went wrong in one lifecycle of a host."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._errors: list[Exception] = []
        self.abandoned = False
        """Whether a task or a thread was left behind."""
        self.exit_request: BaseException | None = None
        """The first ``SystemExit``, ``KeyboardInterrupt`` or the like that a service raised."""

    def __bool__(self) -> bool:
        """Whether anything failed or was forced."""
        return bool(self._errors)

    def add(self, error: Exception, service: str | None = None) -> None:
        """Keep *error* as it is, with a note that names the service."""
        if service is not None:
            note = f"service {service!r}"
            if note not in notes_of(error):
                add_note(error, note)
        self._errors.append(error)
        if isinstance(error, ServiceStuckError):
            # The supervisor's, of a service that it abandons; or a service's own, for a thread that it leaves behind.
            self.abandoned = True

    def error(self) -> HostFailedError | None:
        """Return a new group over the failures, or None: one object raised twice would pile up tracebacks."""
        if not self._errors:
            return None
        count = len(self._errors)
        words = "host failed: " + _describe(self._errors[0]) + (f", and {count - 1} more" if count > 1 else "")
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
        if failed is not None:  # what it was raised from is kept otherwise
            object.__setattr__(self.exit_request, "__cause__", failed)  # also where it is a frozen dataclass
        return self.exit_request


def _describe(error: Exception) -> str:
    text = text_of(error)
    services = ", ".join(note for note in notes_of(error) if note.startswith("service "))
    return f"{text} ({services})" if services and services not in text else text
