"""What the web process and the worker process share: the database and its tables. None of the jobs' code.

With DATABASE_URL set, that database is used; without, both processes start, and share, a PostgreSQL of their own, with
its data in ``orders-data`` in the working directory.
"""

import os
from contextlib import AbstractAsyncContextManager

import procrastinate
from psycopg import AsyncConnection

from hostkit import HostBuilder, HostedService
from hostkit.ext.local_postgres import LocalPostgres
from hostkit.ext.procrastinate import apply_schema

TABLES = """
SELECT pg_advisory_xact_lock(20261128);  -- both processes may be the first
CREATE TABLE IF NOT EXISTS orders (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer text NOT NULL,
    amount numeric NOT NULL,
    payment text,                        -- null until it is paid
    confirmed timestamptz
);
CREATE TABLE IF NOT EXISTS reports (day date PRIMARY KEY, orders int NOT NULL, paid numeric NOT NULL);
"""


class Database(HostedService):
    """Sees to it that the tables are there, and opens the app of procrastinate, with which jobs are made."""

    def __init__(self, connector: procrastinate.PsycopgConnector) -> None:
        self.app = procrastinate.App(connector=connector)
        self._connector = connector

    async def start(self) -> None:
        await apply_schema(self.app)
        await self.app.open_async()
        async with self.connection() as connection:
            await connection.execute(TABLES)

    async def stop(self) -> None:
        await self.app.close_async()

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Return a connection for a block, which is one transaction."""
        return self._connector.pool.connection()


def add_database(builder: HostBuilder) -> Database:
    """Add what everything else needs."""
    address = os.environ.get("DATABASE_URL")
    if address:
        return builder.add_service(Database(procrastinate.PsycopgConnector(conninfo=address)))
    postgres = builder.add_service(LocalPostgres("orders-data"))
    return builder.add_service(Database(procrastinate.PsycopgConnector(conninfo=lambda: postgres.uri)))
