"""Hosted services for Python: started in order, kept running, and stopped cleanly."""

from hostkit._backoff import Backoff
from hostkit._builder import HostBuilder
from hostkit._errors import (
    HostFailedError,
    HostkitError,
    HostStateError,
    LoadError,
    RestartLimitError,
    ServiceCancelledError,
    ServiceStuckError,
    StartupTimeoutError,
    StopTimeoutError,
)
from hostkit._host import Host
from hostkit._lifetime import HostLifetime
from hostkit._options import HostOptions
from hostkit._restart import EndAction, Restart
from hostkit._service import BackgroundService, HostedService, ThreadService
from hostkit._status import HostState, ServiceState
from hostkit._stopping import StoppingToken
from hostkit._thread_stopping import ThreadStoppingToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostkit._host_status import HostStatus, ServiceStatus
    from hostkit._host_thread import HostThread
    from hostkit._settings import HostSettings

__all__ = [
    "BackgroundService",
    "Backoff",
    "EndAction",
    "Host",
    "HostBuilder",
    "HostFailedError",
    "HostLifetime",
    "HostOptions",
    "HostSettings",
    "HostState",
    "HostStateError",
    "HostStatus",
    "HostThread",
    "HostedService",
    "HostkitError",
    "LoadError",
    "Restart",
    "RestartLimitError",
    "ServiceCancelledError",
    "ServiceState",
    "ServiceStatus",
    "ServiceStuckError",
    "StartupTimeoutError",
    "StopTimeoutError",
    "StoppingToken",
    "ThreadService",
    "ThreadStoppingToken",
]


def __getattr__(name: str) -> object:
    # pydantic takes several times as long to import as everything else together.
    if name == "HostSettings":
        from hostkit._settings import HostSettings

        return HostSettings
    # Few need it, and most of what owns a process would come with it.
    if name == "HostThread":
        from hostkit._host_thread import HostThread

        return HostThread
    if name in ("HostStatus", "ServiceStatus"):
        from hostkit import _host_status

        return getattr(_host_status, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
