"""What tests of services need: time that does not pass by itself, tokens to set by hand, a recorder of events."""

from hostkit.testing._manual_token import ManualStoppingToken, ManualThreadStoppingToken
from hostkit.testing._recorder import Recorder
from hostkit.testing._virtual_time import virtual_time
from hostkit.testing._waiting import DeadlockError
from hostkit.testing._wall_clock import FakeWallClock

__all__ = [
    "DeadlockError",
    "FakeWallClock",
    "ManualStoppingToken",
    "ManualThreadStoppingToken",
    "Recorder",
    "virtual_time",
]
