"""A library with a blocking `run_forever()` and a `stop()`: `on_stop` is how the token reaches it.

The callback runs on the event loop, while the thread is in the library; so it must be one that may be called from
another thread, as such a `stop()` is made for.

Output:
    got message 1
    got message 2
    ^C
    library closed
"""

import threading

from hostkit import HostBuilder, ThreadService, ThreadStoppingToken
from hostkit.cli import run


class Library:
    """Stands for a client that knows no async: a message broker's, say."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def run_forever(self) -> None:
        number = 0
        while not self._stopped.wait(0.2):
            number += 1
            print("got message", number)
        print("library closed")

    def stop(self) -> None:
        self._stopped.set()


class Consumer(ThreadService):
    def execute(self, stopping_token: ThreadStoppingToken) -> None:
        library = Library()
        stopping_token.on_stop(library.stop)
        library.run_forever()


builder = HostBuilder()
builder.add_service(Consumer())
host = builder.build()

if __name__ == "__main__":
    run(host)
