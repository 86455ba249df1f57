"""Counting who is in a block that several share."""

import threading
from collections.abc import Callable
from typing import final

from cl_server_shared.process.fork import renew_after_fork


@final
class Entries:
    """Counts the entries of one shared block; the last to leave closes what is shared.

    Thread-safe: who enters while another closes waits until that is done, and then is the first.
    """

    def __init__(self) -> None:
        self._count = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the lock to the parent; who was inside at the fork is inside in the child too."""
        self._lock = threading.RLock()  # what is closed may enter

    def enter(self) -> None:
        """Count an entry."""
        with self._lock:
            self._count += 1

    def leave(self, close: Callable[[], object]) -> None:
        """Count an exit, and call *close* if it was the last."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                close()
