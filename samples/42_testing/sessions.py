"""A service that is worth a test: once an hour it ends the sessions that nobody has used for a day."""

from anyio import current_time

from hostkit import BackgroundService, HostBuilder, Restart, StoppingToken

DAY = 24 * 3600


class SessionCleanup(BackgroundService):
    """Ends old sessions; what it has to work with, it is given."""

    def __init__(self, last_used: dict[str, float]) -> None:
        self.last_used = last_used
        self.ended: list[tuple[float, str]] = []

    async def execute(self, stopping_token: StoppingToken) -> None:
        async for _ in stopping_token.every(hours=1):
            now = current_time()
            for session in [session for session, used in self.last_used.items() if now - used >= DAY]:
                del self.last_used[session]
                self.ended.append((now, session))


def build(last_used: dict[str, float]) -> HostBuilder:
    """Put the app together; a test does it as the program does."""
    builder = HostBuilder()
    builder.add_service(SessionCleanup(last_used), on_failure=Restart())
    return builder
