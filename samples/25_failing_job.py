"""What to do about a job that fails: hear of it, and pause it when it fails too often.

``on_failed`` is called with each run that has failed, after its record is complete. Jobs may be steered from anywhere,
also from a thread: here a sync job resumes the one that was paused.

Output:
    fetch-rates has failed: ConnectionError('no route')
    fetch-rates has failed: ConnectionError('no route')
    fetch-rates has failed: ConnectionError('no route')
    paused after 3 failures
    job fetch-rates skipped: paused
    fetched
"""

from hostkit import HostBuilder, cli
from hostkit.scheduling import Every, Outcome, Run, Scheduler

TOO_OFTEN = 3


def pause_when_it_fails_too_often(run: Run) -> None:
    job = run.scheduled_job
    print(f"{job.name} has failed: {run.error!r}")
    if job.counts[Outcome.FAILED] == TOO_OFTEN:
        job.pause()
        print(f"paused after {TOO_OFTEN} failures")


builder = HostBuilder()
scheduler = builder.add_service(Scheduler(on_failed=pause_when_it_fails_too_often))


@scheduler.job(Every(seconds=0.2))
async def fetch_rates() -> None:
    if scheduler.jobs["fetch-rates"].counts[Outcome.FAILED] < TOO_OFTEN:
        message = "no route"
        raise ConnectionError(message)
    print("fetched")


@scheduler.job(Every(seconds=1.1))
def resume_rates() -> None:
    job = scheduler.jobs["fetch-rates"]
    if job.paused:
        job.resume()


host = builder.build()

if __name__ == "__main__":
    cli.run(host)
