"""Recurring work: schedules say when."""

from hostkit.scheduling._calendar import Daily, Monthly, Weekly
from hostkit.scheduling._cron import Cron
from hostkit.scheduling._every import Every
from hostkit.scheduling._schedule import Schedule

__all__ = ["Cron", "Daily", "Every", "Monthly", "Schedule", "Weekly"]
