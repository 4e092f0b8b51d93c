"""The way to the database: whether it is there, whether the engine's tables are, and the pool of connections."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from inspect import isawaitable
from typing import Any, cast

import anyio
import psycopg
from loguru import logger
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AppNotOpen
from procrastinate.schema import SchemaManager
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from hostkit import Backoff, HostStateError
from hostkit.ext.procrastinate._log import first_line

CONNECT_TIMEOUT = 10.0
"""Seconds that one plain connection may take."""
CLOSE_TIMEOUT = 1.0
"""Seconds for which the end waits until the pool is closed; it takes some milliseconds, unless the machine is busy."""
RETRY = Backoff(initial=0.25, maximum=5)
SCHEMA_LOCK = int.from_bytes(b"hostkit")
"""The advisory lock under which the schema is applied."""
# What a server says of itself for a while only, in whichever language, cannot be known; these do not pass.
FINAL_WORDS = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|is not permitted to log in|permission denied"
)
# On a server that has restarted, the functions are there from the first moment; on an older schema some are missing.
FUNCTIONS = re.compile(r"^CREATE FUNCTION (procrastinate_\w+)\(", re.MULTILINE)
_blocks: Counter[App] = Counter()
"""How many blocks of `opened` share an app that one of them has opened."""


class SchemaError(HostStateError):
    """Raised when the engine's tables are missing, or older than the engine."""


def is_open(app: App) -> bool:
    """Return whether *app* has been opened, and not been closed since."""
    try:
        return not pool_of(app).closed
    except AppNotOpen:
        return False


def pool_of(app: App) -> AsyncConnectionPool[Any]:
    """Return the pool of an app that is open."""
    return cast("PsycopgConnector", app.connector).pool


def pool_name(app: App) -> str | None:
    """Return what the pool of an app calls itself in the log, None if that is not open."""
    return pool_of(app).name if is_open(app) else None


@asynccontextmanager
async def opened(app: App, *, apply_missing_schema: bool = False) -> AsyncIterator[None]:
    """Open *app* for the block, when the database is there; an app that is open already stays so.

    Blocks that overlap share the app: the last one closes it.

    Raises:
        HostStateError: The database refuses the connection, or the engine's tables are not those it needs.
    """
    if is_open(app) and app not in _blocks:
        await check_schema(app)
        yield
        return
    _blocks[app] += 1
    try:
        await _open(app, apply_missing_schema=apply_missing_schema)
        yield
    finally:
        _blocks[app] -= 1
        if not _blocks[app]:
            del _blocks[app]
            # In a task of its own: ended early, it would leave a pool that is neither open nor closed.
            closing = asyncio.ensure_future(app.close_async())
            with anyio.CancelScope(shield=True):
                await asyncio.wait([closing], timeout=CLOSE_TIMEOUT)


async def apply_schema(app: App) -> bool:
    """Create the tables of procrastinate, if there are none; for a process that may be the first.

    Any number of processes may do so at the same time. Tables of an older version are left as they are: see the
    migrations of procrastinate. The app need not be open.

    Returns:
        Whether they were created.

    Raises:
        HostStateError: The database refuses the connection.
    """
    async with await _connected(app) as connection:
        return await _apply_schema(connection)


async def check_schema(app: App) -> None:
    """Check the engine's tables through the pool of an app that is open."""
    async with pool_of(app).connection() as connection:
        await _check_schema(connection)


async def probe(app: App) -> None:
    """Raise the error that keeps the database from being reached, without the long wait of the pool."""
    async with await _connect(app):
        pass


async def renew(app: App) -> None:
    """Have the pool of an app be as good as new, after an outage.

    A pool finds one dead connection after the other, and waits longer after each. And it waits twice as long after each
    failure to connect, up to minutes, and makes no further connection meanwhile as long as those that it waits for fill
    it. An app that was opened here, and that others have closed, is opened again.
    """
    if app in _blocks and not is_open(app):
        await app.close_async()  # a close that was cut short, or a failed open, leaves a closed pool
        await app.open_async()
    pool = pool_of(app)
    if isinstance(pool, AsyncNullConnectionPool):
        return  # it connects anew for each query
    await pool.drain()  # not check(): that would wait for connections that have fallen silent
    least, most = pool.min_size, pool.max_size
    await pool.resize(least + 1, most + 1)
    await pool.resize(least, most)


