"""The rota of every second week, and the accounts of every quarter.

`interval=` counts days, weeks (Monday to Sunday) or months, from the one of the date `starting=`; there is no run
before that date. So every process counts alike, whenever it was started.

Output:
    every 2nd week on Monday at 09:00 Europe/Berlin, starting 2026-01-05
    Mon 07 December 2026 09:00
    Mon 21 December 2026 09:00
    Mon 04 January 2027 09:00
    every 3rd month on the last Friday at 17:00 Europe/Berlin, starting 2026-03-01
    Fri 25 December 2026 17:00
    Fri 26 March 2027 17:00
    Fri 25 June 2027 17:00
"""

from datetime import UTC, date, datetime

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.scheduling import Monthly, Scheduler, Weekly

ROTA = Weekly("mon", "09:00", tz="Europe/Berlin", interval=2, starting=date(2026, 1, 5))
QUARTER = Monthly("last fri", "17:00", tz="Europe/Berlin", interval=3, starting=date(2026, 3, 1))

builder = HostBuilder()
scheduler = builder.add_service(Scheduler())


@scheduler.job(ROTA)
async def rotate() -> None:
    print("the next team is on call")


@scheduler.job(QUARTER)
async def close_accounts() -> None:
    print("the quarter is closed")


@builder.service
async def calendar(stopping_token: StoppingToken) -> None:
    for schedule in (ROTA, QUARTER):
        print(schedule)
        for planned in schedule.upcoming(3, after=datetime(2026, 11, 24, 12, tzinfo=UTC)):
            print(f"{planned:%a %d %B %Y %H:%M}")
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
