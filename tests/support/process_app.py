"""Hosts for tests with real processes, run as a script: ``process_app.py CASE BACKEND [ARGUMENT …]``.

``process_app.py serve DESCRIPTOR`` imports everything once, and runs the cases that it is told on a socket in forks.
"""

import ctypes
import gc
import os
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import process_ends
import process_owners
import process_stuck
from process_hosts import CASES

from hostkit import HostBuilder, HostOptions

# Each has put its cases there.
assert all((process_ends, process_owners, process_stuck))
CLONE_NEWPID = 0x20000000


def main(arguments: Sequence[str]) -> None:
    """Run what the arguments name, to the end of the process."""
    if arguments[0] == "serve":
        arguments = serve(socket.socket(fileno=int(arguments[1])))
    name, backend, *rest = arguments
    CASES[name](backend, *rest)


def serve(orders: socket.socket) -> Sequence[str]:
    """Fork for every case that is ordered, and return its arguments in the child; the server itself never returns."""
    for backend in ("asyncio", "trio", "uvloop"):
        if backend == "asyncio" or find_spec(backend):
            warm_up(backend)
    import_module("loguru")
    gc.collect()
    gc.freeze()  # or the first collection of every child would copy all memory
    while True:
        request, descriptors, *_ = socket.recv_fds(orders, 10_000, 2)
        if not request:
            sys.exit()
        kind, *arguments = request.decode().split()
        if kind == "wait":
            _, status = os.waitpid(int(arguments[0]), 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = fork(first=kind == "first")
            if not answer:
                orders.close()
                for number, descriptor in enumerate(descriptors, 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                return arguments
            for descriptor in descriptors:
                os.close(descriptor)
        orders.send(str(answer).encode())


def warm_up(backend: str) -> None:
    """Import what a host imports while it runs."""
    builder = HostBuilder(HostOptions(backend=backend, log_level="CRITICAL"))  # type: ignore[arg-type]  # one of them

    @builder.service()
    async def ends() -> None:
        """End at once, and the host with it."""

    builder.build().run(configure_logging=False)


def fork(*, first: bool) -> int:
    """Fork, into a namespace of its own as its *first* process if wanted; return the negative error if that fails."""
    if not first:
        return os.fork()
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/pid").open("rb") as own:
        if libc.unshare(CLONE_NEWPID):
            return -ctypes.get_errno()
        pid = os.fork()
        if pid:
            # For the children to come.
            libc.setns(own.fileno(), CLONE_NEWPID)
        return pid


if __name__ == "__main__":
    main(sys.argv[1:])
