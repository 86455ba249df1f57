"""Wait for a condition instead of a time."""

from typing import Final

from cl_server_shared.testing.waiting import wait_until

__all__ = ["BUSY_SECONDS", "wait_until"]

BUSY_SECONDS: Final = 3.0
"""What a busy machine may add to a promised time; what waits without a bound waits for longer."""
