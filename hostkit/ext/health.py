"""The probes of a host, for Kubernetes and load balancers, as an ASGI app to mount anywhere. Needs no extra."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import anyio

from hostkit import Host, HostBuilder, HostedService, HostState, HostStatus, ServiceState
from hostkit._values.text import text_of
from hostkit.events import HostEvent, HostStarted, HostStarting
from hostkit.ext._request import calls_loopback, is_local
from hostkit.ext.asgi import ASGIApp, Receive, Send

__all__ = ["health_app"]

METHODS = frozenset({"GET", "HEAD"})
PROBE_PATHS = frozenset({"/livez", "/readyz", "/startupz"})
CHECK_TIMEOUT = 2.0
"""Seconds that each check may take: less than what the asker waits."""
FRESH = 1.0
"""Seconds for which those who ask share one answer."""

Answer = tuple[bool, str]
"""Whether a probe succeeds, and its text."""


def health_app(source: HostBuilder | Host, *, checks: bool = True) -> ASGIApp:
    """Return an ASGI app that answers ``/livez``, ``/readyz`` and ``/startupz`` with 200 or 503, in plain text.

    ``/startupz`` succeeds once every service has been ready. ``/livez`` fails in one case only: a service was abandoned
    and the host does not stop; no dependency is asked, no restart and no stall counts. ``/readyz`` succeeds while the
    host is started, no stop is announced, and no service restarts, is stalled or fails its ``check()``. Services whose
    failure is ignored are left out.

    Checks run side by side for 2 s at most; all who ask within a second share the result. What a failing check has
    raised is shown only to clients on this machine whose request was not forwarded.

    Args:
        source: The host, or the builder that makes it.
        checks: Whether ``/readyz`` asks the services' ``check()``.
    """
    probes = Probes(source, checks=checks)

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG001  # there is no body
        if scope["type"] != "http":
            message = f"the probes answer HTTP only, got {scope['type']!r}"
            raise RuntimeError(message)
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        status, text = 404, "not found"
        if path in PROBE_PATHS:
            status, text = (405, "GET or HEAD") if scope["method"] not in METHODS else await probes.answer(path, scope)
        await respond(scope, send, status, text)

    return app


def host_of(source: HostBuilder | Host) -> Host | None:
    """Return the host; None until the builder has built it."""
    return source if isinstance(source, Host) else source.host


def listen(source: HostBuilder | Host, listener: Callable[[HostEvent], None]) -> None:
    """Have *listener* called with every event, also where the builder has built its host already."""
    (host_of(source) or source).on_event(listener)


async def respond(scope: Mapping[str, Any], send: Send, status: int, text: str) -> None:
    """Send a probe's answer."""
    body = f"{text}\n".encode(errors="backslashreplace")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"allow", b"GET, HEAD")] if status == 405 else []),  # noqa: PLR2004  # HTTP's
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class Checks:
    """The services' checks, asked at most once a second by all together.

    Attributes:
        results: What came of the last ones; empty before the first.
    """

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.results: Mapping[str, Exception | None] = {}
        self._asked_at: float | None = None
        self._running: anyio.Event | None = None

    async def ask(self, host: Host) -> Mapping[str, Exception | None]:
        """Return the results of the last second; checks that still run are waited for, and not begun a second time."""
        if not _have_checks(host):
            return {}
        while not self._is_fresh():
            if self._running is None:
                await self._run(host)
                continue
            with anyio.move_on_after(CHECK_TIMEOUT + 0.5) as patience:
                await self._running.wait()
            if patience.cancelled_caught:
                return {"check()": TimeoutError("checks ignore their cancellation")}
        return self.results

    def _is_fresh(self) -> bool:
        asked_at = self._asked_at
        return self._running is None and asked_at is not None and 0 <= anyio.current_time() - asked_at < FRESH

    async def _run(self, host: Host) -> None:
        self._running = running = anyio.Event()
        try:
            self.results = await host.check(CHECK_TIMEOUT)
            self._asked_at = anyio.current_time()
        finally:
            self._running = None
            running.set()


