"""A process that has no file descriptor left: the host still answers, stops, and is waited for."""

import subprocess
import sys
from textwrap import dedent

import pytest

pytest.importorskip("resource", reason="limits of the operating system")

PROGRAM = """
    import os
    import sys

    import anyio

    from hostkit import Backoff, BackgroundService, HostBuilder, HostOptions, Restart, ThreadService


    class Waiting(BackgroundService):
        async def execute(self, stopping_token):
            await stopping_token.wait()


    class Blocking(ThreadService):
        def execute(self, stopping_token):
            stopping_token.wait()


    class Failing(BackgroundService):
        async def execute(self, stopping_token):
            if await stopping_token.sleep(0.2):
                return
            raise OSError("no route")


    def use_up():
        "Open files until none is left."
        files = []
        while True:
            try:
                files.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return files


    def build():
        builder = HostBuilder(HostOptions(application_name="app", log_level="ERROR"))
        builder.add_service(Waiting())
        builder.add_service(Blocking())
        builder.add_service(Failing(), on_failure=Restart(limit=None, backoff=Backoff(600, maximum=600)))
        return builder.build()


    async def work():
        return "worked"


    async def main():
        async with build() as host:
            use_up()
            await anyio.sleep(0.5)
            status = host.status()
            checks = await host.check()
            await host.restart("waiting")
            states = [service.state.value for service in status.services]
            await host.stop()
            await host.wait()
        print(states, [type(error).__name__ for error in checks.values()], host.lifetime.exit_code)


    def in_thread():
        with build().start_in_thread() as thread:
            use_up()
            print(thread.call(work))


    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    if sys.argv[1] == "thread":
        in_thread()
    else:
        anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize(
    ("how", "output"),
    [
        ("asyncio", "['started', 'started', 'restarting'] ['NoneType', 'NoneType', 'HostStateError'] 0"),
        pytest.param(
            "trio",
            "['started', 'started', 'restarting'] ['NoneType', 'NoneType', 'HostStateError'] 0",
            marks=pytest.mark.needs("trio"),
        ),
        ("thread", "worked"),
    ],
)
def test_a_host_without_descriptors_answers_and_stops(how: str, output: str) -> None:
    """What is needed in trouble is loaded at the start: status, check, restart, stop, wait and calls need no file."""
    child = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), how], capture_output=True, text=True, timeout=60, check=False
    )

    assert (child.stdout.strip(), child.returncode) == (output, 0), child.stderr
