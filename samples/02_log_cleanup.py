"""A worker with settings of its own: delete log files that are too old, or too many, every hour.

Try it on a folder of yours; nothing is deleted with --dry-run:

    hostkit run samples/02_log_cleanup.py --directory logs --older-than 30d --keep-at-most 500MB --dry-run

``hostkit run samples/02_log_cleanup.py --help`` lists the flags. Each is a variable, too: LOG_CLEANUP_OLDER_THAN, and
HOSTKIT_LOG_FORMAT for one of the host's own. A stop never cuts a round short.

Arguments: --directory logs
Output:
    deleted old.log (7B)
    deleted 1 file and freed 7B
    ^C
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, NamedTuple

from anyio import to_thread
from loguru import logger
from pydantic import BeforeValidator, ByteSize, Field
from pydantic_settings import SettingsConfigDict

from hostkit import BackgroundService, HostBuilder, HostSettings, StoppingToken
from hostkit.cli import run


def plain_numbers_are_seconds(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(plain_numbers_are_seconds)]


class LogCleanupSettings(HostSettings):
    """Delete log files that are too old, or too many."""

    model_config = SettingsConfigDict(env_prefix="LOG_CLEANUP_")

    directory: Path = Field(description="where the files are; links and what is in folders below it are left alone")
    pattern: str = Field(default="*.log", pattern=r"^[^/\\]+$", description="their names, with * and ?")
    older_than: Duration = Field(default=timedelta(days=7), ge=timedelta(0), description="age: seconds, 12:00:00 or 7d")
    keep_at_most: ByteSize | None = Field(default=None, description="bytes, 500MB or 2GiB; the oldest go first")
    interval: Duration = Field(default=timedelta(hours=1), gt=timedelta(0), description="seconds, 12:00:00 or 7d")
    dry_run: bool = Field(default=False, description="only say what would be deleted")


class LogFile(NamedTuple):
    path: Path
    size: int
    modified: float


def find(directory: Path, pattern: str) -> list[LogFile]:
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            # A link is no file here: what it points to may be anywhere.
            if fnmatchcase(entry.name, pattern) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    found.append(LogFile(Path(entry.path), facts.st_size, facts.st_mtime))
    return found


def choose(files: Iterable[LogFile], now: float, older_than: float, keep_at_most: int | None) -> list[LogFile]:
    """Return the old ones, and then the oldest of the others until what remains is small enough."""
    oldest_first = sorted(files, key=lambda file: file.modified)
    total = sum(file.size for file in oldest_first)
    chosen = []
    for file in oldest_first:
        if now - file.modified > older_than or (keep_at_most is not None and total > keep_at_most):
            chosen.append(file)
            total -= file.size
    return chosen


def delete(files: Iterable[LogFile], *, dry_run: bool) -> None:
    deleted = "would have deleted" if dry_run else "deleted"
    count, freed = 0, 0
    for file in files:
        try:
            if not dry_run:
                file.path.unlink()
        except FileNotFoundError:
            continue  # somebody else was faster
        except OSError as error:
            logger.warning("cannot delete {}: {}", file.path.name, error.strerror)
            continue
        logger.info("{} {} ({})", deleted, file.path.name, in_words(file.size))
        count, freed = count + 1, freed + file.size
    logger.info("{} {} file{} and freed {}", deleted, count, "" if count == 1 else "s", in_words(freed))


def in_words(size: int) -> str:
    return ByteSize(size).human_readable(decimal=True)


class LogCleanup(BackgroundService):
    def __init__(self, settings: LogCleanupSettings) -> None:
        self.settings = settings

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(self.settings.interval):
            await to_thread.run_sync(self.clean)

    def clean(self) -> None:
        settings = self.settings
        files = find(settings.directory, settings.pattern)
        chosen = choose(files, time.time(), settings.older_than.total_seconds(), settings.keep_at_most)
        delete(chosen, dry_run=settings.dry_run)


def build(settings: LogCleanupSettings) -> HostBuilder:
    if not settings.directory.is_dir():
        message = f"log cleanup: no such directory: {str(settings.directory)!r}"
        raise SystemExit(message)
    builder = HostBuilder(settings)
    builder.add_service(LogCleanup(settings))
    return builder


if __name__ == "__main__":
    run(build)
