"""The fixtures of tests with real processes; a module of tests names this one in its ``pytest_plugins``."""

from collections.abc import Iterator

import pytest
from process_child import ForkServer


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """A fork server for all tests."""
    server = ForkServer(measured=True)
    yield server
    server.close()


@pytest.fixture(scope="session")
def fast_fork_server() -> Iterator[ForkServer]:
    """A fork server for tests that fork hundreds of times."""
    server = ForkServer(measured=False)
    yield server
    server.close()
