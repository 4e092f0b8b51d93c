"""A host that owns its process: signals, logging, the last rung and the exit code."""

import math
import os
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Self

import anyio

from hostkit._config.logging import configure, log
from hostkit._core.blocks import describe_block
from hostkit._execution.event_loop import loop_is_running
from hostkit._process.leftover_threads import Threads
from hostkit._process.signals import Signals, in_main_thread, write_error
from hostkit._process.watchdog import BLOCKED_EXIT_CODE, FLUSH_TIMEOUT, STUCK_EXIT_CODE, DeadMan, leave
from hostkit._values.errors import HostStateError, ServiceStuckError

if TYPE_CHECKING:
    from hostkit._core.host import Host
    from hostkit._core.lifecycle import Life

# How many signs of life the loop gives within its hang timeout.
BEATS = 3
# A thread that was told to end when its loop did is not worth a word; a thread that works is looked at again.
FIRST_LOOK, NEXT_LOOK = 0.1, 0.1


def run(host: "Host", *, configure_logging: bool, signals: Signals | None = None) -> None:
    """Run *host* in an event loop of its own; see `Host.run`. *signals* are those that are installed already."""
    if not in_main_thread():
        message = "run() has to be called in the main thread; elsewhere, use start_in_thread() or async with"
        raise HostStateError(message)
    if loop_is_running():
        message = "run() cannot be called in a running event loop; use await host.run_async(), or async with host"
        raise HostStateError(message)
    backend = host.options.backend
    require_backend(backend)
    with _Ownership(host, signals) as ownership:
        ownership.begin(configure_logging=configure_logging)
        try:
            anyio.run(
                ownership.live,
                backend="trio" if backend == "trio" else "asyncio",
                backend_options={"use_uvloop": True} if backend == "uvloop" else {},
            )
        finally:
            ownership.await_threads()
    _raise_outcome(host)


async def run_async(host: "Host", *, configure_logging: bool) -> int:
    """Run *host* in the running event loop; see `Host.run_async`."""
    with _Ownership(host, None) as ownership:
        ownership.begin(configure_logging=configure_logging)
        await ownership.live()
    return host.lifetime.exit_code


class _Ownership:
    """What a host holds of the process while it owns it; there is one owner at a time."""

    _owned = 0  # the process that has an owner: a fork has none yet

    def __init__(self, host: "Host", signals: Signals | None) -> None:
        if _Ownership._owned == os.getpid():
            message = (
                "another host owns this process already, and takes its signals; "
                "start this one with async with, start() or start_in_thread()"
            )
            raise HostStateError(message)
        host._run_once()  # the host's other half; not used up by a call that is refused
        self._host = host
        self._life: Life | None = None
        self._given = signals
        self._signals = signals or Signals()
        self._deadman = DeadMan(self._explain)
        self._threads = Threads()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        _Ownership._owned = os.getpid()
        self._stack.callback(setattr, _Ownership, "_owned", 0)
        if self._given is None:
            if in_main_thread():
                self._stack.enter_context(self._signals)
            else:
                log("WARNING", "not in the main thread: the host takes no signals")
        self._stack.enter_context(self._deadman)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def begin(self, *, configure_logging: bool) -> None:
        """Take what can be taken before the loop runs."""
        options = self._host.options
        self._logs = configure_logging
        if in_main_thread():
            self._signals.on_dump(options.dump_signal, self.dump)
        if configure_logging:
            configure(options)

    async def live(self) -> None:
        """Live one life of the host in the running loop, to its end."""
        host = self._host
        self._life = life = host._begin()  # the host's other half
        life.owns_process = True
        life.ladder.on_deadline = self._deadman.arm
        host.lifetime._on_request = self._arm_for_stop  # likewise
        self._stack.callback(setattr, host.lifetime, "_on_request", None)
        self._signals.attach(self)
        async with anyio.create_task_group() as group:
            if in_main_thread():
                group.start_soon(self._signals.wake_loop)
            hang_timeout = host.options.hang_timeout
            if hang_timeout is not None:
                group.start_soon(self._beat, hang_timeout)
            await host._wait_to_end(life)
            group.cancel_scope.cancel()
        # The loop may still have to wait for threads, and gives no sign of life then.
        self._deadman.expect_beat(math.inf)
        failure = life.failure()
        if life.failures.abandoned and failure is not None:
            stuck = [str(error) for error in failure.exceptions if isinstance(error, ServiceStuckError)]
            self._leave("; ".join(stuck))

    def await_threads(self) -> None:
        """Wait for the threads that would hold the interpreter's exit; leave when they do not end in the stop's time.

        The event loop has ended, and what it has left in threads is nobody's any more.
        """
        life = self._life
        if life is None:
            return
        self._threads.join(FIRST_LOOK)
        left = self._threads.describe()
        if not left:
            return
        life.log("WARNING", "stopped, but waiting for {}", left)
        self._arm_for_stop()
        while left and self._deadman.remaining > 0:
            self._threads.join(min(self._deadman.remaining, NEXT_LOOK))
            left = self._threads.describe()
        if left:
            self._leave(f"still running after the stop: {left}")

    def _leave(self, words: str) -> None:
        words = f"{words}; leaving the process with exit code {STUCK_EXIT_CODE}"
        self._deadman.put_off(FLUSH_TIMEOUT)  # it would say the same a second time, or end a log that is slow
        if self._logs:
            log("CRITICAL", "{}", words)  # whatever the level
        else:
            write_error(f"hostkit: {words}\n")
        leave(STUCK_EXIT_CODE)

    def _explain(self, frame: FrameType | None) -> tuple[str, int]:  # pragma: no cover  # in the dead-man's thread
        """Say in words, and by an exit code, what keeps the process, by the stack of the loop's thread."""
        if self._life is None or not self._life.finished:
            return describe_block(frame), BLOCKED_EXIT_CODE
        left = self._threads.describe() or "the event loop"
        return f"still running after the stop: {left}", STUCK_EXIT_CODE

    async def _beat(self, hang_timeout: float) -> None:
        while True:
            self._deadman.expect_beat(hang_timeout)
            await anyio.sleep(hang_timeout / BEATS)

    def _arm_for_stop(self) -> None:
        """See to it that the stop is not waited for in vain if the loop never turns again."""
        if self._deadman.remaining == math.inf:
            options = self._host.options
            self._deadman.arm(options.shutdown_timeout + options.cancellation_timeout)

    # What the signals ask for, in their handlers.

    def ask(self, reason: str) -> None:
        """Ask for the stop."""
        self._host.lifetime.request_stop(reason)

    def force(self) -> None:
        """Cancel everything at once."""
        life = self._life
        assert life is not None  # signals come here when there is one
        self._deadman.hurry(self._host.options.cancellation_timeout)
        life.root.post(life.hurry)

    def dump(self) -> None:
        """Print the status."""
        from hostkit._core.snapshot import status_lines

        write_error(status_lines(self._host.status()))


def _raise_outcome(host: "Host") -> None:
    outcome = host._outcome()  # the host's other half
    code = host.lifetime.exit_code
    if outcome is not None and not isinstance(outcome, Exception) and outcome.__cause__ is None:
        if code:
            raise outcome
        return
    if code:
        raise SystemExit(code) from host.lifetime.failure


def require_backend(backend: str) -> None:
    """Raise a `HostStateError` if the event loop of that name is not installed."""
    from importlib.util import find_spec

    if backend != "asyncio" and find_spec(backend) is None:
        message = f"backend {backend!r} is not installed; install hostkit-py[{backend}]"
        raise HostStateError(message)
