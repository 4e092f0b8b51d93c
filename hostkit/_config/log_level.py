"""The host's ``log_level``, for the services that come with hostkit: like the host they make no line below it.

A process that has not configured loguru would show them all, and a line costs more than a short job.
"""

from contextvars import ContextVar

log_level: ContextVar[int] = ContextVar("hostkit log level", default=20)
"""As loguru numbers them: 10 is DEBUG, 20 is INFO, which is the option's default."""
