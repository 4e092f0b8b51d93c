"""Changes of `tests/mutants.py` that make no difference: by module, how the changed line begins, and why."""

EQUIVALENT: dict[str, dict[str, str]] = {}
