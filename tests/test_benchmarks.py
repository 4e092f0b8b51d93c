"""The benchmarks work, and count right; that they are fast is for them to say."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]

RUN = """
import json, sys
from importlib.util import find_spec

sys.path.append(sys.argv[1])  # behind what is installed
from benchmarks import _work, cold, dashboard, durable, token
from benchmarks.__main__ import all_measures

_work.SETTLE = _work.WINDOW = 0.01
_work.LARGE = _work.REPEATED = 1
_work.Ticking.PERIOD = 0.02
cold.REPEATS = 1
cold.SETTLE = 0.0
dashboard.SETTLE, dashboard.SECONDS, dashboard.SCRAPES = 0.0, 0.05, 1
durable.SETTLE, durable.IDLE = 0.1, 0.1
token.READS, token.WAITS, token.TICKS = 1_000, 10, 2
names = tuple(sys.argv[2:])
apart = ("cold", "due_at_once", "durable", "imports")
found = [
    [
        measure.name,
        [figure.name for figure in measure.figures],
        contestant.name,
        contestant.function(3, *contestant.arguments),
    ]
    for measure in all_measures()
    if (measure.name.startswith(names) if names else not measure.name.startswith(apart))
    and (measure.requires is None or find_spec(measure.requires))
    for contestant in measure.contestants
    if contestant.environment is None
]
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the benchmarks importable, behind what is installed."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["cold"],
        ["due_at_once"],
        pytest.param(["durable"], marks=[pytest.mark.durable, pytest.mark.needs("procrastinate")]),
        ["imports"],
    ],
    ids=lambda names: "".join(names) or "others",
)
def test_each_measure_yields_its_figures(names: list[str]) -> None:
    """What hostkit and those by hand do is done, checked and measured, at a tiny size."""
    command = [sys.executable, "-c", RUN, str(ROOT), *names]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 1
    for measure, expected, contestant, figures in found:
        assert set(expected) <= set(figures), (measure, contestant, figures)
        assert all(math.isfinite(value) for value in figures.values()), (measure, contestant, figures)


