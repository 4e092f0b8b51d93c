"""Event-loop lag: names the line that blocks the loop while it blocks."""

import sys
import threading
import time
from collections.abc import Callable

import anyio

from hostkit._core.blocks import describe_block, running_supervisor


class LagMonitor:
    """One daemon thread and one heartbeat, in the loop that it is made in.

    It wakes the loop twice in each *threshold* seconds.
    """

    def __init__(self, threshold: float, log: Callable[..., None]) -> None:
        """Say once a block, through *log* and from the thread, which service blocks the loop, at which line."""
        self._threshold = threshold
        self._log = log
        self._period = threshold / 2
        self._beat_at = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hostkit: lag", daemon=True)
        self.blocked = False
        """Whether the loop is blocked now."""

    async def run(self) -> None:
        """Watch until cancelled; the thread ends with it."""
        self._thread.start()
        try:
            while True:
                self._beat_at = time.monotonic()
                self.blocked = False
                await anyio.sleep(self._period)
        finally:
            self._over.set()
            self._thread.join()

    def _watch(self) -> None:
        reported = 0.0
        while not self._over.wait(self._period):
            beat_at = self._beat_at
            late = time.monotonic() - beat_at
            if late > self._threshold + self._period and beat_at != reported:
                reported = beat_at
                self.blocked = True
                self._warn(late)

    def _warn(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        supervisor = running_supervisor(frame)
        name = None if supervisor is None else supervisor.name
        self._log("WARNING", "{} for {:.1f} s so far", describe_block(frame), seconds, service=name)
