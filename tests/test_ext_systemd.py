"""What systemd hears of a host: each message, at a datagram socket as systemd has one."""

import errno
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path

import anyio
import pytest
from anyio import current_time
from loguru import logger

from hostkit import (
    BackgroundService,
    Backoff,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostState,
    HostStateError,
    Restart,
    StoppingToken,
)
from hostkit.ext.systemd import SystemdNotifier
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no systemd on Windows")
numbers = count()
SOURCES = ["file", "abstract"] if sys.platform == "linux" else ["file"]
ASKED = "EXTEND_TIMEOUT_USEC="


class Systemd:
    """The receiving end of the messages."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._received: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(0)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """Return what has come since the last call, message by message."""
        self._receive()
        found, self._received = self._received, []
        return found

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive meanwhile: the kernel keeps ten messages, and no more."""

        async def listen() -> None:
            while True:
                self._receive()
                await anyio.sleep(0.05)

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            yield
            group.cancel_scope.cancel()

    def _receive(self) -> None:
        while True:
            try:
                self._received.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return


@pytest.fixture(params=SOURCES)
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """A socket in the environment, in a file and in the abstract name space."""
    name = f"hostkit-test-{os.getpid()}-{next(numbers)}"
    # Not in the test's own folder: its path may be longer than an address may be.
    monkeypatch.chdir(tmp_path)
    address = f"@{name}" if request.param == "abstract" else f"/tmp/{name}"  # noqa: S108
    found = Systemd(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield found
    found.socket.close()
    Path(address).unlink(missing_ok=True)


def builder_of(**options: object) -> HostBuilder:
    """Return a builder with the notifier as its first service."""
    builder = HostBuilder(HostOptions(**options))  # type: ignore[arg-type]  # what the test gives
    builder.add_service(SystemdNotifier(builder))
    return builder


def only(messages: list[str], word: str) -> list[str]:
    """Return the messages with *word* in them."""
    return [message for message in messages if word in message]


class Slow(HostedService):
    """Takes its time to start and to stop."""

    def __init__(self, start: float = 0, stop: float = 0) -> None:
        self.seconds = start, stop

    async def start(self) -> None:
        await anyio.sleep(self.seconds[0])

    async def stop(self) -> None:
        await anyio.sleep(self.seconds[1])


async def test_a_start_and_a_stop_message_by_message(systemd: Systemd) -> None:
    """Systemd hears of each service that starts, of the host that is ready, of the stop, and of the end."""
    builder = builder_of()
    builder.add_service(Slow(), name="orders")

    async with builder.build() as host:
        started = systemd.heard()
        host.lifetime.request_stop("signal SIGTERM")
        await host.wait()

    assert started == [
        "STATUS=starting services (0 of 2)\nEXTEND_TIMEOUT_USEC=10000000",
        "STATUS=starting systemd-notifier (1 of 2)\nEXTEND_TIMEOUT_USEC=10000000",
        "STATUS=starting orders (2 of 2)\nEXTEND_TIMEOUT_USEC=10000000",
        "READY=1\nSTATUS=running: 2 services\nWATCHDOG=1",
    ]
    stopped = systemd.heard()
    assert stopped[0] == "STOPPING=1\nSTATUS=stopping: signal SIGTERM\nEXTEND_TIMEOUT_USEC=5000000"
    assert stopped[-1] == "STATUS=stopped: signal SIGTERM, exit code 0"
    assert not only(stopped[1:], "STOPPING")


async def test_a_host_is_a_source_too(systemd: Systemd) -> None:
    """The notifier may be given the host that was built, and then speaks by its events, without a service's place."""
    builder = HostBuilder(HostOptions())
    builder.add_service(Slow(), name="orders")
    host = builder.build()
    SystemdNotifier(host)

    async with host:
        pass

    heard = systemd.heard()
    assert len(only(heard, "READY=1")) == len(only(heard, "STOPPING=1")) == 1
    assert heard[-1] == "STATUS=stopped: the end of async with, exit code 0"


async def test_ready_only_when_every_service_is(systemd: Systemd) -> None:
    """READY comes when the last service is ready; the start is extended every 5 s meanwhile, by 10 s at most."""
    builder = builder_of(startup_timeout=60)
    builder.add_service(Slow(start=12), name="orders")

    async with builder.build():
        heard = systemd.heard()

    waiting = "STATUS=starting orders (2 of 2)\nEXTEND_TIMEOUT_USEC=10000000"
    assert heard[2:-1] == [waiting] * (1 + 12 // 5)
    assert heard[-1].startswith("READY=1\n")


async def test_a_start_is_extended_as_far_as_its_own_timeout(systemd: Systemd) -> None:
    """A start that hangs is ended by the host's own timeout: systemd is asked for 5 s beyond that, and no more."""
    builder = builder_of(startup_timeout=20)
    builder.add_service(Slow(start=1000), name="orders")
    began = current_time()
    ends: list[float] = []

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while True:
                heard = only(systemd.heard(), "STATUS=starting")
                ends.extend(current_time() - began + int(message.partition(ASKED)[2]) / 1e6 for message in heard)
                await anyio.sleep(0.5)

        group.start_soon(watch)
        with pytest.raises(HostFailedError, match="orders"):
            await builder.build().start()
        group.cancel_scope.cancel()

    assert ends == sorted(ends)
    assert 24.5 <= ends[-1] <= 25.5


async def test_a_start_without_a_timeout_is_not_extended(systemd: Systemd) -> None:
    """Without a startup_timeout, the unit's own timeout ends a start that hangs."""
    builder = builder_of(startup_timeout=None)
    builder.add_service(Slow(start=20), name="orders")

    async with builder.build():
        heard = systemd.heard()

    assert not only(heard, ASKED)
    assert "STATUS=starting orders (2 of 2)" in heard


async def test_a_restart_during_the_start_begins_no_further_service(systemd: Systemd) -> None:
    """A service that is restarted while others still start is not counted twice."""
    builder = builder_of()
    fails = True

    @builder.service(name="feed", on_failure=Restart(backoff=Backoff(initial=1, jitter=0)))
    async def feed(stopping_token: StoppingToken) -> None:
        nonlocal fails
        if fails:
            fails = False
            raise OSError
        await stopping_token.wait()

    builder.add_service(Slow(start=3), name="orders")

    async with builder.build():
        heard = systemd.heard()

    assert {message.partition("\n")[0] for message in only(heard, "(3 of 3)")} == {"STATUS=starting orders (3 of 3)"}
    assert not only(heard, "of 3)\nREADY")
    assert not only(heard, "(4 of 3)")


async def test_a_change_of_health_is_a_status_and_nothing_else_is(systemd: Systemd) -> None:
    """While it runs, systemd hears of a service that restarts, and of the end of that, once each."""
    builder = builder_of()
    fail = anyio.Event()

    @builder.service(name="feed", on_failure=Restart(limit=5, backoff=Backoff(initial=12, jitter=0)))
    async def feed(stopping_token: StoppingToken) -> None:
        if not fail.is_set():
            await fail.wait()
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        await stopping_token.wait()

    async with builder.build():
        await anyio.sleep(100)
        systemd.heard()
        fail.set()
        await anyio.sleep(100)
        heard = systemd.heard()

    assert heard == [
        "STATUS=not well: feed restarts in 12 s, 1 of 5 (ConnectionRefusedError: [Errno 111] refused)",
        "STATUS=running: 2 services",
    ]


async def test_changes_are_at_least_a_second_apart(systemd: Systemd) -> None:
    """A service that comes and goes ten times a second is one message a second."""
    builder = builder_of()

    @builder.service(name="feed", on_failure=Restart(limit=None, backoff=Backoff(initial=0.1, jitter=0, factor=1)))
    async def feed() -> None:
        raise OSError("down")

    times = []
    async with builder.build(), anyio.create_task_group() as group:

        async def watch() -> None:
            while True:
                await anyio.sleep(0.05)
                times.extend([current_time()] * len(systemd.heard()))

        group.start_soon(watch)
        await anyio.sleep(10)
        group.cancel_scope.cancel()

    assert len(times) <= 13
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times[5:]))


