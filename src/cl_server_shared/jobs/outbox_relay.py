"""The thread that makes sure that no state of a job goes unannounced."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, final
from weakref import WeakKeyDictionary

from cl_server_shared.database import Database
from cl_server_shared.jobs.outbox import Outbox
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import renew_after_fork
from cl_server_shared.process.log_limits import EachMinute
from cl_server_shared.protocols.events import Broadcaster

_LOG: Final = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 0.1
_INTERVAL_SECONDS: Final = 1.0
_END_SECONDS: Final = 0.25


@final
class OutboxRelay:
    """Records what was acknowledged, and publishes what others left behind.

    One daemon thread for all repositories that share this object; it starts at the first change or
    claim, and anew in a forked child. It records acknowledgements in batches, ten times a second at
    most, and polls once a second for jobs that nobody has announced. Where the system refuses the
    thread, the next change or claim tries again; nothing is lost, since the marks stay.

    Args:
        broadcaster: publishes; closing the relay closes it.
        clock: tells how long a job has been waiting to be announced.
    """

    def __init__(self, broadcaster: Broadcaster, clock: Clock) -> None:
        self._broadcaster: Final = broadcaster
        self._clock: Final = clock
        self._outboxes: Final[WeakKeyDictionary[Database, Outbox]] = WeakKeyDictionary()
        self._failing: Final = EachMinute(_LOG)
        self._thread: Final = BackgroundThread(
            "outbox", self._relay, at_end=self._record, at_exit=self.close
        )
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without what the parent's thread was about to do."""
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here
        self._closing = threading.Event()
        self._take_over_at = 0.0

    def outbox(self, database: Database) -> Outbox:
        """Return the one outbox of this database's jobs."""
        with self._lock:
            found = self._outboxes.get(database)
            if found is None:
                found = Outbox(self._broadcaster, database, self._clock, self._thread)
                self._outboxes[database] = found
            return found

    def close(self) -> None:
        """Close the broadcaster, then record what it delivered; harmless when repeated.

        What was not delivered stays marked, for the next process.
        """
        self._broadcaster.close()
        self._closing.set()
        self._thread.close(_END_SECONDS)  # it may wait for a locked database; then it ends later

    def _record(self) -> None:
        self._try_each(Outbox.record)

    def _relay(self) -> float | None:
        if self._closing.wait(_GATHER_SECONDS) or not self._outboxes:
            return None
        self._record()
        if time.monotonic() >= self._take_over_at:
            self._try_each(Outbox.take_over)
            self._take_over_at = time.monotonic() + _INTERVAL_SECONDS
        return _INTERVAL_SECONDS

    def _try_each(self, work: Callable[[Outbox], object]) -> None:
        for outbox in list(self._outboxes.values()):
            try:
                work(outbox)
            except Exception as error:  # noqa: BLE001  # whatever fails, the next try may succeed
                self._failing.warn("the outbox cannot be served now: %s; trying again", error)
                self._closing.wait(_INTERVAL_SECONDS)
