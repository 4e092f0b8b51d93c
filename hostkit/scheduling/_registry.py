"""The jobs of a scheduler: added, found, steered and removed from any thread, whether the scheduler runs or not."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from inspect import signature
from threading import RLock
from types import FunctionType, MappingProxyType
from typing import Unpack
from weakref import WeakKeyDictionary

from hostkit import StoppingToken
from hostkit._config.logging import log
from hostkit._values.functions import kind_of, name_of
from hostkit.scheduling._clock import Reading, in_utc
from hostkit.scheduling._engine import Engine, Options
from hostkit.scheduling._entry import CallForm, EntryOptions, JobEntry
from hostkit.scheduling._job import JobFunction, ScheduledJob
from hostkit.scheduling._schedule import Schedule

LONGEST_CERTAIN_PERIOD = 1e9
"""Seconds: an interval of no more than that runs before the calendar ends."""


class JobRegistry:
    """The jobs of one scheduler.

    One lock guards what any thread may change: the names, and which engine runs. What an engine knows belongs to its
    event loop: from another thread it is posted there.
    """

    def __init__(self, options: Options) -> None:
        """Begin without jobs."""
        self.paused = False
        self._options = options
        self._jobs: dict[str, JobEntry] = {}
        self._snapshot: Mapping[str, ScheduledJob] | None = None
        self._numbers: dict[str, int] = {}
        self._forms: WeakKeyDictionary[FunctionType, CallForm] = WeakKeyDictionary()
        self._engine: Engine | None = None
        self._lock = RLock()  # a signal handler may come upon it on the same thread

    # For the scheduler.

    def add(
        self,
        function: JobFunction,
        schedule: Schedule,
        name: str | None,
        *,
        replace: bool,
        **options: Unpack[EntryOptions],
    ) -> JobEntry:
        """Add a job; see `Scheduler.add`."""
        if name is not None and not isinstance(name, str):
            message = f"name must be a str, got {name!r}"
            raise TypeError(message)
        if name is not None and not name.strip():
            message = f"name must not be empty, got {name!r}"
            raise ValueError(message)
        if not isinstance(replace, bool):
            message = f"replace must be a bool, got {replace!r}"
            raise TypeError(message)
        form = self._form_of(function)
        base = name or form.name
        job = JobEntry(self, base, function, form, schedule, **options)
        # What may fail comes first: a clock that is naive, say, leaves no job behind.
        never = self._never_runs(job)
        running = self._engine
        reading = running.read() if running is not None and running.in_loop else None
        with self._lock:
            job.name = base if name or replace else self._free_name(base)
            replaced = self._jobs.get(job.name)
            if replaced is not None and not replace:
                message = f"there is a job named {name!r} already; replace=True puts the new one in its place"
                raise ValueError(message)
            if replaced is not None:
                if replaced.paused:
                    job.pause()
                del self._jobs[job.name]  # the new one comes last
            self._jobs[job.name] = job
            self._snapshot = None
            engine = self._engine
        if engine is not None:
            engine.call(partial(_replace, engine, replaced, job, reading))
        if never:
            log("WARNING", "job {} never runs: {}", job.name, str(job.schedule), fields={"job": job.name})
        return job

    @property
    def snapshot(self) -> Mapping[str, ScheduledJob]:
        """The jobs by name as they are now, whatever other threads do; the same object until they change."""
        with self._lock:
            if self._snapshot is None:
                self._snapshot = MappingProxyType(self._jobs.copy())
            return self._snapshot

    def begin(self, token: StoppingToken) -> Engine:
        """Return the engine that runs the jobs from now on, in the current event loop and context."""
        with self._lock:
            self._engine = engine = Engine(self._jobs, self._options, token)
            # Last: a signal handler may pause the jobs on this very thread, as soon as the lock is held.
            engine.paused = self.paused
        return engine

    def end(self) -> None:
        """Record that no engine runs any more."""
        with self._lock:
            self._engine = None
        for job in self.entries():
            job.engine = None  # it keeps the jobs that were removed

    def pause(self, *, paused: bool) -> None:
        """Pause all jobs, or no longer."""
        with self._lock:
            self.paused = paused
            if self._engine is not None:
                self._engine.paused = paused

    def entries(self) -> list[JobEntry]:
        """Return the jobs."""
        return list(self._jobs.values())

    # For the jobs.

    def next_run(self, job: ScheduledJob) -> datetime | None:
        """Return when *job* is due next; see `ScheduledJob.next_run`."""
        entry, engine = self._jobs.get(job.name), self._engine
        if entry is None or entry is not job or self.paused:
            return None
        if engine is None or entry.engine is not engine:
            return job.schedule.next_after(in_utc(self._options.now()))
        return engine.next_run(entry)

    def run_now(self, job: ScheduledJob) -> None:
        """Have *job* run once, now or when the scheduler starts.

        Raises:
            ValueError: It was removed.
        """
        with self._lock:
            entry, engine = self._jobs.get(job.name), self._engine
            if entry is None or entry is not job:
                message = f"job {job.name!r} was removed"
                raise ValueError(message)
            if engine is None:
                entry.run_requested = True
                return
        if not engine.call(partial(engine.run_now, entry)):
            entry.run_requested = True

    def remove(self, job: ScheduledJob) -> None:
        """Take *job* out, unless it is out already."""
        with self._lock:
            entry, engine = self._jobs.get(job.name), self._engine
            if entry is None or entry is not job:
                return
            del self._jobs[job.name]
            self._snapshot = None
        if engine is not None:
            engine.call(partial(engine.unschedule, entry))

    # Inside.

    def _never_runs(self, job: JobEntry) -> bool:
        if job.is_unrefined and 0 < job.period <= LONGEST_CERTAIN_PERIOD:
            return False
        return job.schedule.next_after(in_utc(self._options.now())) is None

    def _free_name(self, base: str) -> str:
        # By a counter for each base: a search would be quadratic with ten thousand of one function.
        name = base
        while name in self._jobs:
            self._numbers[base] = self._numbers.get(base, 1) + 1
            name = f"{base}-{self._numbers[base]}"
        return name

    def _form_of(self, function: JobFunction) -> CallForm:
        # A signature takes longer to read than a job to be added.
        if type(function) is not FunctionType:
            return _read_form(function)
        form = self._forms.get(function)
        if form is None:
            form = self._forms[function] = _read_form(function)
        return form


def _replace(engine: Engine, replaced: JobEntry | None, job: JobEntry, reading: Reading | None) -> None:
    if replaced is not None:
        engine.unschedule(replaced)
    engine.schedule(job, reading)


def _read_form(function: JobFunction) -> CallForm:
    """Return how *function* has to be called.

    Raises:
        TypeError: It cannot be called like that.
    """
    kind, name = kind_of(function), name_of(function) or "job"
    try:
        parameters = signature(function)
    except ValueError:
        return CallForm(kind, takes_run=False, name=name)  # written in C, with parameters that are not known
    takes_run = "run" in parameters.parameters and "run" not in _given_names(function)
    try:
        parameters.bind(*([None] if kind.takes_token else []), **({"run": None} if takes_run else {}))
    except TypeError as error:
        message = f"{function!r} cannot be a job: {error}; it may have the parameters stopping_token (first) and run"
        raise TypeError(message) from None
    return CallForm(kind, takes_run, name)


def _given_names(function: object) -> set[str]:
    """Return the parameters that a `functools.partial` fills."""
    names: set[str] = set()
    while isinstance(function, partial):
        names.update(function.keywords)
        function = function.func
    return names
