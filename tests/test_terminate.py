"""terminate_on_failure: a host that fails inside somebody else's process ends that process too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, atexit, signal
import anyio
from hostkit import HostBuilder, HostFailedError, HostOptions

atexit.register(print, "the app's own exit handler")
builder = HostBuilder(HostOptions(terminate_on_failure=True, shutdown_timeout=0.2, cancellation_timeout=0.2))

@builder.service()
async def other(stopping_token):
    await stopping_token.wait()
    print("other stopped", flush=True)

@builder.service()
async def service(stopping_token):
    {body}

host = builder.build()

async def main():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    try:
        async with host:
            {wait}
            print("terminated", flush=True)
    except HostFailedError as error:
        print(error.message, flush=True)

asyncio.run(main())
"""


def run(directory: Path, body: str, wait: str) -> subprocess.CompletedProcess[str]:
    """Run an app with a host whose last service does *body*, and which waits for *wait*."""
    script = directory / "app.py"
    script.write_text(PROGRAM.format(body=body, wait=wait))
    return subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)


def test_a_crash_ends_the_process_when_the_others_have_stopped(tmp_path: Path) -> None:
    """The process gets SIGTERM when the host's own stop is complete, and exits as its own handler of that has it."""
    done = run(tmp_path, "raise OSError('no route')", "await stopped.wait()")

    lines = done.stdout.splitlines()
    assert lines[:2] == ["other stopped", "terminated"]
    assert lines[2].startswith("host failed: OSError: no route")
    assert lines[3] == "the app's own exit handler"
    assert done.returncode == 0


def test_a_host_that_has_not_failed_ends_no_process(tmp_path: Path) -> None:
    """Neither its stop nor the end of one of its services does."""
    done = run(tmp_path, "pass", "await anyio.sleep(0.1)")

    assert done.stdout.splitlines() == ["terminated", "other stopped", "the app's own exit handler"]
    assert done.returncode == 0


def test_an_abandoned_service_ends_the_process_at_once(tmp_path: Path) -> None:
    """A service that cannot be ended would keep the event loop for ever: the process is left with code 3."""
    deaf = "with anyio.CancelScope(shield=True): await anyio.sleep(600)"
    done = run(tmp_path, deaf, "pass")

    assert done.returncode == 3
    assert "service service ignores its cancellation, abandoned" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_cannot_use_the_host_of_its_parent() -> None:
    """After a fork the child's host has neither loop nor tasks; it says so."""
    program = (
        "import os, sys\n"
        "from hostkit import HostBuilder, HostOptions, HostedService, HostStateError\n"
        "builder = HostBuilder(HostOptions(log_level='ERROR'))\n"
        "builder.add_service(HostedService())\n"
        "host = builder.build()\n"
        "with host.start_in_thread():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            host.start_in_thread()\n"
        "        except HostStateError as error:\n"
        "            print(error, flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "the process was forked after the host was started; make the host in the child\n"
