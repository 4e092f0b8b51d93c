"""Hosted services for Python: started in order, kept running, and stopped cleanly."""

from hostkit._config.options import HostOptions
from hostkit._core.builder import HostBuilder
from hostkit._core.host import Host
from hostkit._core.lifetime import HostLifetime
from hostkit._core.registration import ServiceRegistration
from hostkit._core.service import BackgroundService, HostedService, ThreadService
from hostkit._tokens.stopping_token import StoppingToken
from hostkit._tokens.thread_stopping_token import ThreadStoppingToken
from hostkit._values.backoff import Backoff
from hostkit._values.errors import (
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
from hostkit._values.restart import EndAction, Restart
from hostkit._values.states import HostState, ServiceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hostkit._config.settings import HostSettings
    from hostkit._core.status import HostStatus, ServiceStatus
    from hostkit._process.host_thread import HostThread

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
    "ServiceRegistration",
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
        from hostkit._config.settings import HostSettings

        return HostSettings
    # Few need it, and most of what owns a process would come with it.
    if name == "HostThread":
        from hostkit._process.host_thread import HostThread

        return HostThread
    if name in ("HostStatus", "ServiceStatus"):
        from hostkit._core import status as _host_status

        return getattr(_host_status, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
