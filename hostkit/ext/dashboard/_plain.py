"""The state of a host as plain text: for a browser without JavaScript, and for a terminal."""

from collections.abc import Sequence

from hostkit.ext.dashboard._snapshot import JSON
from hostkit.ext.dashboard._text import printable

WIDEST = 60


def plain_status(status: JSON) -> str:
    """Return a snapshot as lines."""
    host = status["host"]
    words = [host["state"], "ready" if host["ready"] else "not ready", "healthy" if host["healthy"] else "unhealthy"]
    lines = [f"{printable(host['application_name'])} ({printable(host['environment'])}): {', '.join(words)}"]
    lines += [f"as of {status['at']}; hostkit {status['hostkit']}, process {status['pid']}"]
    if host["stop_reason"] is not None:
        lines.append(f"{host['state']}: {printable(host['stop_reason'])}")
    lines += [f"waiting for {printable(name)}" for name in host["waiting_for"]]
    lines += ["", "All is well" if not status["problems"] else f"Problems: {status['totals']['problems']}"]
    lines += [
        printable(f"[{each['level']}] {each['name']} {each['text']} {each['why'] or ''}") for each in status["problems"]
    ]
    lines += _table("SERVICE  STATE  RESTARTS  AT", [_service(each) for each in status["services"]])
    lines += _table("SCHEDULE  RULE  NEXT RUN  LAST RUN", [_schedule(each) for each in status["schedules"]])
    heads = "QUEUE  WAITING  DELAYED  RETRYING  RUNNING  DONE  FAILED  LOST"
    lines += _table(heads, [_queue(each) for each in status["queues"]])
    states = sorted({state for each in status["durable"] for state in each["counts"]})
    rows = [[each["service"], *(str(each["counts"].get(state, 0)) for state in states)] for each in status["durable"]]
    lines += _table("  ".join(["DURABLE", *map(str.upper, states)]), rows)
    return "\n".join(lines) + "\n"


def _service(service: JSON) -> list[str]:
    state = "stalled" if service["stalled"] else service["state"]
    return [service["name"], state, str(service["restarts"]), service["waiting_at"] or "-"]


def _schedule(job: JSON) -> list[str]:
    upcoming = "paused" if job["paused"] else "running" if job["running"] else job["next_run"] or "-"
    last = job["last"]
    return [job["name"], job["rule"], upcoming, "-" if last is None else f"{last['outcome']} {last['planned']}"]


def _queue(queue: JSON) -> list[str]:
    states = ("waiting", "delayed", "retrying", "running", "succeeded", "failed", "lost")
    return [queue["name"], *(str(queue["counts"].get(state, 0)) for state in states)]


def _table(heads: str, rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    table = [heads.split("  "), *([printable(cell)[:WIDEST] for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)]
