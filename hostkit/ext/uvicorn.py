"""A web server inside the host: uvicorn as a service. Needs ``hostkit-py[uvicorn]``, and asyncio or uvloop."""

import socket
from collections.abc import MutableMapping
from contextlib import suppress
from copy import copy
from typing import Any

import anyio
from anyio.abc import SocketAttribute
from loguru import logger
from uvicorn import Config, Server

from hostkit import BackgroundService, HostStateError, StoppingToken
from hostkit.ext.asgi import AnyASGIApp, Receive, Send

__all__ = ["WebServer"]

# The host's, or this service's own: one process, its event loop, its sockets, and an app that is here already.
REFUSED = frozenset({"env_file", "factory", "fd", "interface", "loop", "reload", "uds", "workers"})
NO_REASON = "the app's lifespan told of a failed startup, and raised no error"


class WebServer(BackgroundService):
    """A service that serves an ASGI app over HTTP, with uvicorn.

    Add it last, ``builder.add_service(WebServer(app, port=8080))``: it then starts when everything that requests use is
    ready, and stops first.

    It is ready when the app's own lifespan, if it has one, has started and connections are accepted. It touches no
    signal handlers, and uvicorn's loggers go wherever the standard library's `logging` goes.

    Stopping:
        No connection is accepted any more, idle ones are closed, and requests are finished. Those that are not when the
        service is cancelled (``shutdown_timeout``, or its own ``stop_timeout``) are cancelled; then the app's lifespan
        ends.

    Failures:
        A port that is taken and a lifespan that fails are failures of the start.

    Attributes:
        port: The port; when it is 0, the one that was chosen at the start.
    """

    def __init__(self, app: AnyASGIApp, *, host: str = "127.0.0.1", port: int = 8000, **options: object) -> None:
        """Prepare to serve *app*.

        Args:
            app: An ASGI 3 app, not its name.
            host: The address or name to listen on; ``"0.0.0.0"`` and ``"::"`` are everybody's.
            port: The port to listen on; 0 for one that is free.
            options: Further ones of ``uvicorn.Config``, such as ``ssl_certfile``, ``root_path``, ``access_log``.

        Raises:
            TypeError: *app* cannot be called, or there is no such option, or it makes no sense inside a host.
        """
        if not callable(app):
            message = f"app must be an ASGI app, got {app!r}"
            raise TypeError(message)
        refused = REFUSED & options.keys()
        if refused:
            message = f"{', '.join(sorted(refused))}: not for a web server inside a host"
            raise TypeError(message)
        self.port = port
        self._app = app
        self._lifespan_error: BaseException | None = None
        given: dict[str, Any] = {"log_config": None, **options}
        self._config = Config(self._call, host=host, port=port, interface="asgi3", workers=1, **given)

    async def start(self) -> None:
        """Start the app's lifespan and listen."""
        if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
            message = "uvicorn needs asyncio or uvloop, not trio; see the option backend (HOSTKIT_BACKEND)"
            raise HostStateError(message)
        config = copy(self._config)  # uvicorn loads one only once
        config.load()
        self._server = server = Server(config)
        server.lifespan = config.lifespan_class(config)
        self._lifespan = anyio.CancelScope()
        self._take_lifespan_error()
        self._is_drained = False
        self._sockets = await _listen(config.host, config.port, config.backlog)
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
        self.port = self._sockets[0].getsockname()[1]
        scheme, name = "https" if config.is_ssl else "http", f"[{config.host}]" if ":" in config.host else config.host
        logger.info("listening on {}://{}:{}", scheme, name, self.port)

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Serve until the stop, then finish what has begun."""
        with stopping_token.cancel_on_stop():
            await self._server.main_loop()
        await self._drain()

    async def stop(self) -> None:
        """Cancel the requests that have not been finished in time."""
        if self._is_drained:
            return
        tasks = self._server.server_state.tasks
        logger.warning("cancelling requests that were not finished in time: {}", len(tasks))
        for task in tuple(tasks):
            task.cancel()
        try:
            await self._drain()
        finally:
            self._abort()

    async def _drain(self) -> None:
        await self._server.shutdown(sockets=self._sockets)
        self._is_drained = True
        error = self._take_lifespan_error()
        if error is not None:
            raise error

    def _take_lifespan_error(self) -> BaseException | None:
        error, self._lifespan_error = self._lifespan_error, None
        return error

    def _abort(self) -> None:
        """Close what is open, without waiting."""
        self._lifespan.cancel()
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        for listener in getattr(self._server, "servers", ()):
            listener.close()
        for listening in self._sockets:
            listening.close()

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


async def _listen(host: str, port: int, backlog: int) -> list[socket.socket]:
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=backlog)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise OSError(error.errno, message) from error
    return [each.extra(SocketAttribute.raw_socket) for each in listener.listeners]  # noqa: S610  # not Django's
