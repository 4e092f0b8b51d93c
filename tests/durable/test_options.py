"""What is given wrongly is refused at the line that gives it; nothing here needs a server."""

import inspect
from datetime import timedelta
from typing import Any

import procrastinate
import pytest
from procrastinate import manager, sql
from procrastinate.jobs import Job
from procrastinate.testing import InMemoryConnector

from hostkit import Backoff
from hostkit.ext.procrastinate import (
    JobsNotReturnedError,
    ProcrastinateWorker,
    _statements,
    defer,
    hand_over,
    retry_strategy,
)
from hostkit.ext.procrastinate._running import Errors
from hostkit.jobs import JobQueue, Retry, RetryAfterError

APP = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo="host=/nowhere"))


class TestProcrastinateWorker:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"stalled_after": 29}, ValueError, r"at least 3 x heartbeat_every \(30 s\), .*; got 29 s"),
            ({"heartbeat_every": 0}, ValueError, "heartbeat_every must be more than 0 seconds, and finite, got 0"),
            ({"sweep_every": float("inf")}, ValueError, "sweep_every must be more than 0 seconds, and finite, got inf"),
            ({"poll_every": "5"}, TypeError, "poll_every must be seconds"),
            ({"poll_every": True}, TypeError, "poll_every must be seconds"),
            ({"concurrency": 0}, ValueError, "concurrency must be 1 or more, got 0"),
            ({"concurrency": 1.5}, TypeError, "concurrency must be an int, got 1.5"),
            ({"crash_limit": 0}, ValueError, "crash_limit must be 1 or more, got 0"),
            ({"keep_failures": -1}, ValueError, "keep_failures must be 0 or more, got -1"),
            ({"backoff": 5}, TypeError, "backoff must be a hostkit.Backoff, got 5"),
            ({"queues": "mail"}, TypeError, "queues must be names of queues, such as .* got 'mail'"),
            ({"queues": [1]}, TypeError, "queues must be names of queues"),
            ({"queues": []}, ValueError, "queues must not be empty; None is for all queues"),
            ({"install_signal_handlers": False}, TypeError, "not for a worker inside a host: signals are the host's"),
            (
                {"shutdown_graceful_timeout": 5},
                TypeError,
                "not for a worker inside a host: the host's shutdown_timeout",
            ),
            ({"stalled_worker_timeout": 5}, TypeError, "it is called stalled_after here"),
            (
                {"listen": True},
                TypeError,
                "procrastinate's worker has no option 'listen'; it has abort_job_polling_int",
            ),
        ],
    )
    def test_refuses_what_makes_no_sense(self, options: Any, error: type[Exception], words: str) -> None:  # noqa: ANN401
        """A wrong option is an error that names it, its value, and what would be right."""
        with pytest.raises(error, match=words):
            ProcrastinateWorker(APP, **options)

    @pytest.mark.parametrize(
        ("app", "words"),
        [
            ("app", "app must be a procrastinate.App, got 'app'"),
            (procrastinate.App(connector=InMemoryConnector()), "must have a procrastinate.PsycopgConnector, has <"),
        ],
    )
    def test_refuses_another_app(self, app: Any, words: str) -> None:  # noqa: ANN401  # a wrong one
        """An app is needed, and one whose jobs are in PostgreSQL."""
        with pytest.raises(TypeError, match=words):
            ProcrastinateWorker(app)

    def test_takes_durations_of_either_kind(self) -> None:
        """Seconds or `timedelta`."""
        minute: Any = timedelta(minutes=1)

        assert (
            ProcrastinateWorker(APP, stalled_after=minute, backoff=Backoff(maximum=60)).details()["concurrency"] == 10
        )


