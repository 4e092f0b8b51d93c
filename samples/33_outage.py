"""A queue that waits out an outage: what has failed pauses it, and runs again when all is well.

`on_failed` hears of every job that has failed for good. Here it pauses the queue; jobs are still accepted. When the
mail server answers again, what has failed is enqueued once more, and the queue goes on.

Output:
    mail 1 sent
    mail 2 failed: the queue waits
    waiting: 1
    the server is back
    mail 3 sent
    mail 2 sent
"""

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.jobs import Job, JobQueue

down: set[str] = set()


async def send(mail: int) -> None:
    if down:
        raise ConnectionError
    print("mail", mail, "sent")


def wait_for_the_server(job: Job[object]) -> None:
    queue.pause()
    print("mail", *job.args, "failed: the queue waits")


builder = HostBuilder()
queue = builder.add_service(JobQueue(concurrency=1, on_failed=wait_for_the_server))


@builder.service
async def shop(stopping_token: StoppingToken) -> None:
    await (await queue.enqueue(send, 1)).wait()
    down.add("mail")
    await (await queue.enqueue(send, 2)).wait()
    await queue.enqueue(send, 3)
    print("waiting:", len(queue.waiting()))
    await stopping_token.sleep(seconds=0.5)
    down.clear()
    print("the server is back")
    for job in queue.failed:
        job.requeue()
    queue.resume()
    await queue.join()
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
