"""Hands events to listeners: one at a time, in order."""

from collections import deque
from collections.abc import Callable, Sequence

from hostkit._config.logging import log_error
from hostkit.events import HostEvent

Listener = Callable[[HostEvent], None]


class Listeners:
    """The listeners of one host."""

    def __init__(self, listeners: Sequence[Listener], on_error: Callable[[BaseException, str], None]) -> None:
        """Take the listeners, in order; *on_error* is called with what one raises, which is logged already."""
        self._listeners = tuple(listeners)
        self._on_error = on_error
        self._waiting: deque[HostEvent] = deque()
        self._busy = False

    def tell(self, event: HostEvent) -> None:
        """Hand *event* to every listener; one that is caused by a listener comes after this one has reached all."""
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        while self._waiting:
            self._tell_all(self._waiting.popleft())
        self._busy = False

    def _tell_all(self, event: HostEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as error:  # noqa: BLE001  # the user's: logged, and kept as a listener
                log_error("listener {} failed on {}", listener, event, error=error)
                self._on_error(error, "a listener")
