"""Server-sent events: every open page gets the latest snapshot when it has changed; all share one reading."""

import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from anyio import lowlevel
from anyio.abc import TaskGroup

from hostkit.events import HostEvent, HostStarting, HostStopped
from hostkit.ext.asgi import Receive, Send
from hostkit.ext.dashboard._snapshot import Pause, Snapshot

MOST = 50
EVERY = 1.0
"""Seconds between two snapshots; not every change is an event."""
AT_REST = 2.0
"""Seconds between two snapshots of a host whose last ones were equal."""
UNCHANGED = 3
SOONEST = 0.25
"""Minimum number of seconds between two snapshots."""
SHARE = 20
"""Minimum interval as a multiple of what a snapshot takes, so that a host with 10,000 jobs is not slowed down."""
PULSE = 2.0
"""Seconds without a change after which a stream sends an event without data, as a heartbeat for the page."""
LAG_WINDOW = 60.0
SCRAPE_INTERVAL = 120.0
TICK = 0.5


class LoopLag:
    """How late timers of the event loop fire.

    Attributes:
        peak: The largest lateness since the last scrape, in seconds; None if it was not measured since.
    """

    def __init__(self) -> None:
        """Start without readings."""
        self.peak: float | None = None
        self._readings: list[tuple[float, float]] = []
        self._wanted: anyio.Event | None = None
        self._until = 0.0

    def add(self, late: float) -> None:
        """Record a reading."""
        now = anyio.current_time()
        self.peak = max(late, self.peak or 0.0)
        # A reading that a later one exceeds can never be the largest again.
        self._readings = [each for each in self._readings if each[1] > late and now - each[0] < LAG_WINDOW]
        self._readings.append((now, late))

    def largest(self) -> float | None:
        """Return the largest lateness of the last minute."""
        now = anyio.current_time()
        recent = [late for at, late in self._readings if 0 <= now - at < LAG_WINDOW]
        return max(recent, default=None)

    def expect_scrapes(self) -> None:
        """Have `measure` take readings for the next two minutes, as another scrape is expected."""
        self._until = anyio.current_time() + SCRAPE_INTERVAL
        if self._wanted is not None:
            self._wanted.set()

    async def measure(self) -> None:
        """Take two readings a second while scrapes are expected; runs until it is cancelled."""
        while True:
            self._wanted = anyio.Event()
            await self._wanted.wait()
            while (now := anyio.current_time()) < self._until:
                await anyio.sleep_until(now + TICK)
                self.add(max(0.0, anyio.current_time() - now - TICK))


