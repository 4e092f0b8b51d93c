"""`hostkit.testing.virtual_time`, `FakeWallClock` and the pytest plugin."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import anyio
import pytest
from anyio import CancelScope, from_thread, to_thread
from anyio.lowlevel import EventLoopToken, current_token

from hostkit import HostkitError
from hostkit.testing import DeadlockError, FakeWallClock, _waiting, virtual_time

MONTH = 30 * 24 * 3600
DECADES = 1e9
START = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the real waits of virtual time short."""
    monkeypatch.setattr(_waiting, "PATIENCE", 0.3)


@pytest.mark.long
async def test_a_month_of_minutes() -> None:
    """Time begins at 0 and jumps from timer to timer, each at exactly its own instant."""
    began = anyio.current_time()
    ticks = []

    while anyio.current_time() < MONTH:
        await anyio.sleep(60)
        ticks.append(anyio.current_time())

    assert began == 0
    assert ticks == list(range(60, MONTH + 1, 60))


async def test_tenths_of_a_second_add_up_as_floats_do() -> None:
    """No rounding is added to what the timers ask for, and no timer comes early."""
    at = []

    async def record(after: float) -> None:
        await anyio.sleep(after)
        at.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for after in (0.3, 0.1, 0.1 + 0.2, 1e-9, 2e-9):
            group.start_soon(record, after)

    assert at == [1e-9, 2e-9, 0.1, 0.3, 0.1 + 0.2]


async def test_years_pass_too() -> None:
    """A clock that has grown large still reaches its timers."""
    await anyio.sleep(DECADES)
    await anyio.sleep(0.25)

    assert anyio.current_time() == DECADES + 0.25


async def test_deadlines_and_events_meet_on_time() -> None:
    """Cancel scopes and events of anyio are on virtual time as well."""
    event = anyio.Event()

    async def setter() -> None:
        await anyio.sleep(3600)
        event.set()

    async with anyio.create_task_group() as group:
        group.start_soon(setter)
        with anyio.move_on_after(1800) as scope:
            await event.wait()
        gave_up_at = anyio.current_time()
        await event.wait()

    assert scope.cancelled_caught
    assert (gave_up_at, anyio.current_time()) == (1800, 3600)


async def test_lets_what_is_ready_run_before_it_jumps() -> None:
    """`wait_all_tasks_blocked` waits for what can run now, and the clock waits too."""
    done = []

    async def worker() -> None:
        for step in range(5):
            await anyio.lowlevel.checkpoint()
            done.append((step, anyio.current_time()))

    async with anyio.create_task_group() as group:
        group.start_soon(worker)
        await anyio.wait_all_tasks_blocked()
        assert [step for step, _ in done] == list(range(5))

    assert {at for _, at in done} == {0.0}


async def test_stands_still_while_a_worker_thread_runs() -> None:
    """A call in a worker thread takes no virtual time, even if timers are pending."""
    at = {}

    async def sleeper() -> None:
        await anyio.sleep(3600)
        at["timer"] = anyio.current_time()

    async def caller() -> None:
        for _ in range(3):
            await to_thread.run_sync(time.sleep, 0.02)
        at["thread"] = anyio.current_time()

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        group.start_soon(caller)

    assert at == {"thread": 0, "timer": 3600}


async def test_a_worker_thread_can_wait_for_a_timer(impatient: None) -> None:
    """A thread that waits for virtual time itself holds the clock only for a while."""

    def wait_in_loop() -> float:
        from_thread.run(anyio.sleep, 3600)
        return from_thread.run_sync(anyio.current_time)

    assert await to_thread.run_sync(wait_in_loop) == 3600


async def test_waits_for_a_worker_thread_when_no_timer_is_left(impatient: None) -> None:
    """A call in a worker thread is no deadlock, however long it takes."""

    def call() -> str:
        time.sleep(0.5)
        return "done"

    assert await to_thread.run_sync(call) == "done"
    assert anyio.current_time() == 0


