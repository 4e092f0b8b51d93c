"""A job that knows for which instant its run was planned.

A parameter named ``run`` is filled with the record of the run. However late a run begins, ``run.planned`` is the
instant of the plan: a report that is made up for in the morning is still that of the night. Here each run takes longer
than the interval, so the next one waits for it.

Output:
    planned for ..., began less than 0.1 s later
    planned for ..., began more than 0.1 s later
"""

from anyio import sleep

from hostkit import HostBuilder, cli
from hostkit.scheduling import Every, Overlap, Run, Scheduler

TENTH = 0.1

builder = HostBuilder()
scheduler = builder.add_service(Scheduler())


@scheduler.job(Every(seconds=0.4), overlap=Overlap.QUEUE)
async def report(run: Run) -> None:
    assert run.started is not None
    late = (run.started - run.planned).total_seconds()
    print(f"planned for {run.planned:%H:%M:%S.%f}, began {'less' if late < TENTH else 'more'} than {TENTH} s later")
    await sleep(0.7)


host = builder.build()

if __name__ == "__main__":
    cli.run(host)
