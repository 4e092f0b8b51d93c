"""The code in README, pages and docstrings, found by sybil.

A block in an HTML comment (``<!-- invisible-code-block: python ... -->``) belongs to the visible one before it: it is
what a test adds to a program that a reader sees.
"""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from sybil import Document
from sybil.document import PythonDocStringDocument
from sybil.parsers import markdown, rest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(ROOT.glob("docs/**/*.md"))


class Block(NamedTuple):
    """A block of code in a document.

    Attributes:
        path: The document.
        line: The number of its first line.
        section: The last heading before it; empty in a docstring.
        text: The code.
    """

    path: Path
    line: int
    section: str
    text: str

    @property
    def name(self) -> str:
        """A name for a test."""
        folder, stem = self.path.parent, self.path.stem
        page = self.path.name if folder == ROOT else folder.name if stem == "index" else stem
        return f"{page}:{self.section or self.line}"

    @property
    def is_test(self) -> bool:
        """Whether pytest runs it."""
        return "def test_" in self.text or "@pytest" in self.text

    @property
    def file_name(self) -> str:
        """The name that its first line says it is saved under, as the blocks beside it import it; else ``app.py``."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found else "app.py"


class Session(NamedTuple):
    """What a page shows of a terminal.

    Attributes:
        block: The block on the page.
        program: The block that is run.
        command: The words after the prompt.
        output: The lines that it prints; ``^C`` is typed. At the first line of a status it gets SIGUSR1. After ``…`` it
            prints more, which is not shown.
    """

    block: Block
    program: Block
    command: list[str]
    output: list[str]


def blocks(path: Path, language: str = "python") -> list[Block]:
    """Return the visible blocks of a page in a language, each with the invisible ones behind it."""
    document = Document.parse(str(path), markdown.CodeBlockParser(language, evaluator=_nothing))
    found: list[Block] = []
    for example in document.examples():
        text = str(example.parsed)
        if document.text.startswith("<!", example.start) and found:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n\n{text}")
        else:
            found.append(Block(path, example.line, _section(document.text[: example.start]), text))
    return found


def sessions(path: Path) -> list[Session]:
    """Return what a page shows of a terminal that runs ``app.py`` or the like, each with the program before it.

    For pytest that is the last test, for all others the last block that is none.
    """
    programs = sorted([*blocks(path), *blocks(path, "py")], key=lambda block: block.line)
    found = []
    for block in blocks(path, "console"):
        command, *output = block.text.splitlines()
        _, word, *arguments = shlex.split(command)
        if word in ("hostkit", "python", "pytest") and any(argument.endswith(".py") for argument in arguments):
            before = [program for program in programs if program.line < block.line]
            program = [program for program in before if program.is_test == (word == "pytest")][-1]
            found.append(Session(block, program, [word, *arguments], output))
    return found


def docstring_blocks(path: Path) -> list[Block]:
    """Return the blocks of Python in the docstrings of a module."""
    document = PythonDocStringDocument.parse(str(path), rest.CodeBlockParser("python", evaluator=_nothing))
    return [Block(path, example.line, "", str(example.parsed)) for example in document.examples()]


def run(code: str) -> dict[str, Any]:
    """Run a block of a page, and return the names that it has made."""
    names: dict[str, Any] = {"__name__": "manual"}
    exec(compile(code, "manual", "exec"), names)  # noqa: S102  # our own manual
    return names


def _section(before: str) -> str:
    text = re.sub(r"^```.*?^```$", "", before, flags=re.MULTILINE | re.DOTALL)  # comments are no headings
    titles = [line.strip("# ") for line in text.splitlines() if line.startswith("#")]
    return titles[-1] if titles else ""


def _nothing(_: object) -> None:
    """Evaluate nothing here: what a block is for, its test knows."""
