"""Some services that wait for the stop, in a host."""

import os

from hostkit import BackgroundService, HostBuilder, StoppingToken


class Waiting(BackgroundService):
    """A service that waits."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        await stopping_token.wait()


builder = HostBuilder()
for _ in range(int(os.environ["BENCHMARK_SERVICES"])):
    builder.add_service(Waiting())
host = builder.build()

if __name__ == "__main__":
    host.run()
