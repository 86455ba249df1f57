"""The thread that makes sure that no state of a job goes unannounced."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, final
from weakref import WeakKeyDictionary

from cl_server_shared.database import Database
from cl_server_shared.jobs.outbox import Outbox
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import renew_after_fork
from cl_server_shared.protocols.events import Broadcaster

_LOG: Final = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0
_END_SECONDS: Final = 0.25
_SILENT_SECONDS: Final = 60.0


@final
class OutboxRelay:
    """Records what was announced, and announces what others left behind.

    The jobs' rows are the outbox: see `Outbox`. One daemon thread for all repositories that share
    this object; it starts at the first change or claim, and anew in a forked child. It records
    acknowledgements in batches, ten times a second at most, and looks once a second for jobs that
    nobody has announced.

    Args:
        broadcaster: tells the world; closing the outbox closes it.
        clock: tells how long a job has been waiting to be announced.
    """

    def __init__(self, broadcaster: Broadcaster, clock: Clock) -> None:
        self._broadcaster: Final = broadcaster
        self._clock: Final = clock
        self._deliveries: Final[WeakKeyDictionary[Database, Outbox]] = WeakKeyDictionary()
        self._is_closed = False
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without a thread: a parent has its own."""
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._warn_at = 0.0

    def delivery(self, database: Database) -> Outbox:
        """Return the one way from this database's jobs to the world."""
        with self._lock:
            found = self._deliveries.get(database)
            if found is None:
                found = Outbox(
                    self._broadcaster, database, self._clock, start=self._start, wake=self._wake
                )
                self._deliveries[database] = found
            return found

    def close(self) -> None:
        """Close the broadcaster, then record what it delivered; harmless when repeated.

        What was not delivered stays marked, for the next process.
        """
        self._is_closed = True
        self._broadcaster.close()
        thread = self._thread
        if thread is not None:
            self._closing.set()
            self._wake()
            thread.join(_END_SECONDS)  # it may wait for a locked database; then it ends later
            atexit.unregister(self.close)

    def _start(self) -> None:
        if self._thread is not None or self._is_closed:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads, or the interpreter is ending
                    self._warn("the outbox has no thread now: %s", error)
                    return
                self._thread = thread
                atexit.register(self.close)

    def _wake(self) -> None:
        self._woken.set()

    def _run(self) -> None:
        adopt_at = 0.0
        while not self._may_end():
            if self._woken.wait(_LOOK_SECONDS):
                self._closing.wait(_GATHER_SECONDS)
            self._woken.clear()
            self._try_each(Outbox.record)
            if time.monotonic() >= adopt_at and not self._closing.is_set():
                self._try_each(Outbox.adopt)
                adopt_at = time.monotonic() + _LOOK_SECONDS
        self._try_each(Outbox.record)

    def _try_each(self, work: Callable[[Outbox], object]) -> None:
        for delivery in list(self._deliveries.values()):
            try:
                work(delivery)
            except Exception as error:  # noqa: BLE001  # whatever fails, the next look may succeed
                self._warn("the outbox cannot be served now: %s; trying again", error)
                self._closing.wait(_LOOK_SECONDS)

    def _warn(self, message: str, error: Exception) -> None:
        """Log a warning, once a minute at most: what fails now fails at every look."""
        now = time.monotonic()
        if now >= self._warn_at:
            self._warn_at = now + _SILENT_SECONDS
            _LOG.warning(message, error)

    def _may_end(self) -> bool:
        if self._closing.is_set():
            return True
        with self._lock:
            if self._deliveries:
                return False
            self._thread = None
            return True
