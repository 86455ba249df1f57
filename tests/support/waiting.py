"""Wait for a condition instead of a time."""

from cl_server_shared.testing.waiting import wait_until

__all__ = ["wait_until"]
