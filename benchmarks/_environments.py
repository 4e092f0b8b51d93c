"""An environment for each peer: made once, beside the source tree, in a folder that git ignores."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks._runner import ROOT

FOLDER = ROOT / ".bench"
STAMP = "requirements.json"

VERSIONS = (
    "import importlib.metadata, json, sys; "
    "print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))"
)


@dataclass(frozen=True)
class Environment:
    """What an environment holds.

    Attributes:
        requirements: What is installed.
        packages: Whose versions are told.
        python: A version of Python such as ``"3.13"``; None for the one that runs this.
    """

    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    python: str | None = None


SOURCE = ("-e", f"{ROOT}[trio,uvloop]")

ENVIRONMENTS = {
    "hostkit": Environment(
        ("-e", f"{ROOT}[dashboard,local-postgres,procrastinate,trio,uvloop]"),
        ("anyio", "loguru", "procrastinate", "pydantic-settings", "trio", "uvloop"),
    ),
    "aiomisc": Environment(("aiomisc",), ("aiomisc",)),
    # 0.4.0 imports a name that later versions of anyio do not have.
    "localpost": Environment(("localpost", "anyio<4.12"), ("localpost",)),
    "facet": Environment(("facet",), ("facet",)),
    "fastapi": Environment(("fastapi", "uvicorn"), ("fastapi", "uvicorn")),
    "apscheduler": Environment(("apscheduler>=3.11,<4",), ("apscheduler",)),
    "scheduler": Environment(("scheduler",), ("scheduler",)),
    "aiojobs": Environment(("aiojobs",), ("aiojobs",)),
    "taskiq": Environment(("taskiq",), ("taskiq",)),
    "python3.12": Environment(SOURCE, (), "3.12"),
    "python3.13": Environment(SOURCE, (), "3.13"),
    "python3.14": Environment(SOURCE, (), "3.14"),
}


def prepare(name: str) -> Path | None:
    """Return the interpreter of the environment *name*, which is made if it is not there as it should be.

    Returns:
        None when there is no interpreter of its version.
    """
    environment = ENVIRONMENTS[name]
    base = interpreter(environment.python)
    if base is None:
        return None
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = json.dumps([str(base), *environment.requirements])
    stamp = folder / STAMP
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"making the environment {name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _make(base, folder, python, environment.requirements)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _make(base: Path, folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", base, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *requirements], check=True)
    else:
        subprocess.run([base, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)


def interpreter(version: str | None) -> Path | None:
    """Return an interpreter of *version* that really starts, on the path or among pyenv's; None if there is none."""
    if version is None:
        return Path(sys.executable)
    found = shutil.which(f"python{version}")
    pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    return next(filter(_starts, [*([Path(found)] if found else []), *sorted(pyenv)]), None)


def _starts(python: Path) -> bool:
    # A name on the path may be one of pyenv's, which fails for a version that is not switched on.
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def versions(name: str, python: Path) -> dict[str, str]:
    """Return the versions of what is measured in an environment."""
    packages = ENVIRONMENTS[name].packages
    done = subprocess.run([python, "-c", VERSIONS, *packages], stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
