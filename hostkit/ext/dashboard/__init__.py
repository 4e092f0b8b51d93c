"""The host on a page, as JSON, for probes and for Prometheus. Needs ``hostkit-py[dashboard]``."""

from typing import TYPE_CHECKING

from hostkit.ext.dashboard._dashboard import Dashboard, dashboard_app

if TYPE_CHECKING:
    from hostkit.ext.dashboard._metrics import HostCollector

__all__ = ["Dashboard", "HostCollector", "dashboard_app"]


def __getattr__(name: str) -> object:
    # prometheus-client is imported when metrics are asked for.
    if name == "HostCollector":
        from hostkit.ext.dashboard._metrics import HostCollector

        return HostCollector
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
