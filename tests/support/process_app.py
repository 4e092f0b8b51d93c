"""Hosts for tests with real processes, run as a script: ``process_app.py CASE BACKEND [ARGUMENT …]``.

``process_app.py serve DESCRIPTOR`` imports everything once and runs cases in forks of itself, as it is told on a socket.
"""

import ctypes
import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from process_suspects import SUSPECTS, Neighbour, Way

from hostkit import HostBuilder, HostOptions

CLONE_NEWPID = 0x20000000


def options(backend: str, **given: Any) -> HostOptions:  # noqa: ANN401  # as HostOptions takes them
    """Return options with short budgets, for services that use them up; those that obey get *given* longer ones."""
    defaults = {"application_name": "app", "shutdown_timeout": 0.3, "cancellation_timeout": 0.3}
    return HostOptions(**{**defaults, "backend": backend, **given})


def suspect(backend: str, name: str, way: str) -> None:
    """Run a suspect between two good neighbours."""
    # Where nothing is to be forced by time, there is enough of it on a busy machine.
    obeys = name in ("clean", "start-fails", "execute-fails", "stop-fails")
    further = way in ("second", "third") and name != "blocks-in-c"
    builder = HostBuilder(
        options(
            backend,
            shutdown_timeout=60 if obeys or further else 0.3,
            cancellation_timeout=60 if obeys or way == "third" else 0.3,
        )
    )
    builder.add_service(Neighbour("first"), name="first")
    builder.add_service(SUSPECTS[name](builder.lifetime, cast(Way, way)), name="suspect")
    builder.add_service(Neighbour("last"), name="last")
    builder.build().run()


CASES: dict[str, Callable[..., None]] = {"suspect": suspect}


def main(arguments: Sequence[str]) -> None:
    """Run what the arguments name, to the end of the process."""
    if arguments[0] == "serve":
        arguments = serve(socket.socket(fileno=int(arguments[1])))
    case, backend, *rest = arguments
    CASES[case](backend, *rest)


def serve(orders: socket.socket) -> Sequence[str]:
    """Fork for every case that is ordered, and return its arguments in the child; the server itself never returns."""
    for name in ("anyio._backends._asyncio", "anyio._backends._trio", "loguru", "trio", "uvloop"):
        if find_spec(name.partition("._backends._trio")[0] if find_spec("trio") else name):
            import_module(name)
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
