"""What tests of services need: time that does not pass by itself."""

from hostkit.testing._virtual_time import DeadlockError, virtual_time
from hostkit.testing._wall_clock import FakeWallClock

__all__ = ["DeadlockError", "FakeWallClock", "virtual_time"]
