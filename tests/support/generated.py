"""Faults for `tests/mutants.py` that nobody has thought of: cosmic-ray's small changes, at every place of a module."""

from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from faults import Fault

TEST_FILES = Path(__file__).resolve().parents[1]

# Of a change that can be made in many ways, the ways that are nearest to a slip.
OPERATORS = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_Delete_USub",
    "ZeroIterationForLoop",
)

# For type checkers, and for the reader.
NOT_TESTED = ("if TYPE_CHECKING:", "assert ")

# Changed lines, by how they begin, with the reason why nobody can see the difference.
EQUIVALENT = {
    "_ladder": {
        "LAST_ROUNDS = ": "one round more or less is as good; for none there is a fault made by hand",
        "self._turn = - ": "run() sets it before anybody looks at it",
        "self._turn = 1  #": "likewise",
        "self._left = 1": "likewise",
        "self._left = -1": "likewise",
        "elif supervisor.step == self._turn or ": "a step that is told again does nothing",
        "if self.stop_at <= math.inf and now < self.cancel_at:": "begin() lays both deadlines anew",
        "if self.stop_at < math.inf and now <= self.cancel_at:": "at that very instant both are the same",
    },
    "_run": {
        "STARTING = 0": "what counts is the order",
        "ENDED = 6": "likewise",
        "if self.cancelled_at is None and self.phase >= Phase.STARTING:": "it takes longer where nothing is found",
    },
    "_deadman": {
        "LAST_MARGIN = ": "how long is a choice",
        "FLUSH_TIMEOUT = ": "likewise",
        "LONGEST_TIMEOUT = ": "likewise",
        "if seconds < 0:": "nobody sees that very instant",
        "if deadline <= math.inf:": "the next lines disarm it",
        "flushing = threading.Thread(target=flush, daemon=False)": "os._exit waits for no thread",
    },
    "_process": {
        "BEATS = ": "how often is a choice",
        "FIRST_LOOK, NEXT_LOOK = ": "likewise",
        "while left and self._deadman.remaining >= 0:": "nobody sees that very instant",
        "_owned = -1": "that is no process either",
        'self._stack.callback(setattr, _Ownership, "_owned", -1)': "likewise",
    },
    "_signals": {
        "hearing.recv(": "what is not read at once is read in the next turn",
    },
    "_lag": {
        "reported = 1.0": "no beat is at that very instant",
        "reported = -1.0": "likewise",
        "self.blocked = True": "the first beat is before anybody looks",
        "self._thread = threading.Thread(target=self._watch": "it ends with the loop, unless the process is left",
    },
    "_lifetime": {
        "return self._requests[ -1]": "there is one request, but for two at once from two threads",
        "self._life.begin_stop(*self._requests[ -1]": "likewise",
    },
    "_life": {
        "error = error.exceptions[ -1]": "there is one",
        "self.finished = False": "live() and _finish() both set it, one after the other",
    },
    "_startup": {
        "BATCH = ": "how often others get a turn is a choice",
        "begun = 1": "likewise",
        "begun = -1": "likewise",
        "if begun > BATCH:": "likewise",
        "continue": "there is nothing behind it but the next step, where it is the same",
        "life.fail(StartupTimeoutError(late, self._timeout or ": "without a timeout nobody is late",
    },
}

# The module's own first, then the most telling; all of them are run where none fails.
TESTS = (
    "host",
    "supervisor",
    "promises",
    "embedding",
    "lifetime",
    "life",
    "snapshot",
    "stopping",
    "stopping_loops",
    "stopping_blocks",
    "signals",
    "deadman",
    "failures",
    "restart",
    "heartbeat",
    "events",
    "listeners",
    "group",
    "hooks",
    "words",
    "root_task",
    "thread_service",
    "lag",
    "terminate",
    "host_states",
    "scenarios",
    "host_thread",
)
# What only a whole process shows; slower, so that they come first only where the others show little.
PROCESS_TESTS = ("process_stuck", "process_signals", "process_outcomes", "process_logging", "process_matrix")
PROCESS_FIRST = {"_deadman", "_process", "_signals"}
PROCESS_LAST = {"_fatal", "_host", "_lifetime"}


def generate(module: str, source: str) -> Iterator[Fault]:
    """Return every fault that the operators find in the *source* of a module, but those that change nothing."""
    equal = EQUIVALENT.get(module, {})
    first = PROCESS_TESTS if module in PROCESS_FIRST else ()
    last = PROCESS_TESTS if module in PROCESS_LAST else ()
    names = (module.lstrip("_"), *first, *TESTS, *last)
    paths = [TEST_FILES / f"test_{name}.py" for name in dict.fromkeys(names)]
    tests = tuple(path.name for path in paths if path.exists())
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        occurrence = 0
        while (mutated := mutate_code(source.encode(), operator, occurrence)) is not None:
            changed = mutated if isinstance(mutated, str) else mutated.decode()
            line, after, words = _difference(source, changed)
            # How arguments may be given is for type checkers too.
            tested = not line.startswith(NOT_TESTED) and after != line.replace("*,", "/,")
            if tested and not any(after.startswith(start) for start in equal):
                yield Fault(f"{module}:{name}:{occurrence}", module, source, changed, words, tests)
            occurrence += 1


def _difference(source: str, changed: str) -> tuple[str, str, str]:
    """Return the first line that was changed, what it has become, and the change in words."""
    header, *lines = list(unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:]
    number = header.split()[1].lstrip("-").partition(",")[0]
    before, *after = (line[1:].strip() for line in lines)
    return before, "".join(after), f"line {number}: {'  ->  '.join([before, *after])}"
