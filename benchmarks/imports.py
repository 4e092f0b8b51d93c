"""``import hostkit`` beside ``import anyio``: what it costs over an interpreter that imports nothing."""

import subprocess
import sys
import time
from statistics import median

from benchmarks._measure import HOSTKIT, Budget, Contestant, Figure, Figures, Measure
from benchmarks._runner import child_environment

UNWANTED = ("asyncio", "loguru", "pydantic", "trio")
PAIRS = 7
FIGURE = "over bare Python"


def cost(pairs: int, module: str) -> Figures:
    """Return what the import of *module* adds to a bare interpreter, from start to exit."""
    if module == HOSTKIT:
        code = f"import sys, hostkit; print([name for name in {UNWANTED!r} if name in sys.modules])"
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, env=child_environment(), stdout=subprocess.PIPE, check=True)
        assert found.stdout.strip() == b"[]", found.stdout
    bare, loaded = [], []
    for _ in range(pairs):
        bare.append(_seconds("pass"))
        loaded.append(_seconds(f"import {module}"))
    return {FIGURE: (median(loaded) - median(bare)) * 1000}


def _seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)
    return time.perf_counter() - began


MEASURES = (
    Measure(
        "imports",
        "import, the median of {size} processes",
        (Figure(FIGURE, "ms", per_item=False),),
        (PAIRS,),
        tuple(Contestant(module, cost, (module,)) for module in ("anyio", "asyncio", HOSTKIT)),
        baseline="anyio",
        budgets=(Budget(FIGURE, PAIRS, 2.0, to="anyio"),),
    ),
)