class Viewers:
    """The open streams of events. They run in the tasks of their requests, so an unused dashboard has no task.

    One of the streams wakes all of them; when it ends, the next one takes over.

    Args:
        read: Takes a snapshot; None before the host is built. It gets a function to await between its parts, as others
            have turns then.
        refresh: Updates the data that a snapshot cannot wait for; awaited once a second while there is a stream.
        lag: Receives how late the streams' timer fires.
        longest: The number of seconds after which a stream ends, and the client reconnects. A server that waits for
            its requests when it stops is delayed by no more than this.
    """

    def __init__(
        self,
        read: Callable[[Pause], Awaitable[Snapshot | None]],
        refresh: Callable[[], Awaitable[None]],
        lag: LoopLag,
        *,
        longest: float,
    ) -> None:
        """Start without streams."""
        self._read = read
        self._refresh = refresh
        self._lag = lag
        self._longest = longest
        self._count = 0
        self._closed = anyio.Event()  # when no stream is left
        self._thread = 0
        self._driver: TaskGroup | None = None
        self._turn = self._changed = anyio.Event()
        # There is one reading at a time; and those that are woken at once go on one by one: others have turns between.
        self._lock = anyio.Lock()
        self._read_at = float("-inf")
        self._took: deque[float] = deque([0.0], maxlen=3)  # the quickest of them counts: a first one may be slow
        self._paused = 0.0
        self._is_old = True
        self._latest: Snapshot | None = None
        self._status_event = b""  # the latest snapshot as it is sent, encoded once for all streams
        self._version = self._unchanged = 0
        self._end: str | None = None

    @property
    def full(self) -> bool:
        """Whether the limit of streams is reached."""
        return self._count >= MOST

    def on_event(self, event: HostEvent) -> None:
        """Schedule a snapshot; the listener of the host's events."""
        if isinstance(event, HostStarting):
            self._end = None
        elif isinstance(event, HostStopped):
            self._end = json.dumps({"reason": event.reason, "exit_code": event.exit_code})
        self._wake()

    def begin(self) -> None:
        """Admit streams: the server starts, perhaps anew while the host goes on."""
        self._end = None

    def end(self, reason: str | None, exit_code: int) -> None:
        """End all streams: the server stops. Without a *reason* the host goes on, and pages are to come back."""
        self._end = "" if reason is None else json.dumps({"reason": reason, "exit_code": exit_code})
        self._wake()

    async def wait_ended(self) -> None:
        """Return when all streams have ended, if they have been told to."""
        if self._end is not None and self._count:
            await self._closed.wait()

    async def latest(self) -> Snapshot | None:
        """Return a snapshot that is at most a quarter of a second old, or older where taking one is slow."""
        async with self._lock:
            return await self._at_most(SOONEST)

    async def stream(self, receive: Receive, send: Send) -> None:
        """Send snapshots until the client disconnects or is too slow, or the host ends."""
        if not self._count:
            self._closed = anyio.Event()
        self._count += 1
        self._thread = threading.get_ident()
        group = anyio.create_task_group()
        try:
            async with group:
                group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
                await self._send_all(send, group)
                group.cancel_scope.cancel()
        finally:
            self._count -= 1
            if not self._count:
                self._closed.set()
            if self._driver is group:
                self._driver = None
                self._turn.set()

    def _age(self) -> float:
        """Return how old a snapshot may be now."""
        if self._is_old:
            return SOONEST
        return EVERY if self._unchanged < UNCHANGED else AT_REST

    async def _at_most(self, age: float) -> Snapshot | None:
        now = anyio.current_time()
        if not 0 <= now - self._read_at < max(age, min(self._took) * SHARE):
            self._is_old, self._paused = False, 0.0
            with anyio.CancelScope(shield=True):  # it is for all, also when the client that began it disconnects
                fresh = await self._read(self._pause)
            self._read_at = now
            self._took.append(anyio.current_time() - now - self._paused)
            self._unchanged += 1
            if fresh is None or self._latest is None or fresh.changing != self._latest.changing:
                self._version += 1
                self._unchanged = 0
            self._latest = fresh
            if fresh is not None:
                self._status_event = f"id: {self._version}\nevent: status\ndata: {fresh.text}\n\n".encode()
        return self._latest

    async def _pause(self) -> None:
        """Give others a turn, which is not counted as reading."""
        began = anyio.current_time()
        await lowlevel.checkpoint()
        self._paused += anyio.current_time() - began

    async def _send_all(self, send: Send, group: TaskGroup) -> None:
        sent_version, sent_at = -1, anyio.current_time()
        closes_at = sent_at + self._longest
        is_open = await _send(send, b"retry: 2000\n\n")
        while is_open:
            if self._driver is None:
                self._driver, self._turn = group, anyio.Event()
                group.start_soon(self._keep_fresh)
                group.start_soon(self._drive)
            turn, ended = self._turn, self._end  # before the snapshot, which is to show how it has ended
            async with self._lock:
                latest = await self._at_most(self._age())
            now = anyio.current_time()
            message = b""
            if latest is not None and self._version != sent_version:
                message, sent_version = self._status_event, self._version
            elif now - sent_at >= PULSE:
                message = b"event: pulse\ndata:\n\n"
            if ended:
                message += f"event: end\ndata: {ended}\n\n".encode()
            if ended is not None or now >= closes_at:
                await _send(send, message + b"retry: 200\n\n", more=False)
                return
            if message:
                sent_at = now
                is_open = await _send(send, message)
            if is_open:
                await turn.wait()

    async def _drive(self) -> None:
        """Wake all streams, when something has changed or at the next tick."""
        while True:
            self._changed = anyio.Event()
            due = anyio.current_time() + TICK
            with anyio.move_on_at(due) as scope:
                await self._changed.wait()
                # Events that occur together make one snapshot.
                await anyio.sleep(max(0.0, self._read_at + SOONEST - anyio.current_time()))
            if scope.cancelled_caught:
                self._lag.add(max(0.0, anyio.current_time() - due))
            self._turn.set()
            self._turn = anyio.Event()

    def _wake(self) -> None:
        self._is_old = True
        # An anyio event must not be set from another thread; there the next tick takes the snapshot.
        if self._driver is not None and threading.get_ident() == self._thread:
            self._changed.set()

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            await anyio.sleep(EVERY)


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    message: Mapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
    scope.cancel()


async def _send(send: Send, body: bytes, *, more: bool = True) -> bool:
    """Send a part of a stream; return False if the client has disconnected or does not receive it in time."""
    with suppress(OSError):  # what the app raises for a slow client, and some servers for a disconnected one
        await send({"type": "http.response.body", "body": body, "more_body": more})
        await lowlevel.checkpoint()
        return True
    return False
