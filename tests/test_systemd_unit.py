"""A real unit of a real systemd, which runs in namespaces of its own: start, status, watchdog, more time, stop."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

SYSTEMD = Path("/usr/lib/systemd/systemd")
CGROUPS = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
# As another user, without systemd, or without the second version of control groups there is nothing to run it with.
REASONS = {
    "systemd is not installed": not SYSTEMD.exists() or shutil.which("unshare") is None,
    "only root may make the namespaces": sys.platform == "win32" or os.geteuid() != 0,
    "there is no place for control groups": not any((path / "cgroup.procs").exists() for path in CGROUPS),
}
MISSING = [reason for reason, holds in REASONS.items() if holds]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))

APP = """
import os, sys, time
import anyio
from hostkit import HostBuilder, HostedService, HostOptions

mode = sys.argv[1]
builder = HostBuilder(HostOptions(startup_timeout=30))
sys.path.insert(0, os.path.dirname(__file__))


class Slow(HostedService):
    async def start(self):
        await anyio.sleep(4 if mode == "slow" else 0)

    async def stop(self):
        await anyio.sleep(4 if mode == "slow" else 0)


builder.add_service(Slow())


@builder.service()
async def worker(stopping_token):
    print("NOTIFY_SOCKET" in os.environ, "WATCHDOG_USEC" in os.environ, flush=True)
    if mode == "block":
        await anyio.sleep(1)
        time.sleep(60)
    if mode == "fail":
        await anyio.sleep(0.5)
        raise ConnectionRefusedError(111, "refused")
    await stopping_token.wait()


import hostkit.cli

hostkit.cli.run(builder, [])
"""
NAMESPACES = (
    *("unshare", "--mount", "--pid", "--cgroup", "--ipc", "--uts"),
    *("--fork", "--kill-child", "--mount-proc"),
)
PROPERTIES = "ActiveState,SubState,Result,StatusText,StatusErrno,ExecMainStatus"
UNIT = """
[Service]
Type=notify
NotifyAccess=main
ExecStart={python} {app} {mode}
WorkingDirectory={folder}
StandardOutput=append:{folder}/{mode}.log
StandardError=inherit
TimeoutStartSec=2
TimeoutStopSec=2
WatchdogSec=2
KillMode=mixed
"""
SCRIPT = """
set -u
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/user-manager /run/systemd/system
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export XDG_RUNTIME_DIR=/run/user-manager HOME={folder}
cd {folder}
{systemd} --user --log-target=null </dev/null >manager.log 2>&1 &
for round in $(seq 100); do
    systemctl --user is-system-running --wait >state 2>/dev/null && break
    [ "$(cat state)" = degraded ] && break
    sleep 0.1
done
show() {{ systemctl --user show app-$1 -p {properties} >$2; }}
{commands}
"""


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A control group for the manager, which is taken away with all that it has made."""
    parent = next(path for path in CGROUPS if (path / "cgroup.procs").exists())
    group = parent / f"hostkit-test-{os.getpid()}"
    group.mkdir()
    yield group
    for folder, _, _ in os.walk(group, topdown=False):
        os.rmdir(folder)  # noqa: PTH106


def run(folder: Path, group: Path, commands: str) -> dict[str, dict[str, str]]:
    """Run *commands* beside a manager, and return what ``show`` has written, by file."""
    units = folder / ".config" / "systemd" / "user"
    units.mkdir(parents=True)
    (folder / "app.py").write_text(APP, encoding="utf-8")
    for mode in ("plain", "slow", "block", "fail"):
        unit = UNIT.format(python=sys.executable, app=folder / "app.py", mode=mode, folder=folder)
        (units / f"app-{mode}.service").write_text(unit, encoding="utf-8")
    script = SCRIPT.format(folder=folder, properties=PROPERTIES, systemd=SYSTEMD, commands=textwrap.dedent(commands))
    (folder / "script.sh").write_text(script, encoding="utf-8")
    subprocess.run(
        [  # noqa: S607  # found in the path
            "sh",
            "-c",
            f"echo $$ > {group}/cgroup.procs && exec {' '.join(NAMESPACES)} sh script.sh",
        ],
        cwd=folder,
        timeout=100,
        check=False,
    )
    return {
        path.stem: dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
        for path in folder.glob("*.show")
    }


def test_a_unit_starts_says_what_it_does_and_stops(tmp_path: Path, control_group: Path) -> None:
    """The unit is active when the host is ready, lives through its watchdog, and stops without a failure."""
    shown = run(
        tmp_path,
        control_group,
        """
        systemctl --user start app-plain; echo $? >started
        show plain running.show
        sleep 3
        show plain later.show
        systemctl --user stop app-plain
        show plain stopped.show
        """,
    )

    assert (tmp_path / "started").read_text() == "0\n"
    assert shown["running"]["ActiveState"] == shown["later"]["ActiveState"] == "active"
    assert shown["running"]["StatusText"] == "running: 3 services"
    assert (shown["stopped"]["ActiveState"], shown["stopped"]["Result"]) == ("inactive", "success")
    log = (tmp_path / "plain.log").read_text(encoding="utf-8")
    assert "False False\n" in log
    assert "stopping: signal SIGTERM" in log


def test_a_slow_start_and_stop_have_the_hosts_own_time(tmp_path: Path, control_group: Path) -> None:
    """Both take twice as long as the unit allows, and ask for more time; neither is a failure."""
    shown = run(
        tmp_path,
        control_group,
        """
        systemctl --user start --no-block app-slow
        sleep 2.5
        show slow starting.show
        systemctl --user start app-slow
        show slow running.show
        systemctl --user stop --no-block app-slow
        sleep 2.5
        show slow stopping.show
        systemctl --user stop app-slow
        show slow stopped.show
        """,
    )

    assert shown["starting"]["SubState"] == "start"
    assert shown["starting"]["StatusText"].startswith("starting slow (2 of 3)")
    assert shown["running"]["SubState"] == "running"
    assert shown["stopping"]["StatusText"].startswith("waiting for slow (at app.py:")
    assert shown["stopped"]["Result"] == "success"


def test_a_blocked_loop_is_ended_by_the_watchdog(tmp_path: Path, control_group: Path) -> None:
    """No sign of life for the watchdog's time: systemd aborts the process, which prints where it is."""
    shown = run(
        tmp_path,
        control_group,
        """
        systemctl --user start app-block
        for round in $(seq 100); do
            show block ended.show
            grep -q ActiveState=failed ended.show && break
            sleep 0.1
        done
        """,
    )

    assert shown["ended"]["Result"] == "watchdog"
    assert 'app.py", line ' in (tmp_path / "block.log").read_text(encoding="utf-8")


def test_a_failure_is_the_units_status(tmp_path: Path, control_group: Path) -> None:
    """The last status and its number stay to be read when the unit has failed."""
    shown = run(
        tmp_path,
        control_group,
        """
        systemctl --user start app-fail
        for round in $(seq 100); do
            show fail ended.show
            grep -q ActiveState=failed ended.show && break
            sleep 0.1
        done
        """,
    )

    assert (shown["ended"]["Result"], shown["ended"]["ExecMainStatus"]) == ("exit-code", "1")
    assert shown["ended"]["StatusText"] == "failed: ConnectionRefusedError: [Errno 111] refused"
    assert shown["ended"]["StatusErrno"] == "111"
