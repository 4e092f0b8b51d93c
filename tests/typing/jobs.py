# ruff: noqa: D103, FBT003  # signatures and calls, which nobody makes
"""What the type checker says of jobs: each line that is wrong is marked with the error that it shall be.

With ``nox -s typing`` an error that is not found is an ignore that is not used, which is an error as well.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import assert_type

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit.jobs import Job, JobQueue, Retry

queue = JobQueue()


async def charge(order: int, currency: str = "EUR", *, express: bool = False) -> float: ...  # type: ignore[empty-body]


async def sync_orders(stopping_token: StoppingToken, shop: str) -> None: ...


def resize(path: str, width: int) -> bytes: ...  # type: ignore[empty-body]


def index(stopping_token: ThreadStoppingToken, path: str) -> int: ...  # type: ignore[empty-body]


class Mailer:
    async def send(self, address: str) -> bool: ...  # type: ignore[empty-body]

    async def sync(self, stopping_token: StoppingToken, folder: str) -> None: ...


async def results_are_typed_after_the_function(instant: datetime) -> None:
    assert_type(await queue.enqueue(charge, 1), Job[float])
    assert_type(await queue.enqueue(charge, 1, "USD", express=True), Job[float])
    assert_type(await queue.enqueue(resize, "a", 3), Job[bytes])
    assert_type(await queue.enqueue(sync_orders, "shop"), Job[None])
    assert_type(await queue.enqueue(index, "a"), Job[int])
    assert_type(await queue.enqueue(Mailer().send, "a@example.org"), Job[bool])
    assert_type(await queue.enqueue(Mailer().sync, "inbox"), Job[None])
    assert_type(await queue.enqueue(partial(charge, 1)), Job[float])
    assert_type(queue.enqueue_nowait(charge, 1), Job[float])
    assert_type(queue.enqueue_nowait(index, "a"), Job[int])
    assert_type(await queue.enqueue_in(timedelta(minutes=1), charge, 1), Job[float])
    assert_type(await queue.enqueue_in(5, sync_orders, "shop"), Job[None])
    assert_type(await queue.enqueue_at(instant, resize, "a", 3), Job[bytes])
    assert_type(await queue.with_options(key=1, timeout=3).enqueue(charge, 1), Job[float])
    assert_type((await queue.enqueue(charge, 1)).result(), float)
    assert_type((await queue.enqueue(charge, 1)).requeue(), Job[float])


async def a_job_of_something_is_a_job_of_anything() -> None:
    jobs: list[Job[object]] = [await queue.enqueue(charge, 1), queue.enqueue_nowait(resize, "a", 3)]
    del jobs


async def wrong_arguments_are_errors_at_the_call(instant: datetime) -> None:
    await queue.enqueue(charge)  # type: ignore[call-overload]
    await queue.enqueue(charge, "1")  # type: ignore[call-overload]
    await queue.enqueue(charge, 1, "USD", True)  # type: ignore[call-overload]
    await queue.enqueue(charge, 1, express=1)  # type: ignore[arg-type]
    await queue.enqueue(charge, 1, slow=True)  # type: ignore[call-arg]
    await queue.enqueue(resize, "a")  # type: ignore[call-overload]
    await queue.enqueue(sync_orders)  # type: ignore[call-overload]
    await queue.enqueue(sync_orders, 3)  # type: ignore[call-overload]
    await queue.enqueue(index, 3)  # type: ignore[call-overload]
    await queue.enqueue(Mailer().send, 3)  # type: ignore[call-overload]
    await queue.enqueue(Mailer().sync, 3)  # type: ignore[call-overload]
    await queue.enqueue(3)  # type: ignore[call-overload]
    queue.enqueue_nowait(charge, "1")  # type: ignore[call-overload]
    queue.enqueue_nowait(resize, "a")  # type: ignore[call-overload]
    await queue.enqueue_in("1", charge, 1)  # type: ignore[call-overload]
    await queue.enqueue_in(1, charge, "1")  # type: ignore[call-overload]
    await queue.enqueue_at(1, charge, 1)  # type: ignore[call-overload]
    await queue.enqueue_at(instant, charge, "1")  # type: ignore[call-overload]
    await queue.with_options(key="k").enqueue(charge, "1")  # type: ignore[call-overload]


def wrong_options_are_errors_too() -> None:
    queue.with_options(retry=3)  # type: ignore[arg-type]
    queue.with_options(timeout="3")  # type: ignore[arg-type]
    queue.with_options(kee="k")  # type: ignore[call-arg]
    JobQueue(10)  # type: ignore[call-arg]
    JobQueue(retry=Retry(on="OSError"))  # type: ignore[arg-type]
