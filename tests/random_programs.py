"""Run random programs as child processes: ``python tests/random_programs.py [--programs 300] [--seed N]``.

Services that sleep, ignore, shield, block, fail, exit and restart, queues and schedulers, on every event loop, with
signals once, twice and after the end. Whatever they do, the exit code is the one that the log stands for, the end comes
in time, each failure is in the log once, no traceback ends in hostkit's own code, and no process is left.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import hostkit

# The budgets of each program, and how much longer a busy machine may need.
SHUTDOWN, CANCELLATION, SLACK = 0.6, 0.6, 20.0
LONGEST = 3.0
"""Seconds after which a program stops itself where no signal comes."""
PACKAGE = str(Path(hostkit.__file__).parent) + os.sep

HEAD = """
import atexit, os, time
from datetime import timedelta
import anyio
from anyio import to_thread
from hostkit import *
from hostkit.jobs import JobQueue, Retry
from hostkit.scheduling import Every, Scheduler

numbers = iter(range(1_000_000))
def fail(name):
    raise OSError(f"failure of {{name}}, {{next(numbers)}} of its kind.")

builder = HostBuilder(HostOptions(
    application_name="app", backend={backend!r}, log_format="json", log_level={level!r}, shutdown_timeout={shutdown},
    cancellation_timeout={cancellation}, stop_delay={delay}, lag_warning={lag},
))
"""

# By what they do; each is a function `work`, and gets a name and options of its own.
BODIES = {
    "waits": "    await stopping_token.wait()",
    "ticks": "    async for _ in stopping_token.every(seconds=0.05):\n        await anyio.sleep(0.01)",
    "drains": "    await stopping_token.wait()\n    await anyio.sleep({short})",
    "ignores": "    await anyio.sleep(600)",
    "swallows": (
        "    while True:\n        try:\n            await anyio.sleep(600)\n"
        "        except anyio.get_cancelled_exc_class():\n            await anyio.sleep(0)\n            return"
    ),
    "shields": "    with anyio.CancelScope(shield=True):\n        await anyio.sleep(600)",
    "fails": "    await stopping_token.sleep({short})\n    fail({name!r})",
    "fails at the stop": "    await stopping_token.wait()\n    fail({name!r})",
    "returns": "    await stopping_token.sleep({short})",
    "exits": "    await stopping_token.sleep({short})\n    raise SystemExit({code})",
    "asks": "    await stopping_token.sleep({short})\n    builder.lifetime.request_stop('asked', exit_code={code})",
    "blocks": "    await stopping_token.sleep({short})\n    time.sleep({short})\n    await stopping_token.wait()",
    "restarts others": (
        "    names = list(builder.host.services)[:-1]\n"
        "    while not await stopping_token.sleep({short} / 4):\n        try:\n"
        "            await builder.host.restart(names[next(numbers) % len(names)])\n"
        "        except HostStateError:\n            pass"
    ),
    "works in a thread": "    await to_thread.run_sync(time.sleep, {short})\n    await stopping_token.wait()",
    "groups": (
        "    async with anyio.create_task_group() as group:\n"
        "        group.start_soon(stopping_token.sleep, 600)\n        group.start_soon(stopping_token.wait)"
    ),
}
OPTIONS = ["", "", "", "on_failure=EndAction.IGNORE", "on_failure=Restart(limit=2, backoff=Backoff(initial=0.05))"]
OPTIONS += ["on_return=Restart(limit=None, backoff=Backoff(initial=0.1))", "stop_timeout=0.2", "heartbeat_timeout=0.5"]
QUEUE = """
queue = builder.add_service(JobQueue(concurrency=2, retry=Retry(attempts=2, backoff=Backoff(initial=0.05))))
async def job(kind):
    await anyio.sleep({short})
    if kind % 3 == 0:
        raise ValueError("a job")
for kind in range({count}):
    queue.enqueue_nowait(job, kind)
"""
SCHEDULER = """
scheduler = builder.add_service(Scheduler())
def tick():
    if {fails}:
        raise ValueError("a run")
scheduler.add(tick, Every(seconds=0.05))
"""
TAIL = """
@builder.service
async def last(stopping_token):
    os.write(1, b"started\\n")
    if await stopping_token.sleep({longest}):
        return
    builder.lifetime.request_stop("over")

@atexit.register
def at_exit():
    os.write(1, b"ended\\n")
    time.sleep({rest})

