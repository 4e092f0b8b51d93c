"""Which service runs in a stack of frames: found by looking, without any cost to the services."""

from types import FrameType

from hostkit._core.service_run import Run
from hostkit._core.supervisor import Supervisor
from hostkit._execution import stack as _where


def running_supervisor(frame: FrameType | None) -> Supervisor | None:
    """Return the supervisor whose service runs in this stack, or None: found by the coroutine of its run."""
    while frame is not None:
        if frame.f_code is Run.live.__code__:
            run = frame.f_locals["self"]
            assert isinstance(run, Run)
            return run._supervisor
        frame = frame.f_back
    return None


def describe_block(frame: FrameType | None) -> str:
    """Say in words what blocks the event loop, by the stack of its thread."""
    supervisor = running_supervisor(frame)
    line = _where.frame_line(frame)
    who = "the event loop is blocked" if supervisor is None else f"service {supervisor.name!r} blocks the event loop"
    return who + (f" at {line}" if line else "")
