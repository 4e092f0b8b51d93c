"""What ``hostkit run`` adds to a host: the dashboard and word to systemd, in processes of their own."""

import json
import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from children import Child, Outcome

from hostkit import BackgroundService, HostBuilder, HostedService, HostOptions, HostState, StoppingToken
from hostkit._config.options import WrongSettingsError
from hostkit._core.host import runner_of
from hostkit.ext._additions import (
    ACTIONS,
    DASHBOARD,
    HELP,
    TOKEN_FILE,
    DashboardFlags,
    _free_port,
    _split_address,
    add_to,
    split_flags,
)

APP = """
import os
from hostkit import HostBuilder, HostOptions, HostSettings
from hostkit.ext.systemd import SystemdNotifier

builder = HostBuilder()


@builder.service()
async def worker(stopping_token):
    os.write(1, repr(sorted(host.services)).encode() + b"\\n")
    await stopping_token.wait()


host = builder.build()


def speaks():
    made = HostBuilder()
    made.add_service(SystemdNotifier(made))

    @made.service()
    async def names(stopping_token):
        os.write(1, repr(sorted(speaking.services)).encode() + b"\\n")
        await stopping_token.wait()

    global speaking
    speaking = made.build()
    return speaking


class Chosen(HostSettings):
    size: int = 3


def chosen(settings: Chosen):
    return HostBuilder(settings)


def ends():
    made = HostBuilder()

    @made.service()
    async def once(): ...

    return made
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an app in it."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


def hostkit(*arguments: str) -> list[str]:
    """Return the command."""
    return [sys.executable, "-m", "hostkit", "run", *arguments]


def refused(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what is said of a command that is refused."""
    with Child(*hostkit("app", *arguments), cwd=directory, env=environment, apart=True) as child:
        outcome = child.ends()
    assert outcome.code == 2, outcome.errors
    assert outcome.output == []
    return outcome.errors


def stopped(child: Child) -> Outcome:
    """Stop a child by SIGTERM and return how it has ended."""
    child.reads("started")
    child.send(signal.SIGTERM)
    return child.ends()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(port: int, path: str, token: str = "") -> tuple[int, bytes]:
    """Return status and body of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers=headers)  # ours
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.needs("dashboard")
@pytest.mark.parametrize("by_flag", [True, False])
def test_the_dashboard_by_flag_and_by_variable(directory: Path, by_flag: bool) -> None:  # noqa: FBT001
    """The dashboard is the first service, shows the others, and does not steer unless it is allowed to."""
    port = free_port()
    flags = ["--dashboard", f"127.0.0.1:{port}"] if by_flag else []
    environment = {} if by_flag else {"HOSTKIT_DASHBOARD": f":{port}"}
    with Child(*hostkit("app", *flags), cwd=directory, env=environment, apart=True) as child:
        child.reads("started 2 services")
        _, body = get(port, "status.json")
        ready, _ = get(port, "readyz")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    status = json.loads(body)
    assert outcome.code == 0
    assert outcome.output == ["['dashboard', 'worker']"]
    assert [service["name"] for service in status["services"]] == ["dashboard", "worker"]
    assert status["actions"] is False
    assert ready == 200


@pytest.mark.needs("dashboard")
def test_show_takes_the_flags_of_the_dashboard(directory: Path) -> None:
    """`hostkit show` shows the host with the dashboard that `hostkit run` would add to it."""
    arguments = (sys.executable, "-m", "hostkit", "show", "app", "--dashboard", "--json")
    with Child(*arguments, cwd=directory, apart=True) as child:
        outcome = child.ends()

    document = json.loads("\n".join(outcome.output))
    assert outcome.code == 0
    assert [(each["step"], each["name"]) for each in document["services"]] == [(1, "dashboard"), (2, "worker")]


@pytest.mark.needs("dashboard")
def test_actions_and_a_token_from_a_file(directory: Path) -> None:
    """With a token the dashboard asks for it; with --dashboard-actions it may steer. Other flags go to the host."""
    port = free_port()
    (directory / "token").write_text("0123456789abcdef\n", encoding="utf-8")
    flags = [
        "--shutdown-timeout",
        "9",
        f"--dashboard=127.0.0.1:{port}",
        "--dashboard-actions",
        "--dashboard-token-file",
        "token",
    ]
    with Child(*hostkit("app", *flags), cwd=directory, apart=True) as child:
        child.reads("started 2 services")
        without, _ = get(port, "status.json")
        code, body = get(port, "status.json", token="0123456789abcdef")  # noqa: S106
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert without == 401
    assert code == 200
    assert json.loads(body)["actions"] is True
    assert json.loads(body)["host"]["shutdown_timeout"] == 9


@pytest.mark.needs("dashboard")
def test_a_host_with_nothing_left_to_do_ends_with_its_dashboard(directory: Path) -> None:
    """The dashboard only looks on: it does not keep a host that has done its work."""
    with Child(*hostkit("app:ends", "--dashboard", f":{free_port()}"), cwd=directory, apart=True) as child:
        outcome = child.ends()

    assert outcome.code == 0
    assert "nothing left to do" in outcome.errors


@pytest.mark.needs("dashboard")
def test_a_taken_port_fails_the_start(directory: Path) -> None:
    """A port that is taken is a failure of the start, exit code 1; in development the next free one is taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with Child(*hostkit("app", "--dashboard", address), cwd=directory, apart=True) as child:
            taken = child.ends()
        with Child(
            *hostkit("app", "--dashboard", address, "--environment", "development"), cwd=directory, apart=True
        ) as child:
            child.reads("is taken; the dashboard listens on port ")
            developing = stopped(child)

    assert taken.code == 1
    assert "service 'dashboard' failed" in taken.errors
    assert developing.code == 0


