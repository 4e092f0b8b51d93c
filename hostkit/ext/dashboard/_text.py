"""Texts for a snapshot: shortened, without folders, and without raising."""

import re
import sysconfig
from collections.abc import Mapping
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from types import TracebackType

LONGEST_TEXT = 2_000
LONGEST_NAME = 200
LONGEST_DETAIL = 200
MOST_DETAILS = 20
LARGEST_NUMBER = 2.0**53

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE = re.compile(r"(?P<file>.*):(?P<line>\d+)(?P<function> in .*)?", re.DOTALL)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@cache
def hostkit_version() -> str:
    """Return the version of the distribution; it is read from a file, so once."""
    return version("hostkit-py")


def shortened(text: str, limit: int = LONGEST_TEXT) -> str:
    """Return the first *limit* characters of *text*, and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}… {len(text) - limit:,} more"


def printable(text: str) -> str:
    """Return *text* with its control characters, which include those of a text's direction, as escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def short_name(name: str) -> str:
    """Return *name*, or the beginning and a digest of a very long one, so that different names stay different."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}…{digest}"


def words(error: BaseException | None) -> str | None:
    """Return type and message of *error*."""
    if error is None:
        return None
    try:
        message = str(error)
    except Exception as failure:  # noqa: BLE001  # whatever a user's __str__ does
        message = f"<no words: {type(failure).__name__}>"
    name = type(error).__name__
    return shortened(f"{name}: {message}" if message else name)


@lru_cache(maxsize=2_000)
def short_lines(lines: str | None) -> str | None:
    """Return lines of code, ``/srv/app/stock/sync.py:141 in merge``, without the folders above the package."""
    return None if lines is None else shortened("; ".join(map(_short_line, lines.split("; "))))


def line_of(error: BaseException | None) -> str | None:
    """Return the innermost line of the user's own at which *error* was raised, or the innermost one."""
    traceback = None if error is None else error.__traceback__
    innermost = own = None
    while traceback is not None:
        innermost = traceback
        if not traceback.tb_frame.f_code.co_filename.startswith(_LIBRARIES):
            own = traceback
        traceback = traceback.tb_next
    return _describe(own or innermost)


def details(values: Mapping[str, object]) -> dict[str, str | float]:
    """Return the strings and numbers of a service's details, as many and as long as a row can show."""
    shown: dict[str, str | float] = {}
    for key, value in islice(values.items(), MOST_DETAILS):
        if isinstance(value, str):
            shown[shortened(str(key), LONGEST_DETAIL)] = shortened(value, LONGEST_DETAIL)
        elif isinstance(value, int | float) and abs(value) < LARGEST_NUMBER:  # neither NaN nor infinite
            shown[shortened(str(key), LONGEST_DETAIL)] = value
    return shown


def _describe(traceback: TracebackType | None) -> str | None:
    if traceback is None:
        return None
    code = traceback.tb_frame.f_code
    return _short_line(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_qualname}")


def _short_line(line: str) -> str:
    found = _LINE.fullmatch(line)
    if found is None:
        return line
    folders = found["file"].replace("\\", "/").split("/")
    return f"{'/'.join(folders[-2:]).lstrip('/')}:{found['line']}{found['function'] or ''}"
