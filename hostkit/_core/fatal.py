"""What follows when an embedded host has failed: the app is told, and its process ended where it wants that."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hostkit._config.logging import log, log_error
from hostkit._values.errors import HostFailedError

if TYPE_CHECKING:
    from hostkit._core.failures import Failures

FatalCallback = Callable[[HostFailedError], None]


def tell_fatal(
    failure: HostFailedError, callbacks: Sequence[FatalCallback], on_error: Callable[[BaseException, str], None]
) -> None:
    """Tell the log and *callbacks* of a failure that stops a host, as soon as it stops.

    *on_error* is called with what one of them raises, which is logged already.
    """
    log("CRITICAL", "{}; stopping the other services", failure.message)
    for callback in callbacks:
        try:
            callback(failure)
        except BaseException as error:  # noqa: BLE001  # the user's callback: logged, and no other is kept from running
            log_error("on_fatal callback {} failed: {}", callback, error, error=error)
            on_error(error, "an on_fatal callback")


def terminate_process(failures: "Failures") -> None:
    """End the process that embeds a host which has failed, now that the host has ended."""
    from hostkit._process.signals import send_sigterm
    from hostkit._process.watchdog import STUCK_EXIT_CODE, exit_as_failed, leave

    if failures.abandoned:
        leave(STUCK_EXIT_CODE)
    # Most servers end with 0, or with the signal, after a SIGTERM; where the interpreter has an exit, it is 1.
    exit_as_failed()
    send_sigterm()
