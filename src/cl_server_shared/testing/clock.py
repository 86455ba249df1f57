"""A clock for tests."""

from typing import final, override

from cl_server_shared.process.clock import Clock

_NOON_MS = 1_800_000_000_000


@final
class ManualClock(Clock):
    """Stands still until it is set or advanced.

    Attributes:
        time_ms: what the clock shows, in milliseconds since the epoch (UTC); set it as you like.
    """

    def __init__(self, now_ms: int = _NOON_MS) -> None:
        self.time_ms: int = now_ms

    @override
    def now_ms(self) -> int:
        return self.time_ms

    def advance(self, seconds: float) -> None:
        """Go forward by *seconds*, or back if they are negative."""
        self.time_ms += round(seconds * 1000)
