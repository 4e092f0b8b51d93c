"""Changes of `tests/mutants.py` that make no difference: by module, how the changed line begins, and why."""

EQUIVALENT: dict[str, dict[str, str]] = {
    "_core/lifecycle": {
        "if not (self.started and self.lifetime.stopping or was_settled)": "wakes more often; what waits looks again",
    },
    "_core/registration": {"class ServiceOptions(TypedDict, ": "for type checkers: a call may leave options out"},
    "_core/service_run": {"ENDED = ": "the order of the phases counts, not the number"},
    "_core/shutdown": {
        "LAST_ROUNDS = ": "a margin: how often the loop turns once more",
        "steps = self._steps if self._forcing else self._steps[self._turn : self._turn + 2]": "what it adds has ended",
        "if self.stop_at < math.inf and at <= self.cancel_at": "the deadlines are then what they would become",
        "for left in reversed(range(LAST_ROUNDS": "likewise a margin",
        "if self._wakeup.time() > self.leave_at:": "decides of the very instant",
        "if left < 0:": "likewise",
        "if runs or left:": "turns the loop a few times more",
        "while self._turn >= -1 and": "before the first step, -2 is as good as -1",
        "elif supervisor.step == self._turn or not self._running[self._turn]:": "those that were asked are asked again",
    },
    "_core/snapshot": {
        "self.now = -1.0 if lifecycle is None": "without a lifecycle there is nothing to reckon with it",
        "self.now = 1.0 if lifecycle is None": "likewise",
    },
    "_core/supervisor": {
        "self._start_counts_afresh(- 2.0 if run.ready_at is None": "less than every `reset_after`, as well",
        "return -1.0 if self.run.cancelled else": "the token says 0",
    },
    "_execution/executor": {"MAX_IDLE = ": "a margin: how many idle tasks are kept"},
    "_execution/timers": {"if len(self._heap) >= MAX_STALE": "a margin: when what is stale is dropped"},
    "_process/leave": {"FLUSH_TIMEOUT = 2.0": "a margin", "WAITS = ": "likewise: in how many parts"},
    "jobs/_delayed": {"if self._next_look(now) <= self._look_at": "wakes once more, and looks again"},
    "jobs/_dispatcher": {
        "MAX_ENDED_IN_READY = ": "a margin: when what was cancelled is dropped",
        "self.time: Callable[[], float] = lambda: ": "not called before a loop runs",
        "seconds = -1.0 if when is None": "no time to wait, as well",
    },
    "scheduling/_calendar": {"@dataclass(frozen=True, init=True, repr=False)": "a class with an `__init__` keeps it"},
    "scheduling/_cron": {
        "@dataclass(frozen=True, init=True, repr=False)": "a class with an `__init__` keeps it",
        "for month in range(first_month, min(first_month + _LONGEST_GAP * 13": "a longer search finds nothing more",
        "return CronSim(plain, datetime(": "any instant: nothing is searched with it",
    },
    "scheduling/_english": {"numbers = [day for day in days if day > -1]": "no day is 0"},
    "scheduling/_days": {'return "last" if day < 1 else day': "no day is 0"},
}
