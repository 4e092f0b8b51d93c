"""Every check of hostkit: ``nox`` runs the default ones, ``nox -l`` lists all."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
# uv installs in a fraction of the time; where it is not there, nox falls back.
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "typing", "tests", "servers", "durable", "browser", "minimal", "build", "docs"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
CODE = ("hostkit", "samples", "tests", "benchmarks", "noxfile.py")
# What the session `durable` tests.
DURABLE = "*/hostkit/ext/procrastinate/*,*/hostkit/ext/local_postgres.py"
LEFT_OUT = "left out here, as sessions of their own run them: the tests with real servers, PostgreSQL, or a browser"
WITHOUT_SERVERS = "not servers and not durable and not browser"
SHORT = f"{WITHOUT_SERVERS} and not long"
LONG = f"{WITHOUT_SERVERS} and long"
# The slow tests stand together: dealt out beforehand, one worker would be left alone with them.
SIDE_BY_SIDE = ("-n", "4", "--dist", "worksteal")
EXTRAS = ",".join(PYPROJECT["project"]["optional-dependencies"])


def interpreters() -> dict[str, Path]:
    """Find one interpreter that really runs for each version, as far as there is one.

    A name on the path proves nothing: pyenv puts one there for every version it has ever heard of, and it fails unless
    that version is switched on.
    """
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in VERSIONS:
        candidates = [Path(sys.executable), *sorted(installed.glob(f"{version}.*/bin/python"))]
        if on_path := shutil.which(f"python{version}"):
            candidates.insert(1, Path(on_path))
        running = next((candidate for candidate in candidates if runs(candidate, version)), None)
        if running:
            found[version] = running
    return found


def runs(interpreter: Path, version: str) -> bool:
    """Tell whether *interpreter* starts and is of *version*."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == version


FOUND = interpreters()
for _version in VERSIONS:
    print(f"Python {_version}: {FOUND.get(_version, 'not found, left out')}", file=sys.stderr)
if not FOUND:
    sys.exit("no Python that hostkit supports was found")
# nox looks a version up on the path and takes the first name that fits.
os.environ["PATH"] = os.pathsep.join([*(str(path.parent) for path in FOUND.values()), os.environ["PATH"]])
# Set in many images of containers: each of the hundreds of processes of the tests would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
OLDEST = next(iter(FOUND))
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DEBIAN = ("chromium", "fonts-dejavu-core")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@functools.cache
def wheel_directory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for the wheel; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="hostkit-wheel-", ignore_cleanup_errors=True)


def wheel(session: nox.Session) -> Path:
    """Return the wheel of this source tree, which the first session builds."""
    directory = Path(wheel_directory().name)
    if not list(directory.iterdir()):
        # The pip beside nox: an environment made by uv has none.
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        session.run(*pip, "--wheel-dir", str(directory), str(ROOT), external=True)
    return next(directory.iterdir())


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check rules, format and spelling."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", *CODE)


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Check types: everything strictly by mypy, and the package by pyright as many a user's editor does."""
    session.install(f".[{EXTRAS}]", *group("typing"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", session.bin + "/python")


@nox.session(python=list(FOUND))
def tests(session: nox.Session) -> None:
    """Run all tests against the wheel, on every Python found, and ask for full coverage on the oldest.

    Those with real servers, with PostgreSQL and in a browser are left to the sessions ``servers``, ``durable`` and
    ``browser``. With arguments of your own (``nox -s tests-3.12 -- tests/test_host.py``) nothing is left out, and
    coverage is not asked for.
    """
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    if session.python != OLDEST:  # measuring takes half the time again, and finds the same
        session.log(f"{LEFT_OUT}; and what does the same hundreds of times, which {OLDEST} does")
        session.run("pytest", *SIDE_BY_SIDE, "-m", SHORT)
        return

    session.log(LEFT_OUT)
    covered(session, *SIDE_BY_SIDE, "-m", SHORT, report=f"--omit={DURABLE}")
    session.log("what does the same hundreds of times: measured, it would take twice as long and reach no other line")
    session.run("pytest", *SIDE_BY_SIDE, "-m", LONG)


def covered(session: nox.Session, *arguments: str, report: str) -> None:
    """Run the tests and ask for full coverage of what the *report* is on."""
    # coverage's .pth file starts it in every process of the environment, so the command is plain `pytest`.
    data = Path(session.create_tmp()) / "coverage"
    coverage = {"COVERAGE_FILE": str(data.resolve()), "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")}
    for leftover in data.parent.glob("coverage*"):
        leftover.unlink()
    session.run("pytest", *arguments, env=coverage)
    measured = {"COVERAGE_FILE": coverage["COVERAGE_FILE"]}
    session.run("coverage", "combine", "--quiet", env=measured)
    session.run("coverage", "report", report, env=measured)


@nox.session(python=OLDEST)
def durable(session: nox.Session) -> None:
    """Run the tests of durable jobs, which start PostgreSQL servers, and ask for full coverage of what they test."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test-durable"))
    if session.posargs:
        session.run("pytest", *session.posargs)
    else:
        covered(session, "-n", "2", "-m", "durable", report=f"--include={DURABLE}")


@nox.session
def servers(session: nox.Session) -> None:
    """Run the tests with real servers against the wheel."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test-servers"))
    session.run("pytest", "-n", "4", "-m", "servers", *session.posargs)


