"""What is measured, said as values: measures, their contestants, figures and budgets, and the results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Figures = Mapping[str, float]
"""What one run of a contestant has measured, by name; less is better."""

RAW = "raw anyio"
HOSTKIT = "hostkit"


@dataclass(frozen=True)
class Figure:
    """A number that every run yields.

    Attributes:
        name: What it is.
        unit: Its unit.
        per_item: Whether it is per item of the size (per service, per job), and not for all of them together.
    """

    name: str
    unit: str
    per_item: bool = True


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: Its name in the tables.
        function: ``function(size, *arguments)`` does the work once, checks that it was done, and returns its figures.
            For a peer ``"module:function"``: only the peer's own environment can import it.
        arguments: What JSON can hold.
        environment: The environment it runs in; see `benchmarks._environments`. The current one if None.
    """

    name: str
    function: Callable[..., Figures] | str
    arguments: tuple[object, ...] = ()
    environment: str | None = None

    @property
    def target(self) -> str:
        """The function as ``"module:function"``."""
        if isinstance(self.function, str):
            return self.function
        return f"{self.function.__module__}:{self.function.__qualname__}"


@dataclass(frozen=True)
class Budget:
    """What a figure of a contestant may be at most.

    Attributes:
        figure: The name of the figure.
        size: At which size.
        most: The largest ratio to *to*, or the largest value.
        to: The contestant that the ratio is to; None when *most* is a value in the figure's unit.
        contestant: Whose figure.
    """

    figure: str
    size: int
    most: float
    to: str | None = RAW
    contestant: str = HOSTKIT


@dataclass(frozen=True)
class Measure:
    """Work that several contestants do, at several sizes.

    Attributes:
        name: Its name on the command line.
        what: Its title; ``{size}`` stands for the size.
        figures: What is measured.
        sizes: From small to large.
        contestants: Who does it.
        baseline: The contestant that ratios are to unless a budget names another one.
        budgets: What is asked for.
        requires: A module without which it is left out.
    """

    name: str
    what: str
    figures: tuple[Figure, ...]
    sizes: tuple[int, ...]
    contestants: tuple[Contestant, ...]
    baseline: str = RAW
    budgets: tuple[Budget, ...] = ()
    requires: str | None = None

    @property
    def budget_sizes(self) -> tuple[int, ...]:
        """The sizes for which there is a budget; the largest one if there is none."""
        asked = {budget.size for budget in self.budgets}
        return tuple(size for size in self.sizes if size in asked) or self.sizes[-1:]

    def title(self, size: int) -> str:
        """Return the title for *size*."""
        return self.what.format(size=f"{size:,}")


@dataclass(frozen=True)
class Series:
    """The values of one figure of one contestant at one size, one for each round."""

    measure: str
    size: int
    figure: str
    contestant: str
    values: tuple[float, ...]


@dataclass
class Results:
    """Everything that a run has measured.

    Attributes:
        python: The version of Python.
        platform: As of ``sys.platform``.
        processors: How many processors the machine has.
        rounds: How many rounds there were.
        versions: The versions of the packages that were measured.
        series: The values.
        failed: Contestants that were left out after an error: measure, size, contestant; the process then ends with 1.
    """

    python: str
    platform: str
    processors: int
    rounds: int
    versions: dict[str, str] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    failed: list[tuple[str, int, str]] = field(default_factory=list)
