"""A service that stands for an engine which keeps jobs in a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import anyio

from hostkit import HostedService


@dataclass
class FailedJob:
    id: int
    queue: str
    task: str
    at: str | None
    attempts: int = 11
    error: str | None = "SMTPError: refused"


class Engine(HostedService):
    """Has what `hostkit.ext.dashboard` looks for in a service."""

    def __init__(self, queues: Sequence[str] | None = None) -> None:
        self.queues = queues
        self.jobs: list[FailedJob] = []
        self.error: Exception | None = None
        self.oldest: float | None = 90.4
        self.takes = 0.0
        self.asked = 0
        self.retried: list[int] = []

    def fail(self, number: int, queue: str, task: str, at: datetime | None) -> None:
        self.jobs.insert(0, FailedJob(number, queue, task, None if at is None else at.isoformat()))

    def details(self) -> Mapping[str, object]:
        return {"queues": self.queues}

    async def counts(self) -> Mapping[str, int]:
        self.asked += 1
        await anyio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return {"failed": len(self.jobs), "todo": 1}

    async def oldest_waiting_age(self) -> float | None:
        return self.oldest

    async def failed(self, limit: int) -> Sequence[FailedJob]:
        return self.jobs[:limit]

    async def retry(self, job_id: int) -> bool:
        self.retried.append(job_id)
        return await self.delete(job_id)

    async def delete(self, job_id: int) -> bool:
        found = [job for job in self.jobs if job.id == job_id]
        for job in found:
            self.jobs.remove(job)
        return bool(found)
