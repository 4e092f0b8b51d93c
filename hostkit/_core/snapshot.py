"""Looks at a host and its services: what they are doing, and whether they are well."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType

import anyio

from hostkit._core.lifecycle import Lifecycle
from hostkit._core.lifetime import LifetimeController
from hostkit._core.registration import Registration, overrides
from hostkit._core.service import HostedService
from hostkit._core.status import HostStatus, ServiceStatus
from hostkit._core.supervisor import Supervisor
from hostkit._values import clock
from hostkit._values.errors import HostStateError
from hostkit._values.exceptions import sees_cancellation
from hostkit._values.restart import Restart
from hostkit._values.states import HostState, ServiceState
from hostkit._values.text import repr_of, text_of, to_json_ready


def host_status(
    registrations: Iterable[Registration], lifetime: LifetimeController, lifecycle: Lifecycle | None, *, lines: bool
) -> HostStatus:
    """Return what a host is doing, and those of its services; *lifecycle* is its current or last one."""
    look = Look(lifecycle, lines=lines)
    now = look.now
    shutdown = lifecycle.shutdown if lifecycle is not None and lifetime.state is HostState.STOPPING else None
    return HostStatus(
        application_name=lifetime.options.application_name,
        environment=lifetime.options.environment,
        at=look.wall.isoformat(timespec="milliseconds"),
        loop_time=None if lifecycle is None else now,
        started_at=None if lifecycle is None else look.instant(lifecycle.began_at),
        state=lifetime.state,
        since=None if lifecycle is None else look.instant(lifetime.state_since),
        ready=lifecycle is not None and lifecycle.ready,
        healthy=lifecycle is None or lifecycle.healthy,
        stop_reason=lifetime.stop_reason,
        exit_code=lifetime.exit_code,
        seconds_to_stop=max(0.0, lifetime.stop_due - now) if lifetime.delaying_stop else None,
        waiting_for=() if shutdown is None else tuple(each.name for each in shutdown.waiting_for()),
        seconds_to_cancel=None if shutdown is None else max(0.0, shutdown.cancel_at - now),
        seconds_to_abandon=None if shutdown is None else max(0.0, shutdown.leave_at - now),
        services=tuple(map(look.at, registrations)),
    )


class Look:
    """One reading of both clocks, and the services at that instant.

    Attributes:
        wall: The instant on the wall clock.
        now: The same on the event loop's; 0 before the first start.
    """

    def __init__(self, lifecycle: Lifecycle | None, *, lines: bool) -> None:
        """Read the clocks."""
        self.wall = clock.now()
        self.now = 0.0 if lifecycle is None else lifecycle.loop.time()
        self._lines = lines
        self._supervisors: Mapping[str, Supervisor] = {} if lifecycle is None else lifecycle.supervisors

    def instant(self, at: float | None) -> str | None:
        """Return an instant of the loop's clock as the wall clock has it."""
        if at is None:
            return None
        try:
            return (self.wall + timedelta(seconds=at - self.now)).isoformat(timespec="milliseconds")
        except OverflowError:  # beyond the calendar
            return None

    def at(self, registration: Registration) -> ServiceStatus:
        """Return what a service is doing."""
        supervisor = self._supervisors.get(registration.name)
        if supervisor is not None and supervisor.state is ServiceState.CREATED:
            supervisor = None
        restart_at = None
        if supervisor is not None and supervisor.state is ServiceState.RESTARTING:
            restart_at = supervisor.restart_at
        policy, run = registration.on_failure, None if supervisor is None else supervisor.run
        failure = None if supervisor is None else supervisor.last_failure
        return ServiceStatus(
            name=registration.name,
            kind=registration.kind,
            step=registration.step,
            state=ServiceState.CREATED if supervisor is None else supervisor.state,
            since=None if supervisor is None else self.instant(supervisor.state_since),
            restarts=0 if supervisor is None else supervisor.restarts,
            restart_at=self.instant(restart_at),
            restart_limit=policy.limit if isinstance(policy, Restart) else None,
            failures_in_a_row=0 if supervisor is None else supervisor.failures_in_a_row,
            last_failure=None if failure is None else text_of(failure),
            last_failure_at=None if supervisor is None else self.instant(supervisor.last_failure_at),
            heartbeat_timeout=registration.heartbeat_timeout,
            silent_for=None if run is None or not run.is_watched else max(0.0, self.now - run.active_at),
            stalled=supervisor is not None and supervisor.stalled,
            waiting_at=None if supervisor is None or not self._lines else supervisor.run.waiting_at(),
            details=_details(registration.service),
        )


async def check_all(
    names: Iterable[str], lifecycle: Lifecycle | None, seconds: float
) -> Mapping[str, Exception | None]:
    """Return what is wrong with each service: it is not running, or its ``check()`` raises or takes too long."""
    answers: dict[str, Exception | None] = {
        name: HostStateError(f"service {name!r} has not been started") for name in names
    }

    async def ask(name: str, service: HostedService) -> None:
        try:
            with anyio.fail_after(seconds, reason=f"check() of service {name!r} took longer than {seconds:g} s"):
                await service.check()
        except Exception as error:  # noqa: BLE001  # the answer
            answers[name] = error
        except BaseException as error:
            if sees_cancellation():
                raise  # the caller is cancelled, not what the check awaits
            answers[name] = problem = HostStateError(f"check() of service {name!r} raised {repr_of(error)}")
            problem.__cause__ = error

    async with anyio.create_task_group() as group:
        for supervisor in () if lifecycle is None else lifecycle.supervisors.values():
            name, service = supervisor.name, supervisor.registration.service
            answers[name] = _problem(supervisor)
            has_check = overrides(service, "check")  # the others need no task
            if has_check and answers[name] is None and supervisor.state is not ServiceState.STOPPED:
                group.start_soon(ask, name, service)
    return MappingProxyType(answers)


def _problem(supervisor: Supervisor) -> HostStateError | None:
    """Return why a service is not running as it should, or None; one whose return was fine is well."""
    failure = supervisor.last_failure
    cause = "" if failure is None else f": {text_of(failure)}"
    words = {
        ServiceState.CREATED: "has not been started",
        ServiceState.STARTING: "is not ready yet",
        ServiceState.RESTARTING: f"has ended and is to be restarted{cause}",
        ServiceState.FAILED: f"has failed{cause}",
        ServiceState.ABANDONED: f"was abandoned{cause}",
    }.get(supervisor.state)
    if words is None and supervisor.stalled:
        words = f"is stalled: silent for {supervisor.group.time() - supervisor.run.active_at:.1f} s"
    if words is None:
        return None
    problem = HostStateError(f"service {supervisor.name!r} {words}")
    problem.__cause__ = failure
    return problem


def _details(service: HostedService) -> dict[str, object]:
    if not overrides(service, "details"):
        return {}
    try:
        details = to_json_ready(service.details())
    except Exception as error:  # noqa: BLE001  # the user's: no reason to be without a status
        return {"error": text_of(error)}
    return details if isinstance(details, dict) else {"error": f"details() must return a mapping, got {details!r}"}
