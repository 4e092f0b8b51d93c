"""The exit code tells whoever started the process how it ended; here a service asks for the stop, and for code 4.

0: stopped as asked, and nothing failed. 1: a service failed, or had to be cancelled. 3: one ignored even that.
Any other code is one that was asked for.

Output:
    row 'two' is no number
    sum 4 of 2 rows
    report: closed
Exit code: 4
"""

from hostkit import HostBuilder, HostedService
from hostkit.cli import run

ROWS_WERE_WRONG = 4

builder = HostBuilder()


class Report(HostedService):
    async def stop(self) -> None:
        print("report: closed")


async def add_up() -> None:
    numbers = []
    for row in ("1", "two", "3"):
        if row.isdigit():
            numbers.append(int(row))
        else:
            print(f"row {row!r} is no number")
    print(f"sum {sum(numbers)} of {len(numbers)} rows")
    builder.lifetime.request_stop("all rows are read", exit_code=ROWS_WERE_WRONG)


builder.add_service(Report())
builder.add_service(add_up)
host = builder.build()

if __name__ == "__main__":
    run(host)
