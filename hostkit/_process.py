"""A host that owns its process: signals, logging, the last rung and the exit code."""

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import anyio

from hostkit._deadman import STUCK_EXIT_CODE, DeadMan, leave
from hostkit._errors import HostStateError
from hostkit._logging import configure, log
from hostkit._signals import Signals, in_main_thread, write_error
from hostkit._snapshot import status_lines
from hostkit._stack import describe_block

if TYPE_CHECKING:
    from hostkit._host import Host
    from hostkit._life import Life

# How many signs of life the loop gives within its hang timeout.
BEATS = 3


def run(host: "Host", *, configure_logging: bool, signals: Signals | None = None) -> None:
    """Run *host* in an event loop of its own; see `Host.run`. *signals* are those that are installed already."""
    if not in_main_thread():
        message = "run() has to be called in the main thread; elsewhere, use start_in_thread() or async with"
        raise HostStateError(message)
    if _loop_is_running():
        message = "run() cannot be called in a running event loop; use await host.run_async(), or async with host"
        raise HostStateError(message)
    backend = host.options.backend
    _require_backend(backend)
    with _Ownership(host, signals) as ownership:
        ownership.begin(configure_logging=configure_logging)
        anyio.run(
            ownership.live,
            backend="trio" if backend == "trio" else "asyncio",
            backend_options={"use_uvloop": True} if backend == "uvloop" else {},
        )
    _raise_outcome(host)


async def run_async(host: "Host", *, configure_logging: bool) -> int:
    """Run *host* in the running event loop; see `Host.run_async`."""
    with _Ownership(host, None) as ownership:
        ownership.begin(configure_logging=configure_logging)
        await ownership.live()
    return host.lifetime.exit_code


class _Ownership:
    """What a host holds of the process while it owns it."""

    def __init__(self, host: "Host", signals: Signals | None) -> None:
        self._host = host
        self._life: Life | None = None
        self._given = signals
        self._signals = signals or Signals()
        self._deadman = DeadMan(describe_block)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
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
        self._signals.attach(self)
        async with anyio.create_task_group() as group:
            hang_timeout = host.options.hang_timeout
            if hang_timeout is not None:
                group.start_soon(self._beat, hang_timeout)
            await host._wait_to_end(life)
            group.cancel_scope.cancel()
        if life.failures.abandoned:
            leave(STUCK_EXIT_CODE)

    async def _beat(self, hang_timeout: float) -> None:
        while True:
            self._deadman.expect_beat(hang_timeout)
            await anyio.sleep(hang_timeout / BEATS)

    # What the signals ask for, in their handlers.

    def ask(self, reason: str) -> None:
        """Ask for the stop, and see to it that it is not waited for in vain if the loop never turns again."""
        options = self._host.options
        if self._life is not None and self._life.ladder.leave_at == math.inf:
            self._deadman.arm(options.shutdown_timeout + options.cancellation_timeout)
        self._host.lifetime.request_stop(reason)

    def force(self) -> None:
        """Cancel everything at once."""
        life = self._life
        if life is not None:
            self._deadman.arm(self._host.options.cancellation_timeout)
            life.root.post(life.hurry)

    def dump(self) -> None:
        """Print the status."""
        write_error(status_lines(self._host.status()))


def _raise_outcome(host: "Host") -> None:
    outcome = host._outcome()  # the host's other half
    code = host.lifetime.exit_code
    if outcome is not None and not isinstance(outcome, Exception) and outcome.__cause__ is None:
        if code:
            raise outcome
        return
    if code:
        raise SystemExit(code) from outcome


def _loop_is_running() -> bool:
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        return False
    return True


def _require_backend(backend: str) -> None:
    from importlib.util import find_spec

    if backend != "asyncio" and find_spec(backend) is None:
        message = f"backend {backend!r} is not installed; install hostkit-py[{backend}]"
        raise HostStateError(message)
