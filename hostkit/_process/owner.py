"""A host that owns its process: signals, logging, the watchdog and the exit code."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Self

import anyio

from hostkit._config.logging import bounded_log, configure, log

# Loaded now: where it is needed, there may be no descriptor left to load it.
from hostkit._core.status import status_lines
from hostkit._execution.event_loop import loop_is_running, require_backend, run_loop
from hostkit._process.leave import BLOCKED_EXIT_CODE, FLUSH_TIMEOUT, STUCK_EXIT_CODE, leave
from hostkit._process.leftover_threads import Threads
from hostkit._process.signals import Signals, in_main_thread, wake_loop
from hostkit._process.watchdog import Watchdog, describe_block
from hostkit._values.errors import HostStateError, LoadError, ServiceStuckError
from hostkit._values.exceptions import exit_code_of
from hostkit._values.standard_error import write_error
from hostkit._values.states import ServiceState

if TYPE_CHECKING:
    from hostkit._core.lifecycle import Lifecycle
    from hostkit._core.runner import HostRunner

# When it is looked, in seconds from the start, whether a library has taken the signals meanwhile.
SIGNAL_LOOKS = (5.0, 55.0)
# A thread that ends with its loop is not worth a line; one that works is looked at again.
FIRST_LOOK, NEXT_LOOK = 0.1, 0.1


def run(host: "HostRunner", *, configure_logging: bool, signals: Signals | None = None) -> None:
    """Run *host* in an event loop of its own; see `Host.run`. *signals* are those that are installed already."""
    if not in_main_thread():
        message = "run() has to be called in the main thread; elsewhere, use start_in_thread() or async with"
        raise HostStateError(message)
    if loop_is_running():
        message = "run() cannot be called in a running event loop; use await host.run_async(), or async with host"
        raise HostStateError(message)
    backend = host.options.backend
    require_backend(backend)
    with _Ownership(host, signals, configure_logging=configure_logging) as ownership:
        try:
            run_loop(ownership.run, backend)
        finally:
            ownership.await_threads()
    _raise_outcome(host)


async def run_async(host: "HostRunner", *, configure_logging: bool) -> int:
    """Run *host* in the running event loop; see `Host.run_async`."""
    with _Ownership(host, None, configure_logging=configure_logging) as ownership:
        await ownership.run()
    return host.lifetime.exit_code


@contextmanager
def loading_target() -> Iterator[None]:
    """Refuse, meanwhile, what a target of the command line runs itself: it has to make a host, and no more."""
    _Ownership.loading = os.getpid()
    try:
        yield
    finally:
        _Ownership.loading = 0


def refuse_while_loading() -> None:
    """Raise a `LoadError` if a target of the command line is being loaded."""
    if _Ownership.loading == os.getpid():
        message = 'the target runs a host while it is loaded; put that under if __name__ == "__main__":'
        raise LoadError(message)


class _Ownership:
    """What a host holds of the process while it owns it; there is one owner at a time."""

    _owned = 0  # the process that has an owner: a fork has none yet
    loading = 0  # likewise, the process that loads a target

    def __init__(self, host: "HostRunner", signals: Signals | None, *, configure_logging: bool) -> None:
        refuse_while_loading()
        if _Ownership._owned == os.getpid():
            message = (
                "another host owns this process already, and takes its signals; "
                "start this one with async with, start() or start_in_thread()"
            )
            raise HostStateError(message)
        host.run_once()  # not used up by a call that is refused
        options = host.options
        self._host = host
        self._lifecycle: Lifecycle | None = None
        self._given = signals
        self._signals = signals or Signals()
        self._logs = configure_logging
        self._log = bounded_log(options)
        self._watchdog = Watchdog(
            self._log,
            lag_warning=options.lag_warning,
            hang_timeout=options.hang_timeout,
            describe=self._describe,
        )
        self._threads = Threads()
        self._cancelled = self._warned_of_signals = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # what follows may fail, for want of a descriptor
            _Ownership._owned = os.getpid()
            stack.callback(setattr, _Ownership, "_owned", 0)
            if self._given is None:
                if in_main_thread():
                    stack.enter_context(self._signals)
                else:
                    log("WARNING", "not in the main thread: the host takes no signals")
            stack.enter_context(self._watchdog)
            if in_main_thread():
                self._signals.on_dump(self._host.options.dump_signal, self.dump)
                self._signals.take_back()  # what the target has taken while it was loaded
            if self._logs:
                configure(self._host.options)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    async def run(self) -> None:
        """Run one lifecycle of the host in the running loop, to its end."""
        host = self._host
        self._lifecycle = lifecycle = host.begin(owns_process=True, loop_watch=self._watchdog)
        lifecycle.shutdown.on_deadline = self._watchdog.arm
        host.lifetime.on_request(self._arm_for_stop)
        self._stack.callback(host.lifetime.on_request, None)
        self._signals.attach(self)
        async with anyio.create_task_group() as group:
            if in_main_thread():
                lifecycle.on_run_change = self._on_run_change
                group.start_soon(wake_loop)
                group.start_soon(self._look_at_signals)
            await host.wait_to_end(lifecycle)
            group.cancel_scope.cancel()
        failure = host.lifetime.failure
        if host.lifetime.failures.abandoned and failure is not None:
            stuck = [str(error) for error in failure.exceptions if isinstance(error, ServiceStuckError)]
            self._leave("; ".join(stuck))

    def await_threads(self) -> None:
        """Wait for the threads that would hold the interpreter's exit; leave when they do not end in the stop's time.

        The event loop has ended, and nothing else waits for what it has left in threads.
        """
        lifecycle = self._lifecycle
        if lifecycle is None:
            return
        self._threads.join(FIRST_LOOK)
        left = self._threads.describe()
        if not left:
            return
        self._log("WARNING", "stopped, but waiting for {}", left)
        self._arm_for_stop()
        while left and self._watchdog.remaining > 0:
            self._threads.join(min(self._watchdog.remaining, NEXT_LOOK))
            left = self._threads.describe()
        if left:
            self._leave(f"still running after the stop: {left}")

    def _leave(self, words: str) -> None:
        words = f"{words}; leaving the process with exit code {STUCK_EXIT_CODE}"
        self._watchdog.arm(FLUSH_TIMEOUT, anew=True)  # it would say the same a second time, or end a log that is slow
        if self._logs:
            log("CRITICAL", "{}", words)  # whatever the level
        else:
            write_error(f"hostkit: {words}\n")
        leave(STUCK_EXIT_CODE)

    def _describe(self, frame: FrameType | None) -> tuple[str, int]:
        """Return words and the exit code for what keeps the process, by the stack of the loop's thread."""
        if self._lifecycle is None or not self._lifecycle.finished:
            return describe_block(frame), BLOCKED_EXIT_CODE
        left = self._threads.describe() or "the event loop"
        return f"still running after the stop: {left}", STUCK_EXIT_CODE

    def _arm_for_stop(self, delay: float = 0.0) -> None:
        """See to it that the stop is not waited for in vain if the loop never turns again."""
        options = self._host.options
        seconds = delay + options.shutdown_timeout + options.cancellation_timeout
        if self._watchdog.remaining > seconds:
            self._watchdog.arm(seconds)

    # Libraries that have signal handlers of their own.

    def _on_run_change(self, service: str, state: ServiceState) -> None:
        """Look whether *service*, which is ready or has ended, has taken signals; take them back at its end."""
        self._take_signals_back(unhandled_only=state is ServiceState.STARTED, service=service)
        self._warn_of_taken_signals(f"service {service}")

    async def _look_at_signals(self) -> None:
        for seconds in SIGNAL_LOOKS:
            await anyio.sleep(seconds)
            running = [row.name for row in self._host.status().services if row.state is ServiceState.STARTED]
            which = "one of the services" if len(running) > 1 else "service"
            self._take_signals_back(unhandled_only=True)
            self._warn_of_taken_signals(f"{which} {', '.join(running)}")

    def _take_signals_back(self, *, unhandled_only: bool, service: str | None = None) -> None:
        taken = self._signals.take_back(unhandled_only=unhandled_only)
        if taken:
            self._log("WARNING", "the host receives {} again, which went to {}", *_named(taken), service=service)

    def _warn_of_taken_signals(self, services: str) -> None:
        taken = self._signals.replaced()
        if taken and not self._warned_of_signals:
            self._warned_of_signals = True
            self._log(
                "WARNING", "the host does not receive {}, which went to {}, while {} runs", *_named(taken), services
            )

    # What the signals ask for, in their handlers.

    def request_stop(self, reason: str) -> None:
        """Ask for the stop, which may begin after the option ``stop_delay``."""
        self._host.lifetime.announce_stop(reason)
        if self._host.lifetime.delaying_stop:
            self._arm_for_stop(self._host.options.stop_delay)

    def hasten(self) -> bool:
        """End the delay of the stop, or cancel everything at once; a signal after the end has nothing to do."""
        lifecycle, lifetime = self._lifecycle, self._host.lifetime
        assert lifecycle is not None  # signals come here when there is one
        if lifetime.delaying_stop:
            lifetime.request_stop(lifetime.stop_reason or "")
            return True
        if self._cancelled:
            return False
        self._cancelled = True
        self._watchdog.cancel_all(self._host.options.cancellation_timeout)  # also what waits for threads
        if not lifecycle.finished:
            lifecycle.loop.call_soon(partial(lifecycle.shutdown.cancel_all, lifecycle.loop.time()))
        return True

    def dump(self) -> None:
        """Print the status."""
        write_error(status_lines(self._host.status()), 5)


def _named(signals: dict[str, str]) -> tuple[str, str]:
    return " and ".join(signals), ", ".join(dict.fromkeys(signals.values()))


def _raise_outcome(host: "HostRunner") -> None:
    outcome = host.lifetime.failures.outcome()
    code = host.lifetime.exit_code
    if not code:
        return
    failure = host.lifetime.failure
    if outcome is not None and failure is None and exit_code_of(outcome) == code:
        raise outcome
    # Also where the stop was asked for with another code before.
    raise SystemExit(code) from failure