@nox.session(python=OLDEST)
def browser(session: nox.Session) -> None:
    """Run the tests in Chromium against the wheel; root gets it from Debian's packages where it is missing.

    Pictures of the page are left in the folder that SCREENSHOTS names. Those in the documents are made by
    ``SCREENSHOTS=docs/images nox -s browser -- -k documents``.
    """
    if not any(map(shutil.which, CHROMIUM)):
        if not shutil.which("apt-get") or os.geteuid():
            session.error("Chromium is missing: install it (sudo apt-get install chromium) and run this once more")
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *DEBIAN, external=True)
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test-browser"))
    session.run("pytest", "-n", "2", "-m", "browser", *session.posargs)


@nox.session(python=OLDEST)
def minimal(session: nox.Session) -> None:
    """Run the tests that need no extra on the oldest dependencies, with nothing else installed."""
    oldest = [requirement.replace(">=", "==") for requirement in PYPROJECT["project"]["dependencies"]]
    session.install(str(wheel(session)), *oldest, *group("test-minimal"))
    session.run("pytest", *SIDE_BY_SIDE, "-m", SHORT, *session.posargs, env={"TEST_WITHOUT_EXTRAS": "1"})


@nox.session(python=OLDEST, default=False)
def samples(session: nox.Session) -> None:
    """Run every sample as its reader would, which ``tests`` does as well."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test"))
    session.run("pytest", *(session.posargs or ["-n", "4"]), "tests/test_samples.py")


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """Build what would be published, and look into it."""
    session.install(*group("build"))
    target = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(target, ignore_errors=True)
    session.run("pyproject-build", "--installer", "uv", "--outdir", str(target))

    (built,) = target.glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    strangers = [name for name in names if not name.startswith(("hostkit/", "hostkit_py-"))]
    missing = {f"hostkit/{name}" for name in ("py.typed", "ext/dashboard/page.html", "ext/dashboard/sign_in.html")}
    missing.difference_update(names)
    if strangers or missing:
        session.error(f"{built.name}: strangers {strangers}, missing {sorted(missing)}")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the site, and look over it; a warning is an error. It is in ``build/site`` then."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("docs"))
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "build/site")
    session.run("python", "tests/check_site.py", "build/site")


@nox.session(python=OLDEST, default=False)
def mutants(session: nox.Session) -> None:
    """Change modules in small ways and see that a test notices each; arguments go to ``tests/mutants.py``."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("mutants"))
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session(python=OLDEST, default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure the budgets; arguments go to ``python -m benchmarks``."""
    session.install(f"{wheel(session)}[{EXTRAS}]", *group("test"))
    session.run("python", "-m", "benchmarks", *session.posargs)
