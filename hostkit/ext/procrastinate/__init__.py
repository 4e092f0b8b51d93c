"""Work that must not be lost: procrastinate, whose jobs are in PostgreSQL, as a service of the host.

Needs ``hostkit-py[procrastinate]``, and asyncio or uvloop.
"""

from hostkit.ext.procrastinate._database import apply_schema
from hostkit.ext.procrastinate._defer import defer
from hostkit.ext.procrastinate._errors import JobCutError, JobsNotReturnedError, WorkerNotRunningError
from hostkit.ext.procrastinate._hand_over import hand_over
from hostkit.ext.procrastinate._retry import retry_strategy
from hostkit.ext.procrastinate._worker import JobSummary, ProcrastinateWorker

__all__ = [
    "JobCutError",
    "JobSummary",
    "JobsNotReturnedError",
    "ProcrastinateWorker",
    "WorkerNotRunningError",
    "apply_schema",
    "defer",
    "hand_over",
    "retry_strategy",
]