def test_peers_functions_exist() -> None:
    """Every contestant that runs in another environment has its function, and its program, there."""
    from benchmarks.__main__ import all_measures
    from benchmarks._environments import ENVIRONMENTS

    contestants = [each for measure in all_measures() for each in measure.contestants if each.environment]

    assert {each.environment for each in contestants} == ENVIRONMENTS.keys() - {"hostkit"}
    for contestant in contestants:
        module, _, function = contestant.target.partition(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, contestant.target
        for app in contestant.arguments:
            assert not str(app).endswith(".py") or (ROOT / "benchmarks" / "apps" / str(app)).exists(), app


def test_budgets_name_what_is_measured() -> None:
    """A budget is for a figure, a size and contestants of its measure, so that none is passed over in silence."""
    from benchmarks.__main__ import all_measures

    for measure in all_measures():
        contestants = {contestant.name for contestant in measure.contestants}
        assert measure.baseline in contestants
        for budget in measure.budgets:
            assert budget.figure in {figure.name for figure in measure.figures}, budget
            assert budget.size in measure.sizes, budget
            assert {budget.contestant, budget.to or budget.contestant} <= contestants, budget


def test_contestants_take_turns() -> None:
    """The order turns from round to round, and the first round does not count."""
    from benchmarks._measure import Contestant, Figure, Measure, Series
    from benchmarks._runner import interleave

    a, b = Contestant("a", "peer:a"), Contestant("b", "peer:b")
    measure = Measure("sum", "{size}", (Figure("time", "s"),), (1,), (a, b), baseline="a")
    calls: list[str] = []

    def run(contestant: Contestant, size: int) -> dict[str, float]:
        calls.append(contestant.name)
        return {"time": float(len(calls) * size)}

    series, failed = interleave(measure, 1, 2, run, (a, b))

    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert series == [Series("sum", 1, "time", "a", (4.0, 5.0)), Series("sum", 1, "time", "b", (3.0, 6.0))]
    assert failed == []


def test_a_contestant_that_fails_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are measured all the same, and it is told."""
    from benchmarks._measure import Contestant, Figure, Measure
    from benchmarks._runner import ContestantError, interleave

    good, bad = Contestant("good", "peer:good"), Contestant("bad", "peer:bad")
    measure = Measure("sum", "{size}", (Figure("time", "s"),), (1,), (good, bad), baseline="good")

    def run(contestant: Contestant, size: int) -> dict[str, float]:
        if contestant is bad:
            raise ContestantError(contestant.name, "broken")
        return {"time": float(size)}

    series, failed = interleave(measure, 1, 2, run, (bad, good))

    assert [each.contestant for each in series] == ["good"]
    assert failed == ["bad"]
    assert "bad: broken" in capsys.readouterr().err


def test_a_failure_is_in_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are measured to the end, and the failure is not lost among them."""
    from benchmarks import __main__ as command
    from benchmarks._measure import Contestant, Figures
    from benchmarks._runner import ContestantError

    def run(python: Path, contestant: Contestant, size: int) -> Figures:
        if contestant.name == "hostkit":
            raise ContestantError(contestant.name, "broken")
        return {"a call": float(size)}

    monkeypatch.setattr(command, "in_child", run)

    with pytest.raises(SystemExit, match=r"failed: hostkit \(status, 10\), hostkit \(status, 100\)"):
        command.main(["status", "--rounds", "1", "--sizes", "10", "100"])


def test_ratio_is_of_medians_and_its_spread_within_rounds() -> None:
    """A round in which the whole machine was slow does not widen the spread."""
    from benchmarks._measure import Series
    from benchmarks._report import Ratio, ratio

    ours = Series("sum", 1, "time", "ours", (2.0, 30.0, 3.0))
    theirs = Series("sum", 1, "time", "theirs", (1.0, 10.0, 2.0))

    assert ratio(ours, theirs) == Ratio(1.5, 1.5, 3.0)
    assert ratio(ours, Series("sum", 1, "time", "theirs", (1.0, 0.0, 2.0))) is None


@pytest.mark.parametrize(
    ("values", "per_item", "expected"),
    [
        ({10: 5.0, 100: 5.0, 1_000: 5.0}, True, 1.0),
        ({10: 1.0, 100: 10.0, 1_000: 100.0}, True, 2.0),
        ({10: 5.0, 100: 5.0, 1_000: 5.0}, False, 0.0),
        ({1: 99.0, 10: 1.0, 100: 10.0, 1_000: 100.0}, False, 1.0),
        ({10: 1.0, 100: 10.0}, False, None),
        ({10: 0.0, 100: 10.0, 1_000: 10.0}, False, None),
    ],
    ids=["linear", "quadratic", "constant", "the three largest", "too few", "zero"],
)
def test_growth_is_an_exponent(values: dict[int, float], expected: float | None, *, per_item: bool) -> None:
    """It says how the whole grows with the size."""
    from benchmarks._report import exponent

    assert exponent(list(values.items()), per_item=per_item) == (None if expected is None else pytest.approx(expected))


def test_the_tables_of_the_documentation(tmp_path: Path) -> None:
    """They are made of the file that a run has written, and take the place of those that were there."""
    from benchmarks.__main__ import BEGIN, END, write_tables
    from benchmarks._measure import Budget, Contestant, Figure, Measure, Results, Series
    from benchmarks._report import from_json, markdown, missed, to_json

    ours, theirs = Contestant("hostkit", "peer:ours"), Contestant("raw anyio", "peer:theirs")
    budgets = (
        Budget("time", 1_000, 2.0),
        Budget("time", 1_000, 40.0, to=None),
        Budget("time", 1_000, 1.0, to="absent"),
    )
    figures = (Figure("time", "s"),)
    measure = Measure("sum", "{size} sums", figures, (10, 100, 1_000), (theirs, ours), budgets=budgets)
    series = [
        Series("sum", size, "time", name, (value, value))
        for size in measure.sizes
        for name, value in (("hostkit", 30.0), ("raw anyio", 10.0))
    ]
    results = Results("3.11", "linux", 2, 2, {"anyio": "4"}, series, [("sum", 10, "other")])
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Head\n{BEGIN}old\n{END}Tail\n", encoding="utf-8")

    read = from_json(to_json(results))
    write_tables(document, markdown([measure], read))
    write_tables(document, markdown([measure], read))

    assert read == results
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Head\n")
    assert text.endswith("Tail\n")
    assert "old" not in text
    assert text.count("| 1,000 sums | time | hostkit | 3.00 (3.00–3.00) × raw anyio | ≤ 2 × | missed |") == 1
    assert "| 1,000 sums | time | hostkit | 30 (30–30) s | ≤ 40 s | met |" in text
    assert "| 1,000 sums | time | hostkit | – |  | not measured |" in text
    assert "| 100 sums | time, s | 10 | 30 (3.00) |" in text
    assert "| growth | time | n^1.00 | n^1.00 |" in text
    assert "Python 3.11 on linux, 2 processors, 2 rounds. anyio 4." in text
    assert "Left out after an error: other (sum, 10)." in text
    assert missed([measure], read) == ["1,000 sums, time, hostkit, 3.00 (3.00–3.00) × raw anyio"]


def test_a_file_of_results_grows() -> None:
    """What other runs have measured stays, but for what is measured again; and only on the same Python and machine."""
    from benchmarks.__main__ import Session
    from benchmarks._measure import Results, Series

    session = Session(2, with_peers=False)
    mine = session.results
    kept, again = (Series(name, 10, "time", "hostkit", (1.0, 1.0)) for name in ("kept", "again"))
    failed = [("kept", 10, "peer"), ("again", 10, "peer")]
    earlier = Results(mine.python, mine.platform, mine.processors, 2, {"anyio": "4"}, [kept, again], failed)

    session.keep(earlier, {"again"})

    assert (mine.series, mine.failed, mine.versions) == ([kept], [("kept", 10, "peer")], {"anyio": "4"})
    earlier.rounds = 3
    with pytest.raises(ValueError, match="what is there was measured with rounds 3, and not 2"):
        session.keep(earlier, ())


def test_the_documentation_names_every_measure() -> None:
    """A measure that is added is described."""
    from benchmarks.__main__ import BEGIN, END, all_measures

    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    assert BEGIN in text
    assert END in text
    for measure in all_measures():
        assert f"`{measure.name}`" in text or measure.name.startswith("task_per_job_"), measure.name