async def test_a_restart_without_a_limit_and_a_start_that_takes_long(systemd: Systemd) -> None:
    """Without a limit there is none in the status; a run that is not ready yet starts again."""
    builder = builder_of()
    runs = count()

    class Feed(BackgroundService):
        async def start(self) -> None:
            if next(runs):
                await anyio.sleep(30)

        async def execute(self, stopping_token: StoppingToken) -> None:
            if not await stopping_token.sleep(10):
                raise OSError("down")

    builder.add_service(Feed(), on_failure=Restart(limit=None, backoff=Backoff(initial=5, jitter=0)))
    async with builder.build():
        systemd.heard()
        await anyio.sleep(20)
        heard = systemd.heard()

    assert heard == [
        "STATUS=not well: feed restarts in 5 s (OSError: down)",
        "STATUS=not well: feed starts again (OSError: down)",
    ]


async def test_a_stall_is_a_status(systemd: Systemd) -> None:
    """A service that is silent for longer than its heartbeat_timeout is named, until it moves again."""
    builder = builder_of()

    @builder.service(name="sync", heartbeat_timeout=10)
    async def sync(stopping_token: StoppingToken) -> None:
        await anyio.sleep(30)
        await stopping_token.wait()

    async with builder.build():
        systemd.heard()
        await anyio.sleep(60)
        heard = systemd.heard()

    assert heard == ["STATUS=not well: sync is stalled", "STATUS=running: 2 services"]


