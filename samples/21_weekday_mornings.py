"""The desk opens on weekday mornings, but not on the last Friday of a month.

A schedule is a value: it can be printed, asked for its runs, and refined; nothing has to run for that. With the extra
``hostkit-py[cron]`` it could be ``Cron("0 9 * * mon-fri", tz="Europe/Berlin")`` as well.

Output:
    weekdays at 09:00 Europe/Berlin, except the last Friday of the month
    Wed 25 November 09:00
    Thu 26 November 09:00
    Mon 30 November 09:00
    Tue 01 December 09:00
"""

from datetime import UTC, datetime

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.scheduling import Monthly, Scheduler, Weekly

OPENING = Weekly("mon-fri", "09:00", tz="Europe/Berlin").excluding(Monthly("last fri", tz="Europe/Berlin"))

builder = HostBuilder()
scheduler = builder.add_service(Scheduler())


@scheduler.job(OPENING)
async def open_desk() -> None:
    print("the desk is open")


@builder.service
async def calendar(stopping_token: StoppingToken) -> None:
    print(OPENING)
    for opening in OPENING.upcoming(4, after=datetime(2026, 11, 24, 12, tzinfo=UTC)):
        print(f"{opening:%a %d %B %H:%M}")
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