@pytest.mark.needs("dashboard")
def test_beyond_this_machine_there_must_be_a_token(directory: Path) -> None:
    """An address that others reach is refused without a token, and so is one that is too short."""
    (directory / "token").write_text("short", encoding="utf-8")

    assert "token" in refused(directory, "--dashboard", "0.0.0.0:9000")
    assert "at least 16" in refused(directory, "--dashboard", "--dashboard-token-file", "token")


@pytest.mark.needs("dashboard")
@pytest.mark.needs("trio")
def test_no_dashboard_on_trio(directory: Path) -> None:
    """Uvicorn does not run on trio."""
    errors = refused(directory, "--backend", "trio", "--dashboard")

    assert errors == "hostkit: --dashboard needs backend asyncio or uvloop: its server, uvicorn, does not run on trio\n"


def test_the_dashboard_needs_its_extra(directory: Path) -> None:
    """Without the packages of the extra, the extra is named."""
    (directory / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'starlette' else find(name, *rest)\n",
        encoding="utf-8",
    )
    errors = refused(directory, "--dashboard", environment={"PYTHONPATH": str(directory)})

    assert re.fullmatch(
        r"hostkit: --dashboard needs hostkit-py\[dashboard\] \(not installed: .*starlette.*\)\n", errors
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dashboard-actions"], "--dashboard-actions needs --dashboard (or HOSTKIT_DASHBOARD)"),
        (["--dashboard-token-file", "x"], "--dashboard-token-file needs --dashboard (or HOSTKIT_DASHBOARD)"),
        (["--dashboard-token-file"], "--dashboard-token-file takes the path of a file"),
        (["--dashboard-actions=yes"], "--dashboard-actions takes no value"),
        (["--dash"], "--dash"),
    ],
)
def test_flags_that_make_no_sense(directory: Path, arguments: list[str], words: str) -> None:
    """Each is refused with exit code 2, and said why."""
    assert words in refused(directory, *arguments)


def test_the_usage_names_the_flags(directory: Path) -> None:
    """They are in the help of the command."""
    with Child(sys.executable, "-m", "hostkit", "--help", cwd=directory, apart=True) as child:
        outcome = child.ends()

    assert "--dashboard-token-file PATH" in "\n".join(outcome.output)


@pytest.mark.parametrize("target", ["app", "app:speaks", "app:chosen"])
def test_the_help_of_a_target_lists_the_flags(directory: Path, target: str) -> None:
    """They are in it once, after those of the target and of the host, by `show` as well."""
    with Child(*hostkit(target, "--help"), cwd=directory, apart=True) as child:
        outcome = child.ends()
    with Child(*hostkit()[:-1], "show", target, "--help", cwd=directory, apart=True) as child:
        shown = "\n".join(child.ends().output)
    text = "\n".join(outcome.output)

    assert (outcome.code, outcome.errors) == (0, "")
    assert text == shown.replace("hostkit show", "hostkit run")
    assert text.endswith(HELP.rstrip())
    assert [text.count(f"  {flag} ") for flag in (DASHBOARD, ACTIONS, TOKEN_FILE)] == [1, 1, 1]
    assert max(map(len, HELP.splitlines())) < 80


@pytest.mark.skipif(sys.platform == "win32", reason="there is no systemd on Windows")
@pytest.mark.parametrize(
    ("target", "off", "services"),
    [
        ("app", "true", ["systemd-notifier", "worker"]),
        ("app", "false", ["worker"]),
        ("app:speaks", "true", ["names", "systemd-notifier"]),
    ],
)
def test_word_to_systemd_by_itself(directory: Path, target: str, off: str, services: list[str]) -> None:
    """With NOTIFY_SOCKET systemd hears of the host without code, once, unless that is off."""
    path = f"/tmp/hostkit-cli-{os.getpid()}"  # noqa: S108  # short enough for an address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(0)
        environment = {"NOTIFY_SOCKET": path, "HOSTKIT_SYSTEMD": off}
        with Child(*hostkit(target), cwd=directory, env=environment, apart=True) as child:
            outcome = stopped(child)
        heard = b""
        try:
            while True:
                heard += receiver.recv(4096) + b"\n\n"
        except BlockingIOError:
            Path(path).unlink()

    assert outcome.code == 0
    assert outcome.output == [repr(services)]
    assert heard.count(b"READY=1") == heard.count(b"STOPPING=1") == (off == "true")
    assert (b"STATUS=stopped: signal SIGTERM, exit code 0" in heard) == (off == "true")