os.write(1, b"up\\n")
"""


def program(rng: random.Random, backend: str) -> str:
    """Return the source of a random program."""
    text = HEAD.format(
        backend=backend,
        level=rng.choice(["DEBUG", "INFO"]),
        shutdown=SHUTDOWN,
        cancellation=CANCELLATION,
        delay=rng.choice([0, 0, 0, 0.3]),
        lag=rng.choice([None, None, 0.2]),
    )
    for number in range(rng.randint(1, 5)):
        kind = rng.choice(list(BODIES))
        name = f"{kind.replace(' ', '-')}-{number}"
        short = round(rng.uniform(0, 0.8), 3)
        body = BODIES[kind].format(name=name, short=short, code=rng.randint(0, 9))
        option = rng.choice(OPTIONS)
        text += f"\n@builder.service(name={name!r}, {option})\nasync def work(stopping_token):\n{body}\n"
    if rng.random() < 0.3:  # some
        text += QUEUE.format(short=round(rng.uniform(0, 0.4), 3), count=rng.randint(1, 10))
    if rng.random() < 0.3:  # some
        text += SCHEDULER.format(fails=rng.random() < 0.5)  # half of them
    return text + TAIL.format(longest=LONGEST, rest=rng.choice([0, 0, 0.3]))


class Plan:
    """When which signals are sent to a program."""

    def __init__(self, rng: random.Random) -> None:
        """Take one of the plans at random: at most two that count."""
        self.first = rng.choice([None, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        self.word = rng.choice(["up", "started", "started", "started"])
        self.delay = round(rng.uniform(0, 1), 3)
        self.gap = None if self.first is None else rng.choice([None, None, 0.005, 0.005, 0.7])
        self.late = rng.choice([None, None, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        if self.gap == 0.7:  # a second that counts: a third would leave
            self.late = None

    def __repr__(self) -> str:
        """Show it."""
        return repr(vars(self))

    def follow(self, process: subprocess.Popen[bytes], words: "Words") -> None:
        """Send the signals to *process*, which says *words*."""
        with_process = process.send_signal
        if self.first is not None and words.wait(self.word):
            words.ended.wait(self.delay)
            with_process(self.first)
            if self.gap is not None:
                words.ended.wait(self.gap)
                with_process(self.first)
        if self.late is not None and words.wait("ended"):
            with_process(self.late)


class Words:
    """What a program has written to standard output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Read what *process* writes."""
        self.ended = threading.Event()
        self._said: set[str] = set()
        self._news = threading.Condition()
        self._stream = process.stdout
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, word: str) -> bool:
        """Wait for a word; return False if the program has ended without."""
        with self._news:
            self._news.wait_for(lambda: word in self._said or self.ended.is_set(), SLACK)
            return word in self._said

    def _read(self) -> None:
        for line in self._stream or ():
            with self._news:
                self._said.add(line.decode().strip())
                self._news.notify_all()
        with self._news:
            self.ended.set()
            self._news.notify_all()


def run(number: int, chosen: int, backends: Sequence[str]) -> tuple[int | None, list[str]]:
    """Run a program, and return its exit code and what is wrong with how it has ended."""
    rng = random.Random(f"{chosen} {number}")  # noqa: S311  # to be said again
    source = program(rng, backends[number % len(backends)])
    plan = Plan(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(source, encoding="utf-8")
        errors = Path(folder) / "errors"
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "hostkit", "run", path],
                stdout=subprocess.PIPE,
                stderr=stream,
                cwd=folder,
                start_new_session=True,
            )
            words = Words(process)
            following = threading.Thread(target=plan.follow, args=(process, words), daemon=True)
            following.start()
            began = time.monotonic()
            try:
                code = process.wait(LONGEST + 2 + SHUTDOWN + CANCELLATION + SLACK)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        took = time.monotonic() - began
        following.join(SLACK)
        assert process.stdout is not None
        process.stdout.close()
        text = errors.read_text(encoding="utf-8", errors="replace")
    found = list(problems(code, text, plan, process.pid))
    lines = [f"program {number}, {took:.1f} s, {plan}: {problem}" for problem in found]
    return code, [*lines, source, text[-3000:]] if found else []


def problems(code: int | None, text: str, plan: Plan, group: int) -> Iterator[str]:
    """Yield what is wrong with the end of a program."""
    if code is None:
        yield "it hangs"
        return
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    raw = "\n".join(line for line in text.splitlines() if not line.startswith("{"))
    wanted = expected(lines, raw)
    if code not in wanted and not (plan.word == "up" and code == -(plan.first or 0)):
        yield f"exit code {code}, expected {wanted}"
    exceptions = [line["exception"] for line in lines if "exception" in line]
    for trace in [*exceptions, *re.findall(r"Traceback \(most recent call last\):\n(?:.*\n?)*?(?=\S|\Z)", raw)]:
        frames = re.findall(r'File "([^"]+)", line', trace)
        if frames and frames[-1].startswith(PACKAGE):
            yield f"a traceback that ends in hostkit: {trace[-300:]}"
    failures = re.findall(r"failure of [^,]+, \d+ of its kind\.", "\n".join(exceptions))
    twice = {failure for failure in failures if failures.count(failure) > 1}
    if twice:
        yield f"more than once in the log: {twice}"
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return
    yield "a process is left"


def expected(lines: Sequence[dict[str, object]], raw: str) -> set[int]:
    """Return the exit codes that the log stands for, by the rule of the README."""
    messages = [str(line["message"]) for line in lines]
    left = re.findall(r"leaving the process with exit code (\d)", "\n".join([*messages, raw]))
    if left:
        return {int(left[-1])}
    told = re.findall(r"stopped in [\d.]+ s, exit code (\d+)", "\n".join(messages))
    forced = any("cancelled:" in message or "the host failed" in message for message in messages)
    failed = any(line["level"] == "ERROR" and re.search(r"^service \S+ failed", str(line["message"])) for line in lines)
    asked = {int(found) for found in told}
    if not told:
        return {0, 1, 130, -signal.SIGINT}
    if forced and asked <= {0}:
        return {1}
    # A failure that is ignored, or the end of a Restart that ignores it, is an error in the log, and no exit code.
    return asked if not failed or asked != {0} else {0}


def main() -> None:
    """Run as many programs as the arguments say, two at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311  # to be said again
    parser.add_argument("--only", type=int, metavar="N", help="run this program of the seed alone")
    arguments = parser.parse_args()
    backends = ["asyncio", *(name for name in ("trio", "uvloop") if find_spec(name))]
    sys.stdout.write(f"seed {arguments.seed}\n")
    numbers = range(arguments.programs) if arguments.only is None else [arguments.only]
    wrong = 0
    codes: Counter[int | None] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for code, found in pool.map(lambda number: run(number, arguments.seed, backends), numbers):
            codes[code] += 1
            wrong += bool(found)
            sys.stdout.write("".join(f"{line}\n" for line in found))
            sys.stdout.flush()
    sys.stdout.write(f"{len(numbers)} programs, {wrong} went wrong; exit codes {dict(codes)}\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