async def _open(app: App, *, apply_missing_schema: bool) -> None:
    if is_open(app):
        await check_schema(app)
        return
    await app.close_async()  # the last end may have had no time to record that the pool is closed
    async with await _connected(app) as connection:
        if apply_missing_schema:
            await _apply_schema(connection)
        await _check_schema(connection)
    await app.open_async()


async def _connected(app: App) -> psycopg.AsyncConnection[Any]:
    """Return a connection, as soon as the database is there."""
    tries = 0
    while True:
        try:
            connection = await _connect(app)
        except psycopg.ProgrammingError as error:
            message = f"the database's address is wrong: {first_line(error)}"
            raise HostStateError(message) from error
        except (psycopg.Error, OSError) as error:
            if FINAL_WORDS.search(str(error)):
                message = f"the database refuses the connection: {first_line(error)}"
                raise HostStateError(message) from error
            tries += 1
            if tries == 1:
                logger.warning("waiting for the database: {}", first_line(error))
            await anyio.sleep(RETRY.delay(tries))
        else:
            if tries:
                logger.info("the database is there, after {} tries", tries + 1)
            return connection


async def _connect(app: App) -> psycopg.AsyncConnection[Any]:
    """Connect once, as the pool would, but with its error at once.

    The connector keeps what its pool is made of to itself, and a pool says only that it has waited in vain.
    """
    if is_open(app):
        pool = pool_of(app)
        arguments: dict[str, Any] = {
            "conninfo": pool.conninfo,
            "kwargs": pool.kwargs,
            "connection_class": pool.connection_class,
            "configure": pool._configure,  # noqa: SLF001  # as below
        }
    else:
        arguments = cast("PsycopgConnector", app.connector)._pool_args  # noqa: SLF001  # the pool has no other way to be asked
    conninfo = await _value(arguments.get("conninfo") or "")
    options = await _value(arguments.get("kwargs") or {})
    connection_class = arguments.get("connection_class") or psycopg.AsyncConnection
    with anyio.fail_after(CONNECT_TIMEOUT):
        connection: psycopg.AsyncConnection[Any] = await connection_class.connect(
            conninfo, **{**options, "autocommit": True}
        )
        if arguments.get("configure") is not None:
            await arguments["configure"](connection)
    return connection


async def _value(given: Any) -> Any:  # noqa: ANN401  # the pool takes values, functions and async functions
    value = given() if callable(given) else given
    return await value if isawaitable(value) else value


async def _apply_schema(connection: psycopg.AsyncConnection[Any]) -> bool:
    # The lock is kept until the tables can be seen by all others.
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
        if await _has_tables(connection):
            return False
        await connection.execute(SchemaManager.get_schema())
    logger.info("the tables of procrastinate were created")
    return True


async def _check_schema(connection: psycopg.AsyncConnection[Any]) -> None:
    if not await _has_tables(connection):
        message = (
            "the tables of procrastinate are missing; apply them with "
            "'procrastinate --app=your.module.app schema --apply', or have this worker do so: apply_schema=True"
        )
        raise SchemaError(message)
    needed = FUNCTIONS.findall(SchemaManager.get_schema())
    query = "SELECT proname FROM pg_proc WHERE proname = ANY(%s) AND pg_function_is_visible(oid)"
    cursor = await connection.cursor(row_factory=tuple_row).execute(query, (needed,))
    found = {name for (name,) in await cursor.fetchall()}
    missing = [name for name in needed if name not in found]
    if missing:
        message = (
            f"the tables of procrastinate are older than procrastinate {version('procrastinate')}: there is no "
            f"{missing[0]}(); apply its migrations, which 'procrastinate schema --migrations-path' shows"
        )
        raise SchemaError(message)


async def _has_tables(connection: psycopg.AsyncConnection[Any]) -> bool:
    cursor = await connection.cursor(row_factory=tuple_row).execute(
        "SELECT to_regclass('procrastinate_jobs') IS NOT NULL"
    )
    row = await cursor.fetchone()
    return bool(row and row[0])
