"""All async tests of this folder run on virtual time, on asyncio and, where it is installed, on trio."""

import pytest


@pytest.fixture
def anyio_backend(virtual_time_backend: tuple[str, dict[str, object]]) -> tuple[str, dict[str, object]]:
    """What pytest's plugin of anyio runs the tests with."""
    return virtual_time_backend
