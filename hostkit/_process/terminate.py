"""The end of a process that embeds a host, when the host has failed."""

from hostkit._core.lifetime import LifetimeController
from hostkit._process.leave import STUCK_EXIT_CODE, leave
from hostkit._process.signals import send_sigterm


def terminate_process(lifetime: LifetimeController) -> None:
    """End the process that embeds a host which has failed, now that the host has ended."""
    if lifetime.failures.abandoned:
        leave(STUCK_EXIT_CODE)
    send_sigterm()
