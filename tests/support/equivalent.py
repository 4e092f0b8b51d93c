"""Changes of `tests/mutants.py` that make no difference: by module, how the changed line begins, and why."""

EQUIVALENT: dict[str, dict[str, str]] = {
    "_core/shutdown": {"LAST_ROUNDS = ": "a margin: how often the loop turns once more"},
    "_core/snapshot": {"now = -1.0 if lifecycle is None": "without a lifecycle there is nothing to reckon with it"},
}
