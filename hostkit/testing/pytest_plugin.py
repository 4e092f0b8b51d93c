"""The pytest plugin: virtual time for anyio's tests. Installing hostkit is enough; it does nothing until it is asked.

A ``conftest.py`` that puts all async tests on virtual time, on both backends:

.. code-block:: python

    @pytest.fixture
    def anyio_backend(virtual_time_backend):
        return virtual_time_backend

Fixtures: ``virtual_time_backend``, ``manual_stopping_token``, ``recorder``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from hostkit.testing._manual_token import ManualStoppingToken
from hostkit.testing._recorder import Recorder
from hostkit.testing._virtual_time import virtual_time
from hostkit.testing._waiting import DeadlockError

if TYPE_CHECKING:
    from collections.abc import Generator

BACKENDS = ["asyncio", "trio"] if find_spec("trio") else ["asyncio"]


@pytest.fixture(params=BACKENDS)
def virtual_time_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """A value for ``anyio_backend``: virtual time, on asyncio and, where it is installed, on trio."""
    return virtual_time(request.param)


@pytest.fixture
def manual_stopping_token() -> ManualStoppingToken:
    """A stopping token that the test sets, with ``request_stop()``."""
    return ManualStoppingToken()


@pytest.fixture
def recorder() -> Recorder:
    """A listener for ``builder.on_event(recorder)`` that keeps the events."""
    return Recorder()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Report the deadlock where trio shows only the cancellation that came of it."""
    try:
        return (yield)
    except BaseException as error:
        deadlock = _deadlock(pyfuncitem.funcargs.get("anyio_backend"))
        if deadlock is None:
            raise
        raise deadlock from error


def _deadlock(backend: object) -> DeadlockError | None:
    match backend:
        case ("trio", {"instruments": [watcher, *_]}):
            deadlock = getattr(watcher, "deadlock", None)
            return deadlock if isinstance(deadlock, DeadlockError) else None
    return None
