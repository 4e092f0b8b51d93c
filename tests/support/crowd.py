"""Clients of a web server that all come at once."""

import socket
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
from anyio import lowlevel
from children import PATIENCE

if TYPE_CHECKING:
    from hostkit.ext.uvicorn import WebServer


async def most_accepted_in_a_turn(web: "WebServer") -> int:
    """Connect a hundred clients, none of which knocks again, and return how many were let in between two turns."""
    accepted = [0]
    connections = web._server.server_state.connections
    with ExitStack() as clients, anyio.fail_after(PATIENCE):
        for _ in range(100):
            clients.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=0.5))
        while accepted[-1] < 100:
            await lowlevel.checkpoint()
            accepted.append(len(connections))
    return max(later - earlier for earlier, later in pairwise(accepted))
