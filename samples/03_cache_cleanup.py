"""A cache that forgets in the background while other services use it.

The cache is an ordinary object with one loop of its own; who needs it gets it as an argument.

Output:
    got 42
    evicted answer
    got None
    ^C
"""

from anyio import current_time

from hostkit import BackgroundService, HostBuilder, StoppingToken
from hostkit.cli import run


class Cache(BackgroundService):
    def __init__(self, keep_for: float) -> None:
        self.keep_for = keep_for
        self.entries: dict[str, tuple[float, int]] = {}

    def put(self, key: str, value: int) -> None:
        self.entries[key] = (current_time() + self.keep_for, value)

    def get(self, key: str) -> int | None:
        expires, value = self.entries.get(key, (0.0, 0))
        return value if current_time() < expires else None

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(seconds=0.1):
            for key in [key for key, (expires, _) in self.entries.items() if expires <= current_time()]:
                del self.entries[key]
                print("evicted", key)


class Reader(BackgroundService):
    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.cache.put("answer", 42)
        async for _ in stopping_token.every(seconds=1):
            print("got", self.cache.get("answer"))


builder = HostBuilder()
cache = builder.add_service(Cache(keep_for=0.5))
builder.add_service(Reader(cache))
host = builder.build()

if __name__ == "__main__":
    run(host)
