"""Which part of hostkit imports which. As a command it counts parts, floors and arrows, and names every circle.

python tests/support/structure.py [FOLDER OF THE PACKAGE]
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import Path

Graph = Mapping[str, AbstractSet[str]]


class Module:
    """A module as it is written."""

    def __init__(self, name: str, source: str, *, is_package: bool = False) -> None:
        self.name = name
        self.source = source
        self.is_package = is_package
        self.tree = ast.parse(source)

    @cached_property
    def type_only(self) -> set[ast.AST]:
        """What only the type checker sees."""
        return {
            node
            for branch in ast.walk(self.tree)
            if isinstance(branch, ast.If) and ast.unparse(branch.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
            for statement in branch.body
            for node in ast.walk(statement)
        }

    def imports(self, *, type_only: bool) -> Iterator[str]:
        """Yield the dotted names that it imports, modules as well as what is taken from them."""
        for node in ast.walk(self.tree):
            if node in self.type_only and not type_only:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = self._source(node)
                yield from (f"{source}.{alias.name}" for alias in node.names)

    def uses(self) -> Iterator[str]:
        """Yield what it names, in full: ``datetime.datetime.now``, however it was imported."""
        names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.partition(".")[0]
                    names[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name: f"{self._source(node)}.{alias.name}" for alias in node.names}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Name, ast.Attribute)):
                first, _, rest = ast.unparse(node).partition(".")
                if first in names:
                    yield f"{names[first]}.{rest}" if rest else names[first]

    def _source(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])


def read(package: Path) -> dict[str, Module]:
    """Return every module of a package, by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path.read_text(encoding="utf-8"), is_package=is_package)
    return found


def room(name: str) -> str:
    """Return the part of the package in which a module, or a name of one, lies: ``_core``, ``cli``, or ``""``."""
    return name.split(".")[1] if "." in name else ""


def module_graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return which module imports which, imports for the type checker and inside functions included."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for imported in module.imports(type_only=True):
            target = imported
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph[name].add(target)
    return graph


def room_graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return which part imports which."""
    rooms: dict[str, set[str]] = {room(name): set() for name in modules}
    for name, targets in module_graph(modules).items():
        rooms[room(name)] |= {room(target) for target in targets} - {room(name)}
    return rooms


def circles(graph: Graph) -> list[list[str]]:
    """Return every group of nodes that can all reach each other, sorted (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def floors(graph: Graph) -> int:
    """Return how many floors a picture of *graph*, which has no circle, needs: its longest way down."""

    def depth(node: str) -> int:
        return 1 + max(map(depth, graph[node]), default=0)

    return max(map(depth, graph))


def report(package: Path) -> str:
    """Return the figures of a package, and a line for every circle."""
    modules = read(package)
    rooms = room_graph(modules)
    # `_core` loads `_process` on use, as its one exception.
    rooms["_core"] -= {"_process"}
    between = circles(rooms)
    inside = [circle for circle in circles(module_graph(modules)) if len({room(name) for name in circle}) == 1]
    height = "no floors, as there are circles" if between else f"{floors(rooms)} floors"
    return "\n".join(
        [
            f"{len(modules)} modules in {len(rooms)} rooms, {sum(map(len, rooms.values()))} arrows, {height}",
            *(f"circle: {', '.join(circle)}" for circle in (*between, *inside)),
            f"{len(between)} circles between rooms, {len(inside)} inside rooms",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(report(Path(__file__).parents[2] / "hostkit"))