class Probes:
    """The answers of a host's probes.

    Attributes:
        checks: The services' checks, as they were last.
    """

    def __init__(self, source: HostBuilder | Host, *, checks: bool) -> None:
        """Answer for *source*."""
        self._source = source
        self._asks_checks = checks
        self._was_started = source.lifetime.state in {HostState.STARTED, HostState.STOPPING}
        self.checks = Checks()
        listen(source, self._listen)

    async def answer(self, path: str, scope: Mapping[str, Any], *, trusted: bool = False) -> tuple[int, str]:
        """Return HTTP status and text for a probe's *path*; *trusted* clients are shown what a check has raised."""
        host = host_of(self._source)
        if host is None:
            return (200, "ok") if path == "/livez" else (503, "not started")
        status = host.status(lines=False)
        if path == "/readyz":
            ready, text = await self._ready(
                host, status, in_full=trusted or (is_local(scope) and calls_loopback(scope))
            )
        else:
            ready, text = self._started(host, status) if path == "/startupz" else alive(status)
        return 200 if ready else 503, text

    def _listen(self, event: HostEvent) -> None:
        if isinstance(event, HostStarting | HostStarted):
            self._was_started = isinstance(event, HostStarted)
            self.checks = Checks()  # nothing of the last lifecycle holds

    def _started(self, host: Host, status: HostStatus) -> Answer:
        if self._was_started:
            return True, "ok"
        pending = [service.name for service in status.services if service.state is ServiceState.STARTING]
        if status.state is HostState.STARTING and pending:
            limit = host.options.startup_timeout
            took = 0.0 if status.since is None else _seconds(status.since, status.at)
            bound = "" if limit is None else f" of {limit:g}"
            return False, f"starting: waiting for {', '.join(pending)} ({took:.0f} s{bound})"
        return False, phase(status)

    async def _ready(self, host: Host, status: HostStatus, *, in_full: bool) -> Answer:
        if status.state is not HostState.STARTED or status.seconds_to_stop is not None:
            return False, phase(status)
        problems = list(unready(status))
        if self._asks_checks and not problems:
            problems = list(unwell(status, await self.checks.ask(host), in_full=in_full))
        return not problems, "\n".join(problems) or "ok"


def _have_checks(host: Host) -> bool:
    return any(type(service).check is not HostedService.check for service in host.services.values())


def _seconds(since: str, at: str) -> float:
    return (datetime.fromisoformat(at) - datetime.fromisoformat(since)).total_seconds()


def alive(status: HostStatus) -> Answer:
    """Answer ``/livez``."""
    abandoned = [service.name for service in status.services if service.state is ServiceState.ABANDONED]
    if not abandoned or status.state is HostState.STOPPING:  # killed now, the rest could not finish its stop
        return True, "ok"
    return False, "\n".join(f"{name}: abandoned" for name in abandoned)


def phase(status: HostStatus) -> str:
    """Return in words why a host is not ready that is not started, or not for long."""
    if status.state is HostState.CREATED:
        return "not started"
    if status.state is HostState.STARTING:
        return "starting"
    when = "" if status.seconds_to_stop is None else f" in {status.seconds_to_stop:.0f} s"
    word = "stopped" if status.state is HostState.STOPPED else "stopping"
    return f"{word}{when}: {status.stop_reason}"


def unready(status: HostStatus) -> Iterator[str]:
    """Yield the services that do not run as they should, by the host's own knowledge."""
    for service in status.services:
        if service.state in {ServiceState.RESTARTING, ServiceState.STARTING, ServiceState.ABANDONED}:
            yield f"{service.name}: {service.state}"
        elif service.stalled:
            yield f"{service.name}: stalled" + ("" if service.silent_for is None else f" {service.silent_for:.0f} s")


def unwell(status: HostStatus, results: Mapping[str, Exception | None], *, in_full: bool) -> Iterator[str]:
    """Yield the services whose check has failed, without those that have failed themselves: that was ignored."""
    failed = {service.name for service in status.services if service.state is ServiceState.FAILED}
    for name, error in results.items():
        if error is not None and name not in failed:
            yield f"{name}: {text_of(error) if in_full else 'not well'}"
