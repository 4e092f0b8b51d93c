"""hostkit beside the same work done by hand, and beside named peers: ``python -m benchmarks [names…]``.

A benchmark is a module here whose name has no underscore in front, with one function::

    def measure(rounds: int) -> list[Row]: ...

It tells `interleave` of its contestants. A contestant is a function without parameters that does the work once, checks
that it was done, and returns its figures by name; lower is better. One of the contestants is the baseline, which the
others' ratios are to: ``"raw anyio"``, the same work by hand with anyio on asyncio, unless told. Work whose memory is
measured, or that must not see what the contestant before it has left behind, runs in a child process of its own::

    def measure(rounds: int) -> list[Row]:
        return interleave(
            "ticks",
            {
                "hostkit": lambda: in_child(run_hostkit, 10_000),
                "raw anyio": lambda: in_child(run_raw, 10_000),
            },
            rounds,
            units={"CPU a tick": "µs"},
            budgets={("hostkit", "CPU a tick"): 0.6},
        )


    def run_hostkit(jobs: int) -> Figures: ...

A peer that is not installed is left out: ask `installed`. Nothing that a benchmark starts outlives it.
"""