class TestRetryStrategy:
    @staticmethod
    def delay(retry: Retry, error: BaseException, attempts: int = 0) -> float | None:
        """Return in how many seconds a job runs again, if it does."""
        job = Job(queue="default", lock=None, queueing_lock=None, task_name="task", attempts=attempts)
        decision = retry_strategy(retry).get_retry_decision(exception=error, job=job)
        if decision is None:
            return None
        assert decision.retry_at is not None
        return round((decision.retry_at - procrastinate.utils.utcnow()).total_seconds())

    def test_is_the_retry_in_the_engines_words(self) -> None:
        """Attempts, backoff, ``on``, ``not_on`` and `RetryAfterError` hold."""
        retry = Retry(attempts=3, backoff=Backoff(initial=10, factor=3, jitter=0), on=OSError, not_on=TimeoutError)

        assert self.delay(retry, OSError()) == 10
        assert self.delay(retry, OSError(), attempts=1) == 30
        assert self.delay(retry, OSError(), attempts=2) is None
        assert self.delay(retry, ValueError()) is None
        assert self.delay(retry, TimeoutError()) is None
        assert self.delay(retry, RetryAfterError(77)) == 77
        assert self.delay(retry, KeyboardInterrupt()) is None

    def test_takes_any_wait(self) -> None:
        """A wait that no calendar holds is one for ever, not an error."""
        far = self.delay(Retry(backoff=lambda _: 1e300), OSError())

        assert far is not None
        assert far > 1e11

    def test_refuses_another_retry(self) -> None:
        """Only a `Retry` can be put into the engine's words."""
        wrong: Any = 5
        with pytest.raises(TypeError, match=r"takes a hostkit\.jobs\.Retry, got 5"):
            retry_strategy(wrong)


class TestDefer:
    def test_refuses_wrong_arguments(self) -> None:
        """The task goes by its name, and the instant is not the caller's."""
        wrong: Any = print
        with pytest.raises(TypeError, match="task_name must be a str, got <built-in function print>"):
            defer(APP, wrong)
        with pytest.raises(TypeError, match="timestamp is the planned instant, and not to be given"):
            defer(APP, "reports.build", timestamp=1)


def test_hand_over_is_for_a_queue() -> None:
    """What it returns is taken as ``on_lost``."""
    assert JobQueue(on_lost=hand_over(APP)).capacity


class TestJobsNotReturnedError:
    @pytest.mark.parametrize(
        ("jobs", "words"),
        [
            (["a[1]"], "1 job could not be given back (a[1]): it runs again 60 s later"),
            (["a[1]", "b[2]"], "2 jobs could not be given back (a[1], b[2]): they run again 60 s later"),
        ],
    )
    def test_says_when_they_run_again(self, jobs: list[str], words: str) -> None:
        """It names the jobs, in good English."""
        error = JobsNotReturnedError(jobs, 60)

        assert str(error).startswith(words)
        assert error.jobs == tuple(jobs)


class TestTheEngine:
    """What is used of the engine beyond its documentation: a version without it is found here, and not in a service."""

    def test_has_the_channels_that_are_notified(self) -> None:
        """The names are those that the engine's own triggers notify."""
        schema = procrastinate.schema.SchemaManager.get_schema()

        assert _statements.ANY_QUEUE == "procrastinate_any_queue_v1"
        assert f"pg_notify('{_statements.ANY_QUEUE}', payload)" in schema
        assert f"pg_notify('{_statements.ONE_QUEUE}' || NEW.queue_name, payload)" in schema
        assert manager.get_channel_for_queues(["mail"]) == [f"{_statements.ONE_QUEUE}mail"]

    def test_has_the_functions_that_are_called(self) -> None:
        """Our statements call the functions that the engine's own do."""
        assert "procrastinate_retry_job_v2(" in sql.queries["retry_job"]
        assert "procrastinate_finish_job_v1(" in sql.queries["finish_job"]

    def test_has_the_private_names_that_are_used(self) -> None:
        """The method that is overridden, and the arguments of the pool."""
        shutdown = procrastinate.worker.Worker._shutdown

        assert inspect.iscoroutinefunction(shutdown)
        assert list(inspect.signature(shutdown).parameters) == ["self", "side_tasks"]
        assert procrastinate.PsycopgConnector(conninfo="here")._pool_args == {"conninfo": "here"}


def test_an_error_that_cannot_say_its_text_is_kept() -> None:
    """What a job raises is its failure, whatever its text does."""

    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    errors = Errors(2)
    for number, error in enumerate((ValueError("lost"), SpeechlessError(), TimeoutError())):
        job = Job(id=number, queue="default", lock=None, queueing_lock=None, task_name="task", attempts=0)
        errors.add(job, error)

    kept = [errors.of(number) for number in range(3)]
    assert kept == [None, "SpeechlessError: <exception str() failed>", "TimeoutError"]
    assert errors.last() == "TimeoutError"
