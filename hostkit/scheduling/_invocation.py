"""How a run that is more than a plain call makes it: ``when``, then the function with its token, thread and timeout."""

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple

import anyio

from hostkit import StoppingToken
from hostkit._execution.call import Call
from hostkit._execution.daemon_thread import DaemonThread, DaemonThreadPool
from hostkit._tokens.stopping_token import StoppingSource
from hostkit._tokens.thread_stopping_token import ThreadStoppingSource
from hostkit._values.functions import FunctionKind
from hostkit.scheduling._entry import JobEntry, RunRecord
from hostkit.scheduling._log import RunLog

STOPPING = "the scheduler is stopping"
DECLINED = "when() said no"


class Resources(NamedTuple):
    """What the calls of one lifecycle of a scheduler share."""

    token: StoppingToken
    pool: DaemonThreadPool
    limiter: anyio.CapacityLimiter
    log: RunLog
    time: Callable[[], float]
    abandoned: dict[DaemonThread[object], str]


def invoke(run: RunRecord, resources: Resources) -> Coroutine[Any, Any, object]:
    """Return what asks whether the job is to run, and calls its function.

    Raises, when it is awaited:
        NotBegunError: It is not to run, or has waited until it was too late to begin, or until the stop.
    """
    job = run.scheduled_job
    if job.when is not None:
        return _invoke_if_agreed(run, job.when, resources)
    return _call(run, resources)


def _call(run: RunRecord, resources: Resources) -> Coroutine[Any, Any, object]:
    job = run.scheduled_job
    kind = job.form.kind
    function = partial(job.function, run=run) if job.form.takes_run else job.function
    owner = _Owner(job, resources)
    release = partial(resources.limiter.release_on_behalf_of, run)
    run.call = Call(function, job.name, kind, job.timeout, resources.token, owner, resources.pool, release)
    return run.call.make() if kind.is_async else _call_on_thread(run, run.call, resources)


async def _call_on_thread(run: RunRecord, call: Call, resources: Resources) -> object:
    limiter = resources.limiter
    try:
        limiter.acquire_on_behalf_of_nowait(run)
    except anyio.WouldBlock:
        with resources.token.cancel_on_stop() as scope:
            await limiter.acquire_on_behalf_of(run)
        if scope.cancelled_caught:
            raise NotBegunError(STOPPING) from None
        try:
            _begin(run, resources)
        except NotBegunError:
            limiter.release_on_behalf_of(run)
            raise
    return await call.make()


class NotBegunError(Exception):
    """A run is left out that was about to begin; the message is the reason."""


def reason_against(run: RunRecord, now: float, token: StoppingToken) -> str | None:
    """Return why *run* must not begin *now*, None if it may."""
    if token.stop_requested:
        return STOPPING
    return run.missed(now) if now > run.begin_by else None


class _Owner:
    """What a call, and the token that it makes, ask of the scheduler, for one job."""

    __slots__ = ("_job", "_resources")

    def __init__(self, job: JobEntry, resources: Resources) -> None:
        self._job = job
        self._resources = resources

    def make_token(self, kind: FunctionKind) -> StoppingSource | ThreadStoppingSource:
        """Return a token for a function of that kind."""
        return StoppingSource(self) if kind.is_async else ThreadStoppingSource(self)

    def on_late(self, line: str | None) -> None:
        """Log that a thread has not returned within its timeout, and where it is."""
        self._resources.log.log_late_thread(self._job, line)

    def on_abandoned(self, thread: DaemonThread[object]) -> None:
        """Keep a thread that is no longer waited for, and whose it is."""
        self._resources.abandoned[thread] = self._job.name

    def time_left(self) -> float:
        """Return the seconds until the scheduler is cancelled."""
        return self._resources.token.time_left

    def log_ignored_stop(self) -> None:
        """Log that the job goes on sleeping after the stop."""
        self._resources.log.log_ignored_stop(self._job)

    def on_callback_error(self, error: BaseException) -> None:
        """Log that an ``on_stop`` callback of the job failed."""
        self._resources.log.log_callback_error(self._job, error)


async def _invoke_if_agreed(run: RunRecord, when: Callable[[], object], resources: Resources) -> None:
    try:
        answer = when()
        if isawaitable(answer):
            answer = await answer
        agreed = bool(answer)
    except BaseException:
        run.reason = run.reason or "when() failed"  # unless it was cancelled
        raise
    if not agreed:
        raise NotBegunError(DECLINED)
    _begin(run, resources)
    await _call(run, resources)


def _begin(run: RunRecord, resources: Resources) -> None:
    """Begin *run*, which has waited."""
    now = resources.time()
    reason = reason_against(run, now, resources.token)
    if reason is not None:
        raise NotBegunError(reason)
    run.begin(now)
