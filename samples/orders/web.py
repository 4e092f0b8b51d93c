"""The web process: takes orders, and makes a job of whatever must not be lost. It knows the jobs by name alone.

    hostkit run samples/orders/web.py
    curl --json '{"customer": "Ada", "amount": 12.5}' http://127.0.0.1:8000/orders
    curl http://127.0.0.1:8000/orders/1

Needs: fastapi hostkit-py[local-postgres,procrastinate,uvicorn]
"""

import os
from decimal import Decimal

from common import add_database
from fastapi import FastAPI, HTTPException
from procrastinate.exceptions import AlreadyEnqueued
from pydantic import BaseModel

from hostkit import HostBuilder
from hostkit.cli import run
from hostkit.ext.uvicorn import WebServer

api = FastAPI()
builder = HostBuilder()
database = add_database(builder)
app = database.app
web = builder.add_service(
    WebServer(api, host=os.environ.get("WEB_HOST", "127.0.0.1"), port=int(os.environ.get("WEB_PORT", "8000")))
)


class Order(BaseModel):
    customer: str
    amount: Decimal


@api.post("/orders")
async def order(order: Order) -> dict[str, int]:
    # One transaction: the order and its jobs are there together, or not at all.
    async with database.connection() as connection:
        statement = "INSERT INTO orders (customer, amount) VALUES (%s, %s) RETURNING id"
        cursor = await connection.execute(statement, (order.customer, order.amount))
        ((number,),) = await cursor.fetchall()
        for task in ("orders.charge", "orders.confirm"):
            # Of the jobs with one lock, one runs at a time, in this order: no confirmation before it is paid.
            deferrer = app.configure_task(task, lock=f"order-{number}", connection=connection)
            await deferrer.defer_async(order=number)
        try:
            # Many orders, one report that waits. A savepoint: the error would spoil the whole transaction.
            async with connection.transaction():
                deferrer = app.configure_task("reports.build", queueing_lock="report", connection=connection)
                await deferrer.defer_async()
        except AlreadyEnqueued:
            pass
    return {"order": number}


@api.get("/orders/{number}")
async def look(number: int) -> dict[str, object]:
    async with database.connection() as connection:
        statement = "SELECT customer, amount, payment, confirmed FROM orders WHERE id = %s"
        row = await (await connection.execute(statement, (number,))).fetchone()
    if row is None:
        raise HTTPException(404)
    customer, amount, payment, confirmed = row
    return {"customer": customer, "amount": amount, "payment": payment, "confirmed": confirmed}


host = builder.build()

if __name__ == "__main__":
    run(host)