async def test_schedules_are_counted_and_the_next_one_is_named(systemd: Systemd) -> None:
    """The status names the job that runs next and when; when it has run, the one after it."""
    builder = builder_of()
    scheduler = builder.add_service(Scheduler())

    @scheduler.job(Every(timedelta(hours=2)))
    async def report() -> None: ...

    @scheduler.job(Every(timedelta(hours=3)))
    async def cleanup() -> None: ...

    async with builder.build():
        started = systemd.heard()[-1]
        first = scheduler.jobs["report"].next_run
        scheduler.jobs["cleanup"].run_now()
        await anyio.sleep(60)
        other = systemd.heard()
        await anyio.sleep(2 * 3600)
        later = systemd.heard()

    assert first is not None
    assert other == []
    assert f"STATUS=running: 2 services, 2 schedules, next report {first:%H:%M}\n" in started
    assert [status.rpartition(" ")[0] for status in later] == ["STATUS=running: 2 services, 2 schedules, next cleanup"]


async def test_a_host_without_schedules_has_none(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no schedules were ever imported, none are looked for."""
    monkeypatch.delitem(sys.modules, "hostkit.scheduling")

    async with builder_of().build():
        heard = systemd.heard()

    assert heard[-1] == "READY=1\nSTATUS=running: 1 services\nWATCHDOG=1"
    assert "hostkit.scheduling" not in sys.modules


async def test_a_run_that_is_far_away_has_its_date(systemd: Systemd) -> None:
    """A next run of another day is shown with the day; without any, only the number of schedules."""
    builder = builder_of()
    scheduler = builder.add_service(Scheduler())

    @scheduler.job(Every(timedelta(hours=36)))
    async def cleanup() -> None: ...

    async with builder.build():
        started = systemd.heard()[-1]
        due = scheduler.jobs["cleanup"].next_run
        scheduler.jobs["cleanup"].pause()

    assert f", 1 schedules, next cleanup {due:%Y-%m-%d %H:%M}\n" in started


async def test_the_watchdog_is_fed_twice_in_its_time(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop reports every half of what systemd allows, from the start on."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    async with builder_of().build():
        systemd.heard()
        await anyio.sleep(61)
        heard = systemd.heard()

    assert heard == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_process_that_the_watchdog_aborts_shows_where_it_is(
    systemd: Systemd,
    monkeypatch: pytest.MonkeyPatch,
    enabled: bool,  # noqa: FBT001
) -> None:
    """With a watchdog the stacks are printed at an abort, unless the app has seen to that."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setattr("faulthandler.is_enabled", lambda: enabled)
    calls: list[int] = []
    monkeypatch.setattr("faulthandler.enable", lambda file: calls.extend([file]))

    async with builder_of().build():
        pass

    assert len(calls) == (0 if enabled else 1)


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("30000000", "1"), ("soon", ""), ("0", ""), ("-5", "")], ids=str)
async def test_no_watchdog_where_none_is_wanted(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
) -> None:
    """Without a time, with one that is none, and in another process than the unit's main one, nothing is reported."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)

    async with builder_of().build():
        systemd.heard()
        await anyio.sleep(1000)
        heard = systemd.heard()

    assert heard == []


async def test_a_stall_does_not_hold_the_watchdog_back(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `/livez`: neither a stall nor a restart is a reason for systemd to kill the host."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    builder = builder_of()

    @builder.service(name="sync", heartbeat_timeout=10)
    async def sync(stopping_token: StoppingToken) -> None:
        await anyio.sleep(62)
        await stopping_token.wait()

    @builder.service(name="feed", on_failure=Restart(limit=None, backoff=Backoff(initial=50, maximum=50, jitter=0)))
    async def feed() -> None:
        raise OSError("down")

    async with builder.build():
        systemd.heard()
        await anyio.sleep(61)
        heard = systemd.heard()

    assert only(heard, "sync is stalled; feed restarts in ")
    assert len(only(heard, "WATCHDOG=1")) == 4


async def test_the_watchdog_is_fed_in_a_stop_until_the_host_gives_up(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop has the host's own deadlines; once it gives a service up, nothing holds systemd's back."""
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    builder = builder_of(shutdown_timeout=2, cancellation_timeout=1)
    let_go = anyio.Event()

    @builder.service(name="sync")
    async def sync() -> None:
        with anyio.CancelScope(shield=True):
            await let_go.wait()

    host = builder.build()
    await host.start()
    systemd.heard()
    async with systemd.listening():
        with pytest.raises(HostFailedError):
            await host.stop()
    heard = systemd.heard()
    let_go.set()
    await anyio.sleep(1)

    assert 25 <= len(only(heard, "WATCHDOG=1")) <= 32
    assert heard[-1].startswith("STATUS=failed: ")
    assert systemd.heard() == []


