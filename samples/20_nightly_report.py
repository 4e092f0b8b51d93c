"""A report every night at three o'clock in Istanbul, and one at the start.

It is a sync function, so it runs in a thread: a large report holds up nobody. If the machine sleeps at three, one
report makes up for it in the morning.

Output:
    writing the report of ...
    the next one is due at ... 03:00:00+03:00
"""

from datetime import date

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.scheduling import Daily, Scheduler

builder = HostBuilder()
scheduler = builder.add_service(Scheduler())


@scheduler.job(Daily("03:00", tz="Europe/Istanbul"), timeout=600, run_at_start=True)
def nightly_report() -> None:
    print("writing the report of", date.today())  # noqa: DTZ011  # the machine's own day


@builder.service
async def announcer(stopping_token: StoppingToken) -> None:
    await stopping_token.sleep(0.5)
    print("the next one is due at", scheduler.jobs["nightly-report"].next_run)
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
