"""The system's time."""

import time
from typing import Protocol, final, override


class Clock(Protocol):
    """Tells the time; the only source of it in the library."""

    def now_ms(self) -> int:
        """Return the milliseconds since the epoch (UTC)."""
        ...


@final
class SystemClock(Clock):
    """The operating system's wall clock; services that share a database should share NTP time."""

    @override
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
