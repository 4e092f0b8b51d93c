"""What the module raises of its own, and the one error that is for jobs to raise."""

from collections.abc import Sequence

from hostkit import HostkitError


class JobCutError(HostkitError):
    """To be raised by a job that has heard of the stop and gives up: it goes back to the queue.

    A job with ``pass_context=True`` finds the worker's stopping token in ``context.additional_context``. A blocking one
    may read its ``stop_requested`` and ``time_left`` and nothing else. Raised while no stop is requested, this is a
    failure like any other.
    """


class JobsNotReturnedError(HostkitError):
    """Raised when jobs that the stop has aborted could not be given back to the queue.

    The database was away, or they went on in spite of the stop. They run again when the sweep of another worker, or of
    the next one, finds them.

    Attributes:
        jobs: Task and number of each.
    """

    def __init__(self, jobs: Sequence[str], stalled_after: float) -> None:
        """Name the jobs, and say when they run again."""
        number = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
        word = "it runs" if len(jobs) == 1 else "they run"
        super().__init__(
            f"{number} could not be given back ({', '.join(jobs)}): {word} again {stalled_after:g} s later, "
            "when a worker finds that this one has gone"
        )
        self.jobs = tuple(jobs)


class WorkerNotRunningError(HostkitError):
    """Raised when something is asked of a worker that does not run."""
