"""How often hostkit changes from file to file: for a start, a stop and a job; as a command, with the files by name.

Each call of a function of hostkit's counts, and each time that a coroutine of it is resumed; a change is a call in
another file than the call before it. The counts are exact, and the same at each run of one version of Python.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Self

import anyio
from loguru import logger

import hostkit
from hostkit import BackgroundService, Host, HostBuilder, HostedService, HostOptions, StoppingToken, ThreadStoppingToken

PACKAGE = str(Path(hostkit.__file__).parent)


class Trace:
    """The calls of hostkit's functions, in this thread, while it is entered."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.calls: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        """Begin to listen."""
        sys.setprofile(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        sys.setprofile(None)

    @property
    def files(self) -> list[str]:
        """The files, one for each change."""
        files = [file for file, _ in self.calls]
        return [file for file, before in zip(files, [None, *files], strict=False) if file != before]

    @property
    def changes(self) -> int:
        """How often the file has changed."""
        return len(self.files) - 1

    def _take(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            self.calls.append((code.co_filename.removeprefix(PACKAGE + "/"), code.co_qualname))


class Waiting(BackgroundService):
    """A service that does nothing until the stop."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        await stopping_token.wait()


def _host(service: HostedService | type[HostedService]) -> Host:
    builder = HostBuilder(HostOptions(application_name="trace"))
    builder.add_service(service)
    return builder.build()


async def start_and_stop() -> tuple[Trace, Trace]:
    """Return the traces of a start and of a stop of one background service."""
    async with _host(Waiting):  # what is imported on first use is
        pass
    host = _host(Waiting)
    await anyio.sleep(0.01)
    with Trace() as start:
        await host.start()
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.01)
    with Trace() as stop:
        await host.stop()
    return start, stop


def work(stopping_token: ThreadStoppingToken) -> None:
    """Do nothing, on a thread."""


async def job() -> Trace:
    """Return the trace of a job with a token, a timeout and a thread, from ``enqueue`` until its queue is idle."""
    from hostkit.jobs import JobQueue

    queue = JobQueue(timeout=60)
    async with _host(queue):
        await (await queue.enqueue(work)).wait()
        await anyio.sleep(0.01)
        with Trace() as trace:
            await queue.enqueue(work)
            await anyio.sleep(0.1)
    return trace


async def measure() -> dict[str, Trace]:
    """Return all traces by their names; of a job also the part up to its end."""
    start, stop = await start_and_stop()
    whole, ended = await job(), Trace()
    functions = [function for _, function in whole.calls]
    ended.calls = whole.calls[: functions.index("Dispatcher.end") + 1]
    return {"start": start, "stop": stop, "job": ended, "job, until its queue is idle": whole}


def main() -> None:
    """Print how many files, how many changes, and each call."""
    logger.remove()
    for name, trace in anyio.run(measure).items():
        sys.stdout.write(f"{name}: {len(set(trace.files))} files, {trace.changes} changes\n")
        sys.stdout.writelines(f"    {file}  {qualified}\n" for file, qualified in trace.calls)


if __name__ == "__main__":
    main()