async def test_the_stop_names_whom_it_waits_for(systemd: Systemd) -> None:
    """Every 2 s, and when a service has ended: who is waited for, at which line, until when; and 5 s more time."""
    builder = builder_of(shutdown_timeout=20, cancellation_timeout=5)
    builder.add_service(Slow(stop=3), name="first")

    @builder.service(name="orders")
    async def orders() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(22)

    host = builder.build()
    await host.start()
    systemd.heard()
    async with systemd.listening():
        with pytest.raises(HostFailedError):
            await host.stop("signal SIGTERM")
    heard = systemd.heard()

    more = "EXTEND_TIMEOUT_USEC=5000000\nWATCHDOG=1"
    assert heard[0] == "STOPPING=1\nSTATUS=stopping: signal SIGTERM\nEXTEND_TIMEOUT_USEC=5000000"
    waiting = only(heard, "waiting for orders (at test_ext_systemd.py:")
    assert all(message.endswith(more) for message in waiting)
    assert [re.findall(r"(cancelled|abandoned) in (\d+) s", message)[0] for message in waiting] == [
        *(("cancelled", str(seconds)) for seconds in range(19, 0, -2)),
        ("abandoned", "5"),
        ("abandoned", "3"),
    ]
    assert only(heard, "waiting for first (at test_ext_systemd.py:")
    assert heard[-1].startswith("STATUS=failed: StopTimeoutError: ")


