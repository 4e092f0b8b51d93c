"""The worker process: charges orders and confirms them, each at least once, and writes the nightly report.

    hostkit run samples/orders/worker.py

Start as many as you like. Every job is written so that a second run does no harm: one that was cut, or whose process
has died, runs again.

Needs: hostkit-py[local-postgres,procrastinate]
"""

import os
import random
from datetime import UTC, datetime
from decimal import Decimal

from common import add_database
from loguru import logger

from hostkit import Backoff, HostBuilder, Restart
from hostkit.cli import run
from hostkit.ext.procrastinate import ProcrastinateWorker, defer, retry_strategy
from hostkit.jobs import Retry
from hostkit.scheduling import Daily, Scheduler

builder = HostBuilder()
database = add_database(builder)
app = database.app
worker = builder.add_service(ProcrastinateWorker(app, concurrency=10), on_failure=Restart(limit=None))
scheduler = builder.add_service(Scheduler())


class PaymentService:
    """Stands for one out there: it fails at times, also when it has taken the money already."""

    def __init__(self, failures: float) -> None:
        self.failures = failures
        self.payments: dict[str, Decimal] = {}

    async def charge(self, amount: Decimal, *, idempotency_key: str) -> str:
        if random.random() < self.failures / 2:  # noqa: S311  # keeps no secret
            message = "the payment service does not answer"
            raise ConnectionError(message)
        self.payments.setdefault(idempotency_key, amount)  # the same key is the same payment
        if random.random() < self.failures / 2:  # noqa: S311  # keeps no secret
            message = "the answer of the payment service was lost"
            raise ConnectionError(message)
        return f"paid {idempotency_key}"


payments = PaymentService(failures=float(os.environ.get("PAYMENT_FAILURES", "0.3")))


# Ten retries, after 1 s, 2 s, 4 s … and in the end 2 minutes.
@app.task(name="orders.charge", retry=retry_strategy(Retry(attempts=11, backoff=Backoff(initial=1, maximum=120))))
async def charge(order: int) -> None:
    """Not "charge", but "charge this order if it is not paid"."""
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT amount, payment FROM orders WHERE id = %s", (order,))
        ((amount, payment),) = await cursor.fetchall()
    if payment is not None:
        return
    payment = await payments.charge(amount, idempotency_key=f"order-{order}")
    async with database.connection() as connection:
        statement = "UPDATE orders SET payment = %s WHERE id = %s AND payment IS NULL"
        await connection.execute(statement, (payment, order))
    logger.info("order {} is paid", order)


@app.task(name="orders.confirm", retry=retry_strategy(Retry(attempts=11)))
async def confirm(order: int) -> None:
    """Confirm an order once, as far as that can be: of a mail the world outside keeps no key."""
    async with database.connection() as connection:
        statement = "UPDATE orders SET confirmed = now() WHERE id = %s AND confirmed IS NULL RETURNING customer"
        row = await (await connection.execute(statement, (order,))).fetchone()
        if row is not None:
            logger.info("mail to {}: order {} is on its way", row[0], order)  # an error here takes the update back


@app.task(name="reports.build")
async def build_report(timestamp: int | None = None) -> None:
    """Write the report of a day, which may be written any number of times."""
    day = (datetime.now(UTC) if timestamp is None else datetime.fromtimestamp(timestamp, UTC)).date()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO reports SELECT %s, count(*), coalesce(sum(amount) FILTER (WHERE payment IS NOT NULL), 0) "
            "FROM orders ON CONFLICT (day) DO UPDATE SET orders = excluded.orders, paid = excluded.paid",
            (day,),
        )
    logger.info("report of {} is written", day)


# Once a night, over any number of workers.
scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="Europe/Istanbul"), name="nightly-report")

host = builder.build()

if __name__ == "__main__":
    run(host)
