"""``import hostkit`` beside ``import anyio``: what it costs over an interpreter that imports nothing."""

import subprocess
import sys
import time
from statistics import median

from benchmarks._measure import Figures, Row, child_environment, interleave

PAIRS = 7
UNWANTED = ("asyncio", "loguru", "pydantic", "trio")


def measure(rounds: int) -> list[Row]:
    """Import in child processes, each beside a bare one."""
    code = f"import sys, hostkit; print([name for name in {UNWANTED!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], env=child_environment(), stdout=subprocess.PIPE, check=True)
    assert found.stdout == b"[]\n", found.stdout
    return interleave(
        "import",
        {
            "hostkit": lambda: cost("import hostkit"),
            "anyio": lambda: cost("import anyio"),
            "asyncio": lambda: cost("import asyncio"),
        },
        rounds,
        units={"over bare Python": "ms"},
        baseline="anyio",
        budgets={("hostkit", "over bare Python"): 2.0},
    )


def cost(statement: str) -> Figures:
    """Return what *statement* adds to a bare interpreter, from start to exit."""
    bare, loaded = [], []
    for _ in range(PAIRS):
        bare.append(process("pass"))
        loaded.append(process(statement))
    return {"over bare Python": (median(loaded) - median(bare)) * 1000}


def process(code: str) -> float:
    """Return how long a process that runs *code* takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)
    return time.perf_counter() - began
