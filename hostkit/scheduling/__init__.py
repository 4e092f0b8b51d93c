"""Recurring work: schedules say when, a scheduler runs what is due."""

from hostkit.scheduling._calendar import Daily, Monthly, Weekly
from hostkit.scheduling._cron import Cron
from hostkit.scheduling._every import Every
from hostkit.scheduling._job import Outcome, Run, ScheduledJob
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._schedule import Schedule
from hostkit.scheduling._scheduler import Scheduler

__all__ = [
    "Cron",
    "Daily",
    "Every",
    "Missed",
    "Monthly",
    "Outcome",
    "Overlap",
    "Run",
    "Schedule",
    "ScheduledJob",
    "Scheduler",
    "Weekly",
]
