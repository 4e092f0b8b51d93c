"""hostkit beside the same work done by hand, and beside peers: ``python -m benchmarks --help``.

A module whose name has no underscore in front has measures::

    MEASURES = (
        Measure(
            "ticks",
            "{size} jobs, each every second",
            (Figure("CPU per run", "µs"),),
            sizes=(1_000, 10_000),
            contestants=(
                Contestant("raw anyio", ticks_raw),
                Contestant("hostkit", ticks_hostkit),
            ),
            budgets=(Budget("CPU per run", 10_000, 0.6),),
        ),
    )


    def ticks_hostkit(count: int) -> Figures: ...

Each run of a contestant is a child process that calls its function once; the function does the work, checks that it was
done, and returns its figures, where less is better. Contestants take turns, round after round. The tables show medians,
ratios of medians, and between which limits the ratios within a round were.

- `benchmarks._measure`: what these words mean, as dataclasses.
- `benchmarks._work`: the work that all contestants of a measure do, and the clocks around it.
- `benchmarks._runner`: the rounds and the child processes. `benchmarks._environments`: where peers are installed.
- `benchmarks._report`: ratios, budgets, growth, and the tables.
- ``benchmarks/peers``: a module for each peer, which its own environment imports. ``benchmarks/apps``: whole programs.
"""