async def test_waits_for_a_thread_of_its_own() -> None:
    """A thread that hostkit knows nothing of may wake a task, so nobody calls that a deadlock."""
    event = anyio.Event()
    token = current_token()

    def wake(token: EventLoopToken) -> None:
        time.sleep(0.05)
        from_thread.run_sync(event.set, token=token)

    thread = threading.Thread(target=wake, args=(token,))
    thread.start()
    await event.wait()
    thread.join()

    assert anyio.current_time() == 0


async def test_waits_for_the_outside_world(impatient: None) -> None:
    """A child process is waited for in real time, however long it takes."""
    finished = await anyio.run_process(["sh", "-c", "sleep 0.5; echo done"])

    assert finished.stdout == b"done\n"
    assert anyio.current_time() == 0


async def wait_for_nothing() -> None:
    """Wait for what never comes."""
    await anyio.Event().wait()


def deadlock_of(backend: str) -> DeadlockError:
    """Run into a deadlock outside pytest, and return the error."""
    name, options = virtual_time(backend)
    if name == "asyncio":
        with pytest.raises(DeadlockError) as caught:
            anyio.run(wait_for_nothing, backend=name, backend_options=options)
        return caught.value
    import trio

    with pytest.raises(trio.TrioInternalError) as broken:
        anyio.run(wait_for_nothing, backend=name, backend_options=options)
    cause: BaseException | None = broken.value.__cause__
    while isinstance(cause, BaseExceptionGroup):
        (cause,) = cause.exceptions
    assert isinstance(cause, DeadlockError)
    return cause


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
def test_a_deadlock_is_an_error(backend: str) -> None:
    """When every task waits and nothing can wake one, the run ends with the tasks and their lines."""
    error = deadlock_of(backend)

    assert isinstance(error, HostkitError)
    assert len(error.waiting) == 1
    assert "test_testing_virtual_time.py:" in error.waiting[0]
    assert error.waiting[0].endswith("in wait_for_nothing")
    assert error.waiting[0] in str(error)


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
def test_a_deadlock_with_a_silent_thread_is_an_error_after_a_while(backend: str, impatient: None) -> None:
    """A thread that does not wake anybody only delays the error."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, daemon=True)

    async def main() -> None:
        thread.start()
        await wait_for_nothing()

    name, options = virtual_time(backend)
    with pytest.raises(Exception, match=r"every task waits|internal error") as caught:
        anyio.run(main, backend=name, backend_options=options)
    release.set()
    thread.join()

    assert caught.type.__name__ in {"DeadlockError", "TrioInternalError"}


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.needs("trio"))])
def test_runs_in_a_thread(backend: str) -> None:
    """An event loop outside the main thread may get its work from there."""
    name, options = virtual_time(backend)

    with from_thread.start_blocking_portal(name, options) as portal:
        portal.call(anyio.sleep, 3600)
        assert portal.call(anyio.current_time) == 3600


def test_a_thread_may_have_work_from_any_other() -> None:
    """Of a loop outside the main thread it is never known that nothing can wake it."""
    known = threading.enumerate()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_waiting.threads_since([*known, threading.current_thread()])))
    thread.start()
    thread.join()

    assert found == [True]
    assert not _waiting.threads_since(threading.enumerate())


def test_works_under_asyncio_itself(impatient: None) -> None:
    """`asyncio.Runner` takes the loop as well; calls in its executor hold the clock."""
    _, options = virtual_time("asyncio")

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(3600, lambda: None)
        await asyncio.to_thread(time.sleep, 0.02)
        at_thread = loop.time()
        timer.cancel()
        await asyncio.sleep(60)
        return at_thread, loop.time()

    with asyncio.Runner(loop_factory=options["loop_factory"]) as runner:  # type: ignore[arg-type]
        assert runner.run(main()) == (0, 60)


def test_refuses_other_backends() -> None:
    """The clock of uvloop cannot be moved."""
    with pytest.raises(ValueError, match="not for 'uvloop'"):
        virtual_time("uvloop")


async def test_wall_clock_goes_with_the_event_loop() -> None:
    """The wall clock shows its start when first read, and goes on with virtual time."""
    await anyio.sleep(100)
    clock = FakeWallClock(START)
    first = clock.now()
    await anyio.sleep(24 * 3600)

    assert first == START
    assert clock.now() == START + timedelta(days=1)
    assert clock.now().tzinfo is UTC


async def test_wall_clock_can_be_stepped() -> None:
    """An administrator may set the clock while timers go on undisturbed."""
    clock = FakeWallClock(START.astimezone(ZoneInfo("Europe/Berlin")))
    clock.now()
    await anyio.sleep(60)

    clock.step(timedelta(hours=1))
    clock.step(-30.5)

    assert clock.now() == START + timedelta(minutes=1, hours=1, seconds=-30.5)
    assert anyio.current_time() == 60


def test_wall_clock_stands_still_outside_an_event_loop() -> None:
    """Before it is read in an event loop the clock shows its start, and can be stepped."""
    clock = FakeWallClock(START)

    clock.step(5)

    assert clock.now() == clock.now() == START + timedelta(seconds=5)


async def test_wall_clock_is_for_threads_too() -> None:
    """Once it goes with an event loop, a thread reads the same from the clock as the loop does."""
    clock = FakeWallClock(START)
    clock.now()
    await anyio.sleep(60)

    assert await to_thread.run_sync(clock.now) == clock.now() == START + timedelta(minutes=1)


def test_wall_clock_refuses_a_naive_start() -> None:
    """A naive instant means something else in every zone."""
    with pytest.raises(ValueError, match="aware"):
        FakeWallClock(datetime(2026, 1, 1))  # noqa: DTZ001


PLUGIN_USER = """
import anyio, pytest

