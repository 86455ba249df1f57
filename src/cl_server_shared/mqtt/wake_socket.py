"""A pair of sockets by which one thread wakes the selector of another."""

import socket
import threading
from contextlib import suppress
from typing import Final, final


@final
class WakeSocket:
    """Becomes readable when it is rung.

    Raises:
        OSError: too many files are open.
    """

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.settimeout(0)
        self._far.settimeout(0)
        # Else `ring` could write to a file that was opened with the number of the closed socket.
        self._lock: Final = threading.RLock()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._far.fileno()

    def ring(self) -> None:
        """Make it readable, from any thread; nothing once it is closed."""
        with self._lock, suppress(OSError):  # full: it is readable already
            self._near.send(b"\0")

    def clear(self) -> None:
        """Make it unreadable, until it is rung again."""
        with suppress(BlockingIOError):
            self._far.recv(4096)

    def close(self) -> None:
        """Close it; harmless when repeated."""
        with self._lock:
            self._near.close()
            self._far.close()
