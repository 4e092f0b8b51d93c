"""A process with a worker of jobs, for tests that stop or kill it.

``python durable_child.py ADDRESS [OPTION=VALUE …]``, with options of the worker and of the host. Each job says on
standard output that it begins, and writes its effect into the table ``effects`` when it ends.
"""

import asyncio
import os
import sys
import time
from typing import Any, Literal

import procrastinate
from process_suspects import say
from procrastinate.job_context import JobContext

from hostkit import HostBuilder, HostOptions, Restart
from hostkit.ext.procrastinate import ProcrastinateWorker

PAYMENT = "INSERT INTO payments (number) VALUES (%(number)s) ON CONFLICT DO NOTHING"
EFFECT = "INSERT INTO effects (what, job, process) VALUES (%(what)s, %(job)s, %(process)s)"


def make_app(address: str) -> procrastinate.App:
    """Return an app with the tasks."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address))

    async def note(context: JobContext, what: str) -> None:
        await app.connector.execute_query_async(EFFECT, what=what, job=context.job.id, process=os.getpid())

    @app.task(name="take", pass_context=True)
    async def take(context: JobContext, seconds: float) -> None:
        say(f"begins {context.job.id}")
        await asyncio.sleep(seconds)
        await note(context, "taken")

    @app.task(name="pay", pass_context=True)
    async def pay(context: JobContext, number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await note(context, str(number))
        await app.connector.execute_query_async(PAYMENT, number=number)

    @app.task(name="stubborn", pass_context=True)
    def stubborn(context: JobContext, seconds: float) -> None:
        say(f"begins {context.job.id}")
        time.sleep(seconds)

    @app.task(name="crash", pass_context=True)
    async def crash(context: JobContext) -> None:
        say(f"begins {context.job.id}")
        os._exit(9)

    return app


def main() -> None:
    """Run a worker until a signal."""
    address, *given = sys.argv[1:]
    options: dict[str, Any] = {name: float(value) for name, _, value in (option.partition("=") for option in given)}
    deadlines = {name: options.pop(name) for name in ("shutdown_timeout", "cancellation_timeout") if name in options}
    backend: Literal["asyncio", "uvloop"] = "uvloop" if options.pop("uvloop", 0) else "asyncio"
    builder = HostBuilder(HostOptions(backend=backend, **deadlines))
    app = make_app(address)
    for name in ("concurrency", "crash_limit"):
        if name in options:
            options[name] = int(options[name])
    builder.add_service(ProcrastinateWorker(app, **options), on_failure=Restart(limit=None))
    host = builder.build()
    host.lifetime.on_started(lambda: say("ready"))
    host.run()


if __name__ == "__main__":
    main()
