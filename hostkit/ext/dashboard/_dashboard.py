"""The page as a service with a server of its own, and as an app to mount."""

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import anyio

from hostkit import BackgroundService, Host, HostBuilder, StoppingToken
from hostkit.ext.dashboard._guard import TOKEN_VARIABLE, Guard, check_token, is_loopback

if TYPE_CHECKING:
    from hostkit.ext.asgi import ASGIApp

LONGEST_MOUNTED_STREAM = 10.0
"""How long the stop of a server may be held by a page that is open: it does not notify its apps that it stops."""
DRAIN = 2
"""Seconds that requests have at the stop."""
LAST_WORDS = 1
"""Seconds that open pages have to hear of the end where the dashboard is cancelled with others that took too long."""
MOST_CONNECTIONS = 200


class Dashboard(BackgroundService):
    """A service that shows its host on a page, as JSON, to probes and to Prometheus.

    Add it first, ``builder.add_service(Dashboard(builder))``: it then shows the start of the others, and answers until
    all of them have stopped. It needs ``hostkit-py[dashboard]``, and asyncio or uvloop.

    ``/`` is the page, ``/status.json`` the same for programs, ``/livez``, ``/readyz`` and ``/startupz`` are the probes
    (see `hostkit.ext.health.health_app`), ``/metrics`` is for Prometheus.

    On a loopback address it is open to the clients of this machine. Elsewhere it asks for *token*: people sign in with
    it, programs send it as ``Authorization: Bearer …``. The probes never ask for it. Nothing can be changed by the page
    unless *actions* is true.

    Stopping:
        Open pages hear that the host has ended. Requests have 2 s, then their connections are closed.

    Attributes:
        port: The port; when it is 0, the one that was chosen at the start.
    """

    shows_host = True
    """Known from other services by this: it is not restarted from its own page."""

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        source: HostBuilder | Host,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        token: str | None = None,
        actions: bool = False,
        hosts: Collection[str] = (),
        ready_checks: bool = True,
        **options: object,
    ) -> None:
        """Prepare to show *source*.

        Args:
            source: The builder that makes the host, or the host.
            host: The address or name to listen on, or ``"unix:/run/app.sock"`` for a socket file, which only the user
                of this process may open.
            port: The port to listen on; 0 for one that is free.
            token: What clients prove themselves with, at least 16 characters; if not given, the value of
                ``HOSTKIT_DASHBOARD_TOKEN``. Never give it on a command line: other users of the machine see that.
            actions: Whether the page may steer the host: run, pause, requeue, restart, stop.
            hosts: The names by which clients may call this server; others are refused. If not given: on a loopback
                address without a token ``localhost``, ``127.0.0.1`` and ``[::1]``, otherwise any.
            ready_checks: Whether ``/readyz`` asks the services' ``check()``.
            options: Further ones of `hostkit.ext.uvicorn.WebServer`, such as ``ssl_certfile``.

        Raises:
            TypeError: An option is of the wrong type, or there is no such option.
            ValueError: *token* is too short, or is missing although others than this machine reach *host*; *port* is no
                port; or one of *hosts* has one, or is an IPv6 address without brackets.
        """
        from hostkit.ext.dashboard._app import DashboardApp
        from hostkit.ext.uvicorn import WebServer

        guard = _guard(token, hosts, actions=actions)
        if not guard.asks_token and not is_loopback(host):
            message = (
                f"host={host!r} is reached from other machines, so token= (or {TOKEN_VARIABLE}) must be given: "
                "at least 16 characters, such as `openssl rand -hex 16` makes"
            )
            raise ValueError(message)
        self._app = DashboardApp(source, guard, ready_checks=ready_checks, longest_stream=float("inf"))
        defaults: dict[str, object] = {
            "accepted_at_once": 1,
            "access_log": False,
            # It stops a client that sends heads without end, or requests without reading; httptools keeps them all.
            "http": "h11",
            "lifespan": "off",
            "max_connections": MOST_CONNECTIONS,
            "server_header": False,
            "timeout_graceful_shutdown": DRAIN,
        }
        given = {**defaults, **options}
        self._server = WebServer(self._app, host=host, port=port, **given)  # type: ignore[arg-type]  # checked there

    @property
    def port(self) -> int:
        """The port; when it is 0, the one that was chosen at the start."""
        return self._server.port

    def details(self) -> Mapping[str, object]:
        """Return where it listens, for the status."""
        return self._server.details()

    async def start(self) -> None:
        """Listen; it is for the host to call."""
        self._app.viewers.begin()
        await self._server.start()

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Serve; it is for the host to call."""
        stopping_token.on_stop(self._end_streams)
        async with anyio.create_task_group() as group:
            group.start_soon(self._app.lag.measure)
            await self._server.execute(stopping_token)
            group.cancel_scope.cancel()

    async def stop(self) -> None:
        """Close what is left; it is for the host to call."""
        with anyio.move_on_after(LAST_WORDS):
            await self._app.viewers.wait_ended()
        await self._server.stop()

    def _end_streams(self) -> None:
        host = self._app.view.host
        assert host is not None  # it runs
        status = host.status(services=False)
        # Where all are cancelled, one before this that ignores it is still there: how the host ends is not known.
        if status.seconds_to_cancel != 0 or host.services[status.waiting_for[0]] is self:
            self._app.viewers.end(host.lifetime.stop_reason, host.lifetime.exit_code)


def dashboard_app(
    source: HostBuilder | Host,
    *,
    token: str | None = None,
    actions: bool = False,
    hosts: Collection[str] = (),
    ready_checks: bool = True,
) -> "ASGIApp":
    """Return the page and all that belongs to it as an ASGI app, to mount in another: ``app.mount("/ops", …)``.

    The options are those of `Dashboard`. Without a token, only clients of this machine are answered, the probes aside.
    The app must run in the event loop of the host. It goes with the server that it is mounted in: beyond that one's
    end it answers no probe.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: *token* is too short, or one of *hosts* has a port or is an IPv6 address without brackets.
    """
    from hostkit.ext.dashboard._app import DashboardApp

    guard = _guard(token, hosts, actions=actions)
    return DashboardApp(source, guard, ready_checks=ready_checks, longest_stream=LONGEST_MOUNTED_STREAM)


def _guard(token: str | None, hosts: Collection[str], *, actions: bool) -> Guard:
    token = os.environ.get(TOKEN_VARIABLE) if token is None else token
    if isinstance(token, str):
        token = token.strip()  # the line break that a file ends with cannot be sent
    if token is not None:
        check_token(token)
    if isinstance(hosts, str):
        message = f"hosts must be a collection of names, got {hosts!r}"
        raise TypeError(message)
    for name in hosts:
        if ":" in name and not name.endswith("]"):  # it would never be met
            message = f"hosts are names without a port, IPv6 addresses in brackets, got {name!r}"
            raise ValueError(message)
    return Guard(token, hosts, actions=actions)
