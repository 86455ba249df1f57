"""The system's time."""

import time
from typing import final, override

from cl_server_shared.protocols import Clock


@final
class SystemClock(Clock):
    """The operating system's wall clock; services that share a database should share NTP time."""

    @override
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
