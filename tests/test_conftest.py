"""The nets under all other tests are tested themselves."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured_children")

LEAKING = """
import asyncio, os, signal, socket, threading, time
import anyio, pytest, sniffio

event = threading.Event()

def test_thread():
    threading.Thread(target=event.wait, args=(20,), name="forgotten", daemon=True).start()

def test_descriptor():
    os.open(os.devnull, os.O_RDONLY)

def test_handler():
    signal.signal(signal.SIGUSR1, lambda *_: None)

async def test_task():
    if sniffio.current_async_library() == "asyncio":
        test_task.kept = asyncio.create_task(anyio.sleep_forever(), name="forgotten task")
    else:
        import trio
        trio.lowlevel.spawn_system_task(anyio.sleep_forever, name="forgotten task")

async def test_descriptor_of_an_async_test():
    os.open(os.devnull, os.O_RDONLY)

def test_clean():
    thread = threading.Thread(target=time.sleep, args=(0.05,))
    thread.start()
    with socket.socket():
        pass

async def test_clean_async():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 3600)
        await anyio.to_thread.run_sync(time.sleep, 0.01)

@pytest.mark.real_time
async def test_real():
    before = time.monotonic()
    await anyio.sleep(0.01)
    assert time.monotonic() - before >= 0.01
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite in a folder of its own, with this suite's conftest."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makeini(
        "[pytest]\nanyio_mode = auto\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    return pytester


@pytest.mark.long
@pytest.mark.needs("trio")
def test_finds_every_kind_of_leak(suite: pytest.Pytester) -> None:
    """A thread, a descriptor, a signal handler or a task that a test leaves behind fails it, by name."""
    suite.makepyfile(LEAKING)

    result = suite.runpytest_subprocess("-p", "no:xdist")

    result.assert_outcomes(passed=12, errors=7)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at teardown of test_thread _*",
            "the test left behind: thread 'forgotten'",
            "*_ ERROR at teardown of test_descriptor _*",
            "the test left behind: descriptor * (/dev/null)",
            "*_ ERROR at teardown of test_handler _*",
            "the test left behind: handler of SIGUSR1 (*",
            "*_ ERROR at teardown of test_task[[]asyncio] _*",
            "the test left behind: task 'forgotten task'",
            "*_ ERROR at teardown of test_task[[]trio] _*",
            "the test left behind: task 'forgotten task'",
            "*_ ERROR at teardown of test_descriptor_of_an_async_test[[]asyncio] _*",
            "the test left behind: descriptor * (/dev/null)",
            "*_ ERROR at teardown of test_descriptor_of_an_async_test[[]trio] _*",
            "the test left behind: descriptor * (/dev/null)",
        ]
    )


@pytest.mark.needs("trio")
def test_refuses_to_leave_extras_out_by_itself(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extras are installed, the tests that need them cannot be left out."""
    monkeypatch.setenv("TEST_WITHOUT_EXTRAS", "1")

    result = suite.runpytest_subprocess("-p", "no:xdist")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*TEST_WITHOUT_EXTRAS is set, but installed are: cronsim, *"])