async def test_many_that_are_waited_for_are_counted(systemd: Systemd) -> None:
    """Of a step of many services three are named."""
    builder = builder_of()
    builder.add_services(*(Slow(stop=5) for _ in range(5)))

    async with builder.build():
        systemd.heard()

    waiting, *_ = only(systemd.heard(), "waiting for slow")
    assert ", slow-3 (at test_ext_systemd.py:" in waiting
    assert ", 2 more, cancelled in 19 s\n" in waiting


async def test_more_time_is_asked_for_until_the_host_gives_up(systemd: Systemd) -> None:
    """What is abandoned is not waited for: from then on systemd's own timeout holds."""
    builder = builder_of(shutdown_timeout=0, cancellation_timeout=0)

    host = builder.build()
    await host.start()
    systemd.heard()
    with pytest.raises(HostFailedError):  # the notifier has had no time either
        await host.stop()

    first, *_ = systemd.heard()
    assert first == "STOPPING=1\nSTATUS=stopping: stop() was called"


async def test_the_stop_delay_is_a_status_and_no_stop(systemd: Systemd) -> None:
    """While the stop is announced the unit runs on, whatever changes; STOPPING comes when it begins."""
    builder = builder_of(stop_delay=5)
    runs = count()

    @builder.service(name="feed", on_failure=Restart(backoff=Backoff(initial=1, jitter=0)))
    async def feed(stopping_token: StoppingToken) -> None:
        if next(runs) == 0 and not await stopping_token.sleep(2):
            raise OSError("down")
        await stopping_token.wait()

    host = builder.build()
    await host.start()
    systemd.heard()
    builder._lifetime.announce_stop("signal SIGTERM")  # as the first signal does
    await anyio.sleep(4.5)
    announced = systemd.heard()
    await host.wait()
    stopped = systemd.heard()

    assert announced == ["STATUS=stopping in 5 s: signal SIGTERM"]
    assert stopped[0].startswith("STOPPING=1\nSTATUS=stopping: signal SIGTERM\n")


async def test_a_stop_in_the_middle_of_a_start(systemd: Systemd) -> None:
    """A host that is stopped before it was ready never says that it is."""
    builder = builder_of()
    builder.add_service(Slow(start=1000), name="orders")
    host = builder.build()

    async with anyio.create_task_group() as group:
        group.start_soon(host.start)
        await anyio.sleep(1)
        host.lifetime.request_stop("signal SIGTERM")

    heard = systemd.heard()
    assert not only(heard, "READY")
    assert len(only(heard, "STOPPING=1")) == 1
    assert heard[-1] == "STATUS=stopped: signal SIGTERM, exit code 0"


async def test_a_failure_is_named_with_its_number(systemd: Systemd) -> None:
    """The last status names the failure and its causes, and gives the number of the first one that has one."""
    builder = builder_of()

    @builder.service(name="feed", on_failure=Restart(limit=1, backoff=Backoff(initial=1, jitter=0)))
    async def feed() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.raises(HostFailedError):
        async with builder.build() as host:
            await host.wait()

    status, number = systemd.heard()[-1].split("\n")
    assert status.startswith("STATUS=failed: RestartLimitError: ")
    assert status.endswith("; caused by ConnectionRefusedError: [Errno 111] refused")
    assert number == f"ERRNO={errno.ECONNREFUSED}"


async def test_a_failure_in_a_group_of_the_services_own(systemd: Systemd) -> None:
    """Of a group of errors the first is named; one without a number has none."""
    builder = builder_of()

    @builder.service(name="feed")
    async def feed() -> None:
        raise ExceptionGroup("two", [ValueError("wrong"), OSError("x")])

    with pytest.raises(HostFailedError):
        async with builder.build() as host:
            await host.wait()

    assert systemd.heard()[-1] == "STATUS=failed: ValueError: wrong"