@pytest.fixture
def anyio_backend(virtual_time_backend):
    return virtual_time_backend

@pytest.mark.anyio
async def test_an_hour():
    await anyio.sleep(3600)
    assert anyio.current_time() == 3600

@pytest.mark.anyio
async def test_deadlock():
    await anyio.Event().wait()

@pytest.mark.anyio
async def test_ordinary_failure():
    raise OSError("no route")
"""


@pytest.mark.needs("trio")
def test_plugin_offers_virtual_time(pytester: pytest.Pytester) -> None:
    """A suite is on virtual time with one fixture, and is told of a deadlock on both backends."""
    pytester.makepyfile(PLUGIN_USER)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    result = pytester.runpytest_subprocess("-p", "no:xdist")

    result.assert_outcomes(passed=2, failed=4)
    result.stdout.fnmatch_lines(
        [
            "*_ test_deadlock[[]asyncio] _*",
            "E *DeadlockError: every task waits*",
            "*_ test_deadlock[[]trio] _*",
            "E *DeadlockError: every task waits*",
            "*_ test_ordinary_failure[[]asyncio] _*",
            "E *OSError: no route",
            "*_ test_ordinary_failure[[]trio] _*",
            "E *OSError: no route",
        ]
    )


PYTEST_ASYNCIO_USER = """
import asyncio, pytest

@pytest.mark.asyncio
async def test_real_loop():
    assert type(asyncio.get_running_loop()).__name__ != "VirtualTimeLoop"
    await asyncio.sleep(0)
"""


@pytest.mark.needs("trio")
def test_plugin_keeps_out_of_the_way_of_pytest_asyncio(pytester: pytest.Pytester) -> None:
    """Tests of other plugins do not notice that hostkit is installed."""
    pytester.makepyfile(PYTEST_ASYNCIO_USER)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    result = pytester.runpytest_subprocess("-p", "no:xdist")

    result.assert_outcomes(passed=1)


async def test_a_shielded_scope_is_on_time_too() -> None:
    """A shield keeps a cancellation out, not the clock."""
    with CancelScope(shield=True, deadline=anyio.current_time() + 10):
        await anyio.sleep_forever()

    assert anyio.current_time() == 10
