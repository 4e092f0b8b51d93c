"""Fuzz the command line: ``python tests/support/fuzz_command.py [--seconds 300] [--seed N]``.

Random commands, flags, variables, ``.env`` files and targets; whatever they are, `hostkit` answers with a few clear
lines and exit code 2, or does what it was asked for, and never with a traceback of its own.
"""

import argparse
import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hostkit import cli
from hostkit._config.options import CHECKS, OPTION_NAMES
from hostkit._config.outside import DESCRIPTIONS, flag_of

APP = """
from enum import Enum
from pathlib import Path
from typing import Literal
from pydantic import BaseModel, Field, SecretStr
from hostkit import Host, HostBuilder, HostSettings

builder = HostBuilder()


@builder.service
async def worker() -> None: ...


class Inner(BaseModel):
    port: int = 1
    names: list[str] = []


class Settings(HostSettings):
    directory: Path = Path("data")
    keep: int = 3
    dry_run: bool = False
    tags: list[str] = []
    numbers: tuple[int, ...] = ()
    limits: dict[str, float] = {}
    mode: Literal["fast", "slow"] = "fast"
    token: SecretStr = SecretStr("x")
    inner: Inner = Inner()


class Prefixed(Settings, env_prefix="APP_", env_nested_delimiter="__"): ...


def build(settings: Settings) -> HostBuilder:
    made = HostBuilder(settings)

    @made.service
    async def worker() -> None: ...

    return made


def prefixed(settings: Prefixed) -> Host:
    return build(settings).build()


def nothing(): ...
def many(one, two): ...
async def wrong(): ...
number = 3
"""
TARGETS = ["app", "app.py", "./app.py", "app:builder", "app:build", "app.py:build", "app:prefixed", "app:nothing"]
TARGETS += [
    "app:many",
    "app:wrong",
    "app:number",
    "app:Settings",
    "package",
    "package/__main__.py",
    "notes.pyz",
    "json",
]
OWN = ["directory", "keep", "dry_run", "tags", "numbers", "limits", "mode", "token", "inner", "inner.port", "env_file"]
# What ends a process or reads from a terminal is nobody's fault of the command line's.
HARMLESS = st.characters(exclude_categories=[])

text = st.one_of(st.text(HARMLESS, max_size=20), st.from_regex(r"[a-z_.:/=,\[\]{}\"'0-9-]{0,12}", fullmatch=True))
value = st.one_of(
    text,
    st.sampled_from(
        ["none", "None", "", "-1", "1e999", "nan", "inf", "true", "no", "[1,", '{"a": 1}', "1,2", "\0", "é\udc80"]
    ),
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["asyncio", "trio", "uvloop", "json", "text", "SIGUSR1", "SIGHUP", "DEBUG", "loguru", "standard"]),
)
name = st.one_of(st.sampled_from([*OPTION_NAMES, *OWN]), text)
flag = st.one_of(
    name.map(flag_of),
    name.map(lambda word: f"--no-{word}".replace("_", "-")),
    st.sampled_from(["--help", "-h", "--json", "--", "-"]),
    text,
)
argument = st.one_of(flag, value, st.tuples(flag, value).map("=".join))
target = st.one_of(st.sampled_from(TARGETS), text)
command = st.one_of(
    st.tuples(st.sampled_from(["run", "show"]), target, st.lists(argument, max_size=4)).map(
        lambda parts: [parts[0], parts[1], *parts[2]]
    ),
    st.lists(argument, max_size=3),
)
variable = st.one_of(
    name.map(lambda word: f"HOSTKIT_{word}".upper()), name.map(str.upper), name.map(lambda word: f"APP_{word}"), text
).filter(lambda word: word and "=" not in word and "\0" not in word and not word.startswith(("PYTHON", "PATH", "COV")))
clean = value.filter(lambda word: "\0" not in word)
line = st.one_of(st.tuples(variable, value).map("=".join), text)
dotenv = st.one_of(
    st.none(),
    st.lists(line, max_size=5)
    .map("\n".join)
    .map(lambda text: text.encode(errors="surrogateescape" if "\udc80" in text else "backslashreplace")),
    st.binary(max_size=30),
)


def encodable(word: str) -> bool:
    """Whether *word* can stand in an environment."""
    try:
        word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


variables = st.dictionaries(variable.filter(encodable), clean.filter(encodable), max_size=4)


class FoundError(AssertionError):
    """What the command did and should not have."""


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise when the body takes longer."""

    def late(_number: int, _frame: object) -> None:
        message = f"it hangs for {seconds} s"
        raise FoundError(message)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(arguments: list[str], environment: dict[str, str], dotenv: bytes | None, folder: Path) -> None:
    """Run one command in this process, without the run of a host, and judge how it ends."""
    (folder / "app.py").write_text(APP, encoding="utf-8")
    if dotenv is None:
        (folder / ".env").unlink(missing_ok=True)
    else:
        (folder / ".env").write_bytes(dotenv)
    out, errors = io.StringIO(), io.StringIO()
    modules, path, variables = set(sys.modules), sys.path.copy(), os.environ.copy()
    os.environ.update(environment)
    code: object = 0
    vars(cli)["run_process"] = lambda *_, **__: None  # what runs is tested elsewhere
    vars(cli)["write_error"] = errors.write
    try:
        with (
            at_most(20),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            warnings.simplefilter("ignore")
            cli.main(arguments)
    except SystemExit as error:
        code = error.code
    except FoundError:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        message = f"{error!r} out of {frames[-1].filename}:{frames[-1].lineno}"
        raise FoundError(message) from error
    finally:
        os.environ.clear()
        os.environ.update(variables)
        sys.path[:] = path
        for module in set(sys.modules) - modules:
            if module.partition(".")[0] in {"app", "package"}:
                del sys.modules[module]
    # What python-dotenv cannot read of a file it reports by itself, and goes on.
    lines = [line for line in errors.getvalue().split("\n") if line and "could not parse statement" not in line]
    if code not in (0, None, 2):
        message = f"exit code {code!r}"
        raise FoundError(message)
    if (code == 2) != bool(lines):  # wrong usage
        message = f"exit code {code!r}, and on standard error {lines}"
        raise FoundError(message)
    if len(lines) > 12 or any(not line.isprintable() or not line.startswith("hostkit: ") for line in lines):  # a few
        message = f"unclear lines: {lines}"
        raise FoundError(message)


def fuzz(seconds: float, number: int) -> int:
    """Fuzz for so long, and return how many commands were tried."""
    assert set(DESCRIPTIONS) == set(CHECKS)
    tried = 0
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = folder / "package"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text("from app import builder\n")
        (folder / "notes.pyz").write_text("no zip")
        os.chdir(folder)
        for turn in range(1_000_000):
            if time.monotonic() >= ends:
                break

            def one(arguments: list[str], environment: dict[str, str], dotenv: bytes | None) -> None:
                nonlocal tried
                tried += 1
                if time.monotonic() < ends + 30:
                    run(arguments, environment, dotenv, folder)

            checked: Callable[[], None] = seed(number + turn)(
                settings(
                    max_examples=200,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                )(given(command, variables, dotenv)(one))
            )
            checked()
        os.chdir("/")
    return tried


def main() -> None:
    """Fuzz as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311  # to be said again
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    tried = fuzz(arguments.seconds, arguments.seed)
    sys.stdout.write(f"{tried} commands, none went wrong\n")


if __name__ == "__main__":
    main()