async def test_children_do_not_inherit_the_socket(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are gone when the first service starts, and the host speaks again in its next lifecycle."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    seen = []

    class Looks(HostedService):
        async def start(self) -> None:
            seen.append({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys())

    builder = builder_of()
    builder.add_service(Looks())
    host = builder.build()
    for _ in range(2):
        async with host:
            pass

    heard = systemd.heard()
    assert seen == [set(), set()]
    assert len(only(heard, "READY=1")) == len(only(heard, "STOPPING=1")) == 2


async def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NOTIFY_SOCKET the environment is left alone, and the host runs as ever."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")

    async with builder_of().build():
        await anyio.sleep(10)

    assert os.environ["WATCHDOG_USEC"] == "1000"


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative/path", "/" + "x" * 107, "@" + "x" * 107])
async def test_an_address_that_is_none_is_one_warning(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no address of a socket here is named once, in a warning; then the host runs as without systemd."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    host = builder_of().build()
    for _ in range(2):
        async with host:
            await anyio.sleep(10)
    logger.remove(sink)

    (line,) = lines
    assert f"NOTIFY_SOCKET={address} " in line
    assert "NOTIFY_SOCKET" not in os.environ


async def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is as none."""
    monkeypatch.setenv("NOTIFY_SOCKET", "")

    async with builder_of().build() as host:
        assert host.lifetime.state is HostState.STARTED


async def test_a_socket_that_is_gone_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A message that cannot be sent is a line at DEBUG, once for all that follow each other, and no error."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG", format="{level} {message}", filter="hostkit")

    async with builder_of().build():
        await anyio.sleep(100)
    logger.remove(sink)

    (line,) = only(lines, "lost")
    assert line.startswith("DEBUG a message to systemd is lost: ")
    assert "FileNotFoundError" in line


async def test_ready_is_said_again_when_the_queue_was_full(systemd: Systemd) -> None:
    """A unit that never hears READY would be killed: it is repeated until systemd has room for it."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.settimeout(0)
    address = "\0" + systemd.address[1:] if systemd.address.startswith("@") else systemd.address
    with pytest.raises(BlockingIOError):
        while True:
            sender.sendto(b"x", address)
    sender.close()

    async with builder_of().build():
        await anyio.sleep(5)
        full = systemd.heard()
        await anyio.sleep(5)
        heard = systemd.heard()

    assert set(full) == {"x"}
    assert heard == ["READY=1\nSTATUS=running: 1 services\nWATCHDOG=1"]


async def test_a_status_is_one_short_line(systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    """Lines of an error become one, of at most 512 bytes, cut at a character; nothing in it is an assignment."""
    caplog.set_level("CRITICAL", logger="hostkit")  # a traceback shows the error as it is, which not every reader takes
    builder = builder_of()

    @builder.service(name="ödemeler")
    async def feed() -> None:
        raise ValueError("first\nREADY=1\r\n\0" + "ş" * 600 + "\udc80")

    with pytest.raises(HostFailedError):
        async with builder.build() as host:
            await host.wait()

    last = systemd.heard()[-1]
    assert last.startswith("STATUS=failed: ValueError: first READY=1  şşş")
    assert len(last.encode()) - len("STATUS=") in (511, 512)
    assert last.endswith("ş")


async def test_restarting_the_notifier_itself_keeps_it_going(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart that is asked for begins its timers anew, and leaves none of the old ones."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    async with builder_of().build() as host:
        await host.restart("systemd-notifier")
        await anyio.sleep(5)
        systemd.heard()
        await anyio.sleep(20)
        heard = systemd.heard()

    assert heard == ["WATCHDOG=1"] * 2


def test_a_builder_that_has_built_is_no_source() -> None:
    """The notifier must be there before the host is built, or be given the host."""
    builder = HostBuilder(HostOptions())
    builder.build()

    with pytest.raises(HostStateError, match="already"):
        SystemdNotifier(builder)
