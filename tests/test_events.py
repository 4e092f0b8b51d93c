"""`hostkit.events`: values that a host tells its listeners."""

import copy
import inspect

import pytest

from hostkit import events
from hostkit.events import HostEvent, HostStarted, HostStopped, ServiceEvent, ServiceFailed, ServiceStalled

FIELDS = {
    "HostStarting": ("at", "application_name", "services"),
    "HostStarted": ("at", "services", "duration"),
    "StopAnnounced": ("at", "reason", "delay"),
    "StopRequested": ("at", "reason"),
    "HostStopped": ("at", "reason", "exit_code", "duration"),
    "ServiceStarting": ("at", "service"),
    "ServiceStarted": ("at", "service", "duration"),
    "ServiceStopping": ("at", "service"),
    "ServiceStopped": ("at", "service", "duration"),
    "ServiceFailed": ("at", "service", "error", "retried"),
    "ServiceRestarting": ("at", "service", "delay", "restarts", "in_a_row", "limit"),
    "ServiceStalled": ("at", "service", "duration", "waiting_at"),
    "ServiceRecovered": ("at", "service", "duration"),
    "ServiceCancelled": ("at", "service", "reason", "waiting_at"),
    "ServiceAbandoned": ("at", "service", "waiting_at"),
    "RunFinished": ("at", "service", "job", "outcome", "planned", "started", "duration", "error"),
    "RunSkipped": ("at", "service", "job", "planned", "reason"),
    "JobFailed": ("at", "service", "job", "id", "attempts", "error"),
    "JobsLost": ("at", "service", "count"),
}


def test_every_event_has_its_fields() -> None:
    """Every event has `at`, those of a service have `service`, and what else belongs to them."""
    kinds = {name: getattr(events, name) for name in events.__all__ if name not in ("HostEvent", "ServiceEvent")}

    assert {name: kind.__match_args__ for name, kind in kinds.items()} == FIELDS
    assert {name for name, kind in kinds.items() if issubclass(kind, ServiceEvent)} == {
        name for name, names in FIELDS.items() if "service" in names
    }
    assert all(issubclass(kind, HostEvent) for kind in kinds.values())


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_documented(name: str) -> None:
    """The docstrings of an event and its bases tell every field."""
    told = "".join(inspect.getdoc(base) or "" for base in getattr(events, name).__mro__)

    assert [field for field in FIELDS[name] if f"\n    {field}: " not in told] == []


def test_fields_are_set_by_position_or_by_name() -> None:
    """An event is made like a dataclass."""
    by_position = HostStopped(1.5, "done", 0, 0.25)
    by_name = HostStopped(duration=0.25, exit_code=0, reason="done", at=1.5)

    assert by_position == by_name == HostStopped(1.5, "done", exit_code=0, duration=0.25)
    assert (by_position.at, by_position.reason, by_position.exit_code, by_position.duration) == (1.5, "done", 0, 0.25)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1.0,), {}),
        ((1.0, 2, 3.0, 4), {}),
        ((1.0, 2), {"at": 1.0}),
        ((1.0, 2), {"wrong": 1.0}),
        ((1.0, 2, 3.0), {"duration": 3.0}),
        ((1.0,), {"services": 2, "duration": 3.0, "more": 4}),
    ],
)
def test_wants_every_field_once(args: tuple[float, ...], kwargs: dict[str, float]) -> None:
    """A field that is missing, unknown or given twice is an error."""
    with pytest.raises(TypeError, match=r"^HostStarted takes at, services, duration$"):
        HostStarted(*args, **kwargs)  # type: ignore[arg-type]


def test_events_are_frozen() -> None:
    """An event does not change."""
    event = HostStarted(1.0, 2, 3.0)

    with pytest.raises(AttributeError, match=r"^cannot set 'at': events are frozen$"):
        event.at = 2.0  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"^cannot set 'new': events are frozen$"):
        event.new = 2.0
    with pytest.raises(AttributeError, match=r"^cannot delete 'at': events are frozen$"):
        del event.at
    assert event == HostStarted(1.0, 2, 3.0)


def test_events_are_equal_by_type_and_values() -> None:
    """Events of two kinds are never equal, whatever their values."""
    event = events.ServiceStarting(1.0, "web")

    assert event == events.ServiceStarting(1.0, "web")
    assert event != events.ServiceStarting(2.0, "web")
    assert event != events.ServiceStopping(1.0, "web")
    assert event != (1.0, "web")


def test_events_can_be_collected() -> None:
    """Equal events have equal hashes; a copy is equal."""
    event = events.ServiceStarting(1.0, "web")

    assert len({event, events.ServiceStarting(1.0, "web"), events.ServiceStopping(1.0, "web")}) == 2
    assert copy.copy(event) == copy.deepcopy(event) == event
    assert hash(events.ServiceStarting(service="web", at=1.0)) == hash(event)


def test_events_show_how_they_were_made() -> None:
    """The repr of an event is its constructor call."""
    event = ServiceStalled(1.0, "web", 30.0, None)

    assert repr(event) == "ServiceStalled(at=1.0, service='web', duration=30.0, waiting_at=None)"


def test_events_can_be_matched() -> None:
    """A `match` statement takes an event apart."""
    error = OSError("no route")

    match ServiceFailed(1.0, "web", error, retried=False):
        case ServiceFailed(at, service, error=found):
            assert (at, service, found) == (1.0, "web", error)
        case _:
            pytest.fail("no match")


def test_own_events_can_be_derived() -> None:
    """A field that a class adds comes after those of its base."""

    class ServiceWarmed(ServiceEvent):
        entries: int

    assert repr(ServiceWarmed(1.0, "cache", 7)) == "ServiceWarmed(at=1.0, service='cache', entries=7)"
