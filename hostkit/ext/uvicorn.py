"""A web server inside the host: uvicorn as a service. Needs ``hostkit-py[uvicorn]``, and asyncio or uvloop."""

import math
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from copy import copy
from email.utils import formatdate
from errno import EADDRINUSE
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute
from uvicorn import Config, Server

from hostkit import BackgroundService, StoppingToken
from hostkit._config.service_context import log_in_service
from hostkit._execution.event_loop import require_asyncio
from hostkit.ext.asgi import AnyASGIApp, Receive, Send

__all__ = ["WebServer"]

# The host's, or this service's own: one process that is not recycled, its event loop, its sockets, and an app that is
# here already. A callback every so often would need uvicorn's loop, which wakes ten times a second.
REFUSED = frozenset(
    {
        "callback_notify",
        "env_file",
        "factory",
        "fd",
        "interface",
        "limit_max_requests",
        "limit_max_requests_jitter",
        "loop",
        "reload",
        "timeout_notify",
        "uds",
        "workers",
    }
)
UNIX = "unix:"
LAST_PORT = 65535
SOCKET_FILE_MODE = 0o600
NO_REASON = "the app's lifespan reported a failed startup, and raised no error"


class WebServer(BackgroundService):
    """A service that serves an ASGI app over HTTP, with uvicorn.

    Add it last, ``builder.add_service(WebServer(app, port=8080))``: it then starts when everything that requests use is
    ready, and stops first.

    It is ready when the app's own lifespan, if it has one, has started and connections are accepted. It touches no
    signal handlers, and uvicorn's loggers go wherever the standard library's `logging` goes. While no request comes it
    does not wake the event loop.

    Connections that only take up room are closed: one that has not sent the complete head of a request *head_timeout*
    seconds after it was opened, or after the first byte of a further request; and, when more than *max_connections* are
    open, the one that has been without a request for longest. A slow *body* is the app's own affair.

    Stopping:
        No connection is accepted any more, idle ones are closed, and requests are finished. Those that are not when the
        service is cancelled (``shutdown_timeout``, or its own ``stop_timeout``) are cancelled; then the app's lifespan
        ends.

    Failures:
        A port or socket file that is taken and a lifespan that fails are failures of the start.

    Attributes:
        port: The port; when it is 0, the one that was chosen at the start.
    """

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        app: AnyASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        head_timeout: float = 10,
        max_connections: int = 500,
        accepted_at_once: int = 4,
        access_log: bool = True,
        **options: object,
    ) -> None:
        """Prepare to serve *app*.

        Args:
            app: An ASGI 3 app, not its name.
            host: The address or name to listen on; ``"0.0.0.0"`` and ``"::"`` are every address of the machine.
                ``"unix:/run/app.sock"`` is a socket file, which only the user of this process may open.
            port: The port to listen on; 0 for one that is free.
            head_timeout: How many seconds the head of a request may take to arrive.
            max_connections: How many connections may be open at a time. The default is half of the descriptors that a
                process usually has. When all of them have a request under way, a new one is closed at once.
            accepted_at_once: How many new connections are accepted in one turn of the event loop, so that a thousand
                clients that come together do not block it. Fewer disturb the host's other services less, and make
                clients wait while its turns are long.
            access_log: Whether each request is a line of the logger ``uvicorn.access``; of this server alone, where
                uvicorn's own option would silence every server of the process.
            options: Further ones of ``uvicorn.Config``, such as ``ssl_certfile`` and ``root_path``.

        Raises:
            TypeError: *app* cannot be called, or there is no such option, or it makes no sense inside a host.
            ValueError: *port* is not an int from 0 to 65535, *head_timeout* is not a number above 0, or
                *max_connections* or *accepted_at_once* is not an int of 1 or more.
        """
        if not callable(app):
            message = f"app must be an ASGI app, got {app!r}"
            raise TypeError(message)
        refused = REFUSED & options.keys()
        if refused:
            message = f"{', '.join(sorted(refused))}: not for a web server inside a host"
            raise TypeError(message)
        _check_numbers(port, head_timeout, max_connections=max_connections, accepted_at_once=accepted_at_once)
        self.port = port
        self._limits = head_timeout, max_connections
        self._accepted_at_once = accepted_at_once
        self._access_log = access_log
        self._app = app
        self._lifespan_error: BaseException | None = None
        given: dict[str, Any] = {"log_config": None, **options}
        self._config = Config(self._call, host=host, port=port, interface="asgi3", workers=1, **given)

    def details(self) -> Mapping[str, object]:
        """Return where it listens, for the host's status."""
        host = self._config.host
        return {"listens on": host} if host.startswith(UNIX) else {"port": self.port}

    async def start(self) -> None:
        """Start the app's lifespan and listen."""
        require_asyncio("uvicorn")
        config = copy(self._config)  # uvicorn loads one only once
        config.load()
        backlog, config.backlog = config.backlog, self._accepted_at_once  # asyncio takes one number for both
        self._server = server = Server(config)
        connections = _Connections(server, *self._limits, access_log=self._access_log)
        config.http_protocol_class = connections.watched(config.http_protocol_class)
        server.lifespan = config.lifespan_class(config)
        self._lifespan = anyio.CancelScope()
        self._take_lifespan_error()
        self._is_drained = False
        self._sockets = await _listen(config.host, config.port, backlog)
        try:
            with suppress(SystemExit):  # how newer versions end when the lifespan has failed
                await server.startup(sockets=self._sockets)
        except BaseException:
            self._abort()
            raise
        if server.lifespan.should_exit:
            self._abort()
            raise self._take_lifespan_error() or RuntimeError(NO_REASON)
        self._take_lifespan_error()  # that of an app which has no lifespan
        for listening in self._sockets:
            listening.listen(backlog)
        if config.host.startswith(UNIX):
            log_in_service("INFO", "listening on {}", config.host)
            return
        self.port = self._sockets[0].getsockname()[1]
        scheme, name = "https" if config.is_ssl else "http", f"[{config.host}]" if ":" in config.host else config.host
        log_in_service("INFO", "listening on {}://{}:{}", scheme, name, self.port)

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Serve until the stop, then finish what has begun."""
        # Not uvicorn's own main_loop(): it wakes ten times a second, to set the header Date and to look for its end.
        await stopping_token.wait()
        await self._drain()

    async def stop(self) -> None:
        """Cancel the requests that have not been finished in time."""
        if self._is_drained:
            return
        tasks = self._server.server_state.tasks
        log_in_service("WARNING", "cancelling requests that were not finished in time: {}", len(tasks))
        for task in tuple(tasks):
            task.cancel()
        try:
            await self._drain()
        finally:
            self._abort()

    async def _drain(self) -> None:
        await self._server.shutdown(sockets=self._sockets)
        self._is_drained = True
        self._cut_connections()  # those that timeout_graceful_shutdown was too short for
        self._remove_socket_file()
        error = self._take_lifespan_error()
        if error is not None:
            raise error

    def _take_lifespan_error(self) -> BaseException | None:
        error, self._lifespan_error = self._lifespan_error, None
        return error

    def _abort(self) -> None:
        """Close what is open, without waiting."""
        self._lifespan.cancel()
        self._cut_connections()
        for listener in getattr(self._server, "servers", ()):
            listener.close()
        for listening in self._sockets:
            listening.close()
        self._remove_socket_file()

    def _cut_connections(self) -> None:
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()

    def _remove_socket_file(self) -> None:
        if self._config.host.startswith(UNIX):
            Path(self._config.host.removeprefix(UNIX)).unlink(missing_ok=True)

    async def _call(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        # uvicorn keeps neither the task of the lifespan nor its error.
        with self._lifespan:
            try:
                await self._app(scope, receive, send)
            except BaseException as error:
                self._lifespan_error = error
                raise


class _Connections:
    """Keeps the connections of a server few and its headers fresh; hears of them through a subclass of its protocol.

    A connection is busy from the complete head of a request to the end of its response, and quiet otherwise.
    """

    def __init__(self, server: Server, head_timeout: float, limit: int, *, access_log: bool) -> None:
        self._access_log = access_log
        self._config = server.config
        self._state = server.server_state
        self._head_timeout = head_timeout
        self._limit = limit
        self._timers: dict[Any, Any] = {}
        self._quiet: dict[Any, None] = {}  # in the order in which they became so

    def watched(self, protocol: type[Any]) -> type[Any]:
        """Return *protocol*, a class of uvicorn's, with calls of the methods below."""

        def connection_made(self: Any, transport: Any) -> None:  # noqa: ANN401
            protocol.connection_made(self, transport)
            connections.opened(self)

        def data_received(self: Any, data: bytes) -> None:  # noqa: ANN401
            connections.renew_date()
            protocol.data_received(self, data)
            connections.received(self)

        def on_response_complete(self: Any) -> None:  # noqa: ANN401
            protocol.on_response_complete(self)
            connections.answered(self)

        def connection_lost(self: Any, error: Exception | None) -> None:  # noqa: ANN401
            protocol.connection_lost(self, error)
            connections.closed(self)

        connections = self
        methods = (connection_made, data_received, on_response_complete, connection_lost)
        return type(protocol.__name__, (protocol,), {method.__name__: method for method in methods})

    def renew_date(self) -> None:
        """Set the headers of the responses to come."""
        date = [(b"date", formatdate(usegmt=True).encode())] if self._config.date_header else []
        self._state.default_headers = date + self._config.encoded_headers

    def opened(self, connection: Any) -> None:  # noqa: ANN401
        """Wait for the head of its first request, and close another one if there are too many."""
        connection.access_log = connection.access_log and self._access_log
        self._quiet[connection] = None
        self._wait_for_head(connection)
        if len(self._state.connections) > self._limit:
            cut_off = (each for each in self._state.connections if each.transport.is_closing())
            quiet = next(iter(self._quiet))
            victim = quiet if quiet is not connection else next(cut_off, connection)
            victim.transport.abort()

    def received(self, connection: Any) -> None:  # noqa: ANN401
        """See whether a head is complete now; it belongs to another protocol after an upgrade."""
        if _is_busy(connection) or connection.transport.get_protocol() is not connection:
            self.closed(connection)
        elif connection not in self._timers:
            self._wait_for_head(connection)

    def answered(self, connection: Any) -> None:  # noqa: ANN401
        """Count it as quiet, unless its next request is here already."""
        if not _is_busy(connection):
            self._quiet[connection] = None

    def closed(self, connection: Any) -> None:  # noqa: ANN401
        """Count it as quiet no longer."""
        self._quiet.pop(connection, None)
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _wait_for_head(self, connection: Any) -> None:  # noqa: ANN401
        self._timers[connection] = connection.loop.call_later(self._head_timeout, connection.transport.abort)


