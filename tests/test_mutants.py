"""The faults of `mutants.py` fit the source, so that a change of the core takes them along."""

from pathlib import Path

import pytest
from faults import FAULTS, Fault

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "hostkit"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: Fault) -> None:
    """The text that a fault replaces is there once, what comes out is Python, and its tests exist."""
    source = (PACKAGE / f"{fault.module}.py").read_text(encoding="utf-8")

    assert source.count(fault.old) == 1
    assert fault.new != fault.old
    compile(source.replace(fault.old, fault.new), fault.module, "exec")
    assert fault.tests
    assert all((TESTS / test).is_file() for test in fault.tests)


def test_no_two_faults_have_one_name() -> None:
    """A report names each fault."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
