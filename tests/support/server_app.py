"""The same app in several frameworks, with a host in it: for tests with real servers.

The variable ``FRAMEWORK`` says which one ``app`` is made with; hostkit's own variables hold for the host. Its routes:
``/health``, ``/slow`` (takes a second) and ``/crash`` (fails the service "last").
"""

import os
import socket
from collections.abc import AsyncIterator, Callable

import anyio

from hostkit import BackgroundService, HostBuilder, StoppingToken
from hostkit._process.host_thread import HostThread

SLOW = 1.0


def say(line: str) -> None:
    """Write a line at once, in one piece."""
    os.write(1, f"{line}\n".encode())


class Member(BackgroundService):
    """A service that says what happens to it, and has to drain at the stop."""

    def __init__(self, name: str) -> None:
        """Name it."""
        self.name = name
        self.alive = False

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Live until the stop, or fail when told."""
        self.crash = anyio.Event()
        say(f"{self.name} started")
        self.alive = True
        try:
            with stopping_token.cancel_on_stop():
                await self.crash.wait()
                message = "told to crash"
                raise RuntimeError(message)
            await anyio.sleep(0.1)
        finally:
            self.alive = False
        say(f"{self.name} stopped")


builder = HostBuilder()
first, last = builder.add_service(Member("first"), name="first"), builder.add_service(Member("last"), name="last")
host = builder.build()
builder.lifetime.on_stopped(lambda: say("host stopped"))


def health() -> tuple[str, int]:
    """Return what ``/health`` answers."""
    status = host.status()
    return (f"healthy in {os.getpid()}", 200) if status.healthy and status.ready else ("unwell", 503)


async def slow() -> str:
    """Take a second, and say who is alive after it."""
    say("request begun")
    await anyio.sleep(SLOW)
    alive = " ".join(member.name for member in (first, last) if member.alive)
    say(f"request finished, alive: {alive}")
    return f"alive: {alive}"


async def crash() -> str:
    """Have a service fail."""
    last.crash.set()
    return "told"


def starlette() -> object:
    """Return an app of Starlette's."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def get_health(request: Request) -> PlainTextResponse:
        text, status = health()
        return PlainTextResponse(text, status)

    async def get_slow(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await slow())

    async def get_crash(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await crash())

    routes = [Route("/health", get_health), Route("/slow", get_slow), Route("/crash", get_crash)]
    return Starlette(routes=routes, lifespan=host.lifespan)


def fastapi() -> object:
    """Return an app of FastAPI's."""
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI(lifespan=host.lifespan, default_response_class=PlainTextResponse)

    @app.get("/health")
    def get_health() -> PlainTextResponse:
        text, status = health()
        return PlainTextResponse(text, status)

    app.get("/slow")(slow)
    app.get("/crash")(crash)
    return app


def litestar() -> object:
    """Return an app of Litestar's."""
    from litestar import Litestar, MediaType, Response, get

    @get("/health", media_type=MediaType.TEXT)
    async def get_health() -> Response[str]:
        text, status = health()
        return Response(text, status_code=status)

    get_slow = get("/slow", media_type=MediaType.TEXT)(slow)
    get_crash = get("/crash", media_type=MediaType.TEXT)(crash)
    return Litestar([get_health, get_slow, get_crash], lifespan=[host.lifespan])


urlpatterns: list[object] = []
"""Where Django looks for its routes."""


def django() -> object:
    """Return an app of Django's, which has no lifespan of its own."""
    from django import setup  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
    from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
    from django.urls import path  # type: ignore[import-untyped]

    from hostkit.ext.asgi import with_host

    async def get_health(request: HttpRequest) -> HttpResponse:
        text, status = health()
        return HttpResponse(text, status=status)

    async def get_slow(request: HttpRequest) -> HttpResponse:
        return HttpResponse(await slow())

    async def get_crash(request: HttpRequest) -> HttpResponse:
        return HttpResponse(await crash())

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")  # noqa: S106  # of a test
    setup()
    urlpatterns.extend([path("health", get_health), path("slow", get_slow), path("crash", get_crash)])
    return with_host(get_asgi_application(), host)


def aiohttp() -> object:
    """Return an app of aiohttp's; as a script it is served by aiohttp itself."""
    from aiohttp import web

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with host:
            yield

    async def get_health(request: web.Request) -> web.Response:
        text, status = health()
        return web.Response(text=text, status=status)

    async def get_slow(request: web.Request) -> web.Response:
        return web.Response(text=await slow())

    async def get_crash(request: web.Request) -> web.Response:
        return web.Response(text=await crash())

    app = web.Application()
    app.cleanup_ctx.append(context)
    for name, handler in (("health", get_health), ("slow", get_slow), ("crash", get_crash)):
        app.router.add_get(f"/{name}", handler)
    return app


def flask() -> object:
    """Return an app of Flask's; gunicorn starts the host in its worker."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/health", "health", health)
    app.add_url_rule("/slow", "slow", lambda: host_threads[0].call(slow))
    app.add_url_rule("/crash", "crash", lambda: host_threads[0].call(crash))
    return app


def flask_post_fork() -> object:
    """Return the same; the host is started at once after the fork, before the worker is set up."""
    return flask()


FRAMEWORK = os.environ["FRAMEWORK"]
host_threads: list[HostThread] = []


# gunicorn counts the parameters of its hooks.
def post_fork(server: object, worker: object) -> None:
    """Start the host in a worker of gunicorn's."""
    if FRAMEWORK == "flask_post_fork":
        host_threads.append(host.start_in_thread())


def post_worker_init(worker: object) -> None:
    """Start the host in a worker of gunicorn's that is set up."""
    if FRAMEWORK == "flask":
        host_threads.append(host.start_in_thread())


def worker_exit(server: object, worker: object) -> None:
    """Stop the host in a worker of gunicorn's, which has finished its requests."""
    host_threads[0].stop()


def serve_with_aiohttp(app: object) -> None:
    """Serve as ``aiohttp.web`` does."""
    from aiohttp import web

    assert isinstance(app, web.Application)
    web.run_app(app, sock=socket.create_server(("127.0.0.1", 0)))


FRAMEWORKS: dict[str, Callable[[], object]] = {
    framework.__name__: framework
    for framework in (aiohttp, django, fastapi, flask, flask_post_fork, litestar, starlette)
}
app = FRAMEWORKS[FRAMEWORK]()

if __name__ == "__main__":
    serve_with_aiohttp(app)
