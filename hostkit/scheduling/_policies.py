"""What a scheduler does when a run is due while another one is running, or comes too late."""

from enum import StrEnum


class Overlap(StrEnum):
    """What happens to a run that is due while the job is still running.

    Attributes:
        SKIP: It is left out.
        QUEUE: It begins when the other has ended. One waits at most; further ones are left out.
        ALLOW: It begins beside the other, up to the job's ``concurrency``; further ones are left out.
        CANCEL_RUNNING: The other is cancelled, and it begins when that has ended. For async jobs only.
    """

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL_RUNNING = "cancel running"


class Missed(StrEnum):
    """What happens to runs that could not begin when they were due.

    The event loop was blocked, the machine was suspended, or the clock was set. A run is late when it begins longer
    than ``grace`` after it was due.

    Attributes:
        RUN_ONCE: One run makes up for all that were missed, however many; with a ``grace``, unless it would be later.
        SKIP: They are left out, those that are less than ``grace`` late (a second, if not given) excepted.
    """

    RUN_ONCE = "run once"
    SKIP = "skip"