def _check_numbers(port: object, head_timeout: object, **counts: object) -> None:
    if type(port) is not int or not 0 <= port <= LAST_PORT:
        message = f"port must be an int from 0 to {LAST_PORT}, got {port!r}"
        raise ValueError(message)
    if not (isinstance(head_timeout, int | float) and 0 < head_timeout < math.inf):
        message = f"head_timeout must be a number of seconds above 0, got {head_timeout!r}"
        raise ValueError(message)
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            message = f"{name} must be an int of 1 or more, got {count!r}"
            raise ValueError(message)


def _is_busy(connection: Any) -> bool:  # noqa: ANN401
    cycle = connection.cycle
    return cycle is not None and not cycle.response_complete


async def _listen(host: str, port: int, backlog: int) -> list[socket.socket]:
    try:
        if host.startswith(UNIX):
            path = host.removeprefix(UNIX)
            await _require_unused(path)
            file = await anyio.create_unix_listener(path, mode=SOCKET_FILE_MODE, backlog=backlog)
            return [file.extra(SocketAttribute.raw_socket)]  # noqa: S610  # not Django's
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=backlog)
    except OSError as error:
        address = host if host.startswith(UNIX) else f"{host}:{port}"
        message = f"cannot listen on {address}: {error.strerror or error}"
        # A path that is too long for a socket has no number.
        raise (OSError(error.errno, message) if error.errno else OSError(message)) from error
    return [each.extra(SocketAttribute.raw_socket) for each in listener.listeners]  # noqa: S610  # not Django's


async def _require_unused(path: str) -> None:
    # Who binds a socket file removes the one that is there, which is to be that of a server that has died.
    with suppress(FileNotFoundError, ConnectionRefusedError):
        async with await anyio.connect_unix(path):
            raise OSError(EADDRINUSE, "another server listens there")
