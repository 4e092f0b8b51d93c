"""What ``hostkit show`` prints: a host's services and their policies, without starting anything."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from hostkit import Host, Restart
from hostkit._registration import Policy, Registration
from hostkit._snapshot import table

COLUMNS = ("step", "service", "kind", "on failure", "on return", "stop timeout", "heartbeat")


def overview(host: Host) -> str:
    """Return the services as a table, in start order; what stands in one step starts and stops together."""
    options = host.options
    rows = [COLUMNS]
    rows += [
        (
            str(step),
            registration.name,
            registration.kind,
            _words(registration.on_failure),
            _words(registration.on_return),
            _seconds(registration.stop_timeout),
            _seconds(registration.heartbeat_timeout),
        )
        for step, registration in _registrations(host)
    ]
    start = "no limit" if options.startup_timeout is None else f"{options.startup_timeout:g} s"
    head = (
        f"{options.application_name} ({options.environment}): start within {start}, "
        f"stop within {options.shutdown_timeout:g} s, then {options.cancellation_timeout:g} s after cancellation\n"
    )
    return head + table(rows)


def overview_json(host: Host) -> str:
    """Return the services, and the host's options, as one JSON object."""
    services = [
        {
            "step": step,
            "name": registration.name,
            "kind": registration.kind,
            "on_failure": _plain(registration.on_failure),
            "on_return": _plain(registration.on_return),
            "stop_timeout": registration.stop_timeout,
            "heartbeat_timeout": registration.heartbeat_timeout,
        }
        for step, registration in _registrations(host)
    ]
    return json.dumps({"options": asdict(host.options), "services": services}, indent=2) + "\n"


def _registrations(host: Host) -> Iterator[tuple[int, Registration]]:
    for number, step in enumerate(host._steps, 1):
        for registration in step:
            yield number, registration


def _words(policy: Policy) -> str:
    if not isinstance(policy, Restart):
        return policy.value
    limit = "without limit" if policy.limit is None else f"{policy.limit} times"
    return f"restart {limit}, then {policy.then.value}"


def _plain(policy: Policy) -> object:
    return {"restart": asdict(policy)} if isinstance(policy, Restart) else policy.value


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:g} s"