def test_splits_the_flags() -> None:
    """The dashboard's flags are taken out wherever they stand; an address may be missing."""
    assert split_flags(["--a", "--dashboard", "--b=c=d", "e"]) == (
        DashboardFlags(address="127.0.0.1:9000"),
        ["--a", "--b=c=d", "e"],
    )
    assert split_flags(["--dashboard", ":1", "--dashboard-token-file=f"]) == (
        DashboardFlags(address=":1", token_file="f"),  # noqa: S106
        [],
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        (":80", ("127.0.0.1", 80)),
        ("80", ("127.0.0.1", 80)),
        ("1", ("127.0.0.1", 9000)),
        ("True", ("127.0.0.1", 9000)),
        ("0.0.0.0", ("0.0.0.0", 9000)),  # noqa: S104
        ("[::1]:7", ("::1", 7)),
        ("[::]", ("::", 9000)),
        ("unix:/run/app.sock", ("unix:/run/app.sock", 9000)),
    ],
)
def test_reads_an_address(address: str, expected: tuple[str, int]) -> None:
    """Host and port, either of them, IPv6 in brackets, a socket file, or a word for yes."""
    assert _split_address(address, "--dashboard") == expected


@pytest.mark.parametrize("address", ["::1", "host:", "host:http", "host:70000", "70000", "host:-1", "a:b:1"])
def test_refuses_an_address(address: str) -> None:
    """What is no address is named, with what would be right."""
    with pytest.raises(WrongSettingsError, match=re.escape(f"--dashboard {address}: must be HOST:PORT")):
        _split_address(address, "--dashboard")


@pytest.mark.needs("dashboard")
def test_refuses_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing or empty is named."""
    host = HostBuilder(HostOptions()).build()
    (tmp_path / "empty").touch()

    with pytest.raises(WrongSettingsError, match="nowhere: cannot be read: "):
        add_to(host, DashboardFlags(":0", token_file="nowhere"))  # noqa: S106
    with pytest.raises(WrongSettingsError, match="empty: the file is empty"):
        add_to(host, DashboardFlags(":0", token_file=str(tmp_path / "empty")))


class Watcher(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()


async def test_a_service_in_front_does_not_keep_the_host() -> None:
    """It starts first and stops last, has a name of its own, and the host ends when the others have nothing to do."""
    order: list[str] = []

    class Named(HostedService):
        def __init__(self, name: str) -> None:
            self.name = name

        async def start(self) -> None:
            order.append(f"start {self.name}")

        async def stop(self) -> None:
            order.append(f"stop {self.name}")

    builder = HostBuilder(HostOptions())

    @builder.service(name="looks-on")
    async def work(stopping_token: StoppingToken) -> None:
        order.append("work")

    host = builder.build()
    runner_of(host).put_first(Watcher(), "looks-on")
    runner_of(host).put_first(Named("first"), "first")
    await host.start()
    await host.wait()

    assert list(host.services) == ["first", "looks-on-2", "looks-on"]
    assert list(host.registrations) == list(host.services)
    assert host.lifetime.state is HostState.STOPPED
    assert host.lifetime.stop_reason == "nothing left to do: every service has ended"
    assert order == ["start first", "work", "stop first"]


async def test_a_restart_of_a_service_in_front_does_not_keep_the_host_either() -> None:
    """A restart that is asked for does not make it count."""
    builder = HostBuilder(HostOptions())

    @builder.service()
    async def work(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(10)

    class Brief(BackgroundService):
        runs = 0

        async def execute(self, stopping_token: StoppingToken) -> None:
            self.runs += 1
            if self.runs > 1:
                await stopping_token.wait()

    host = builder.build()
    runner_of(host).put_first(Brief(), "brief")
    await host.start()
    await anyio.sleep(1)
    await host.restart("brief")
    await host.wait()

    assert host.lifetime.stop_reason == "nothing left to do: every service has ended"


def test_a_port_that_need_not_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 and a socket file are taken as they are, and so is a port when none of the next ones is free."""
    monkeypatch.setattr("hostkit.ext._additions.NEXT_PORTS", 1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert _free_port("127.0.0.1", taken) == taken
    assert _free_port("127.0.0.1", 0) == 0
    assert _free_port("unix:/run/app.sock", 9000) == 9000
