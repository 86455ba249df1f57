"""A callback that gets each job's events once and in order."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, final

from cl_server_shared.errors import ConfigError
from cl_server_shared.events.ordering import Resequencer
from cl_server_shared.models import JobEvent
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.fork import renew_after_fork

_LOG: Final = logging.getLogger(__name__)


@final
class InOrder:
    """Calls *callback* with each job's events once, ordered by `created_at` and `seq`.

    Subscribe it in place of the callback: `broadcaster.subscribe(InOrder(callback))`. An event that
    arrives before one that it follows is held for that one, then given out without it; what comes
    later still is dropped. Jobs do not wait for each other. Events of `seq` 0 pass at once.

    *callback* gets one event at a time, in the broadcaster's thread or, for events held to the end,
    in one of its own that runs while something is held (where the system refuses a thread, with the
    next event); what it raises is logged. Leaving the `with` block or closing it drops what is
    held. A forked process starts without what its parent holds and remembers.

    Args:
        callback: gets one event at a time.
        wait_ms: how long an event is held at most, 0 or more; with 0 late events are dropped.
        max_jobs: how many jobs are remembered, those with the latest events, and how many events
            are held at most, 1 or more; what is repeated of a forgotten job is given out again.

    Raises:
        ConfigError: an argument is outside what is allowed.
    """

    def __init__(
        self,
        callback: Callable[[JobEvent], object],
        *,
        wait_ms: int = 1_000,
        max_jobs: int = 10_000,
    ) -> None:
        if wait_ms < 0:
            raise ConfigError(f"wait_ms is {wait_ms}: allowed is 0 or more")
        if max_jobs < 1:
            raise ConfigError(f"max_jobs is {max_jobs}: allowed is 1 or more")
        self._callback: Final = callback
        self._bounds: Final = (wait_ms, max_jobs)
        self._is_closed = False
        self._background: BackgroundThread | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: the parent gives out what is held."""
        self._resequencer = Resequencer(*self._bounds)
        self._ready: deque[JobEvent] = deque()
        self._is_delivering = False
        self._lock = threading.RLock()  # the callback may publish, and so come back here
        self._is_scheduled = False  # whether the thread looks again when the next one is due

    def __call__(self, event: JobEvent) -> None:
        """Take in an event as it arrives; nothing once it is closed."""
        with self._lock:
            if self._is_closed:
                return
            now_ms = _now_ms()
            self._ready += self._resequencer.take(event, now_ms)
            self._ready += self._resequencer.release(now_ms)
            if self._resequencer.due_ms is not None and not self._is_scheduled:
                self._is_scheduled = self._wake()
            self._deliver()

    def close(self) -> None:
        """Stop the calls; harmless when repeated, in any thread, and while garbage is collected."""
        self._is_closed = True
        background, self._background = self._background, None  # they hold each other
        if background is not None:
            background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _deliver(self) -> None:
        if self._is_delivering:
            return  # the callback published: that comes after the event it has now
        self._is_delivering = True
        try:
            while self._ready and not self._is_closed:
                self._give(self._ready.popleft())
        finally:
            self._is_delivering = False

    def _give(self, event: JobEvent) -> None:
        try:
            self._callback(event)
        except Exception:  # noqa: BLE001  # anybody's function: what it raises is logged
            _LOG.exception("%r failed on %r; its next event still comes", self._callback, event)

    def _wake(self) -> bool:
        if self._background is None:
            self._background = BackgroundThread("held events", self._release_due)
        return self._background.wake()

    def _release_due(self) -> float | None:
        """Give out what was held long enough; return in how many seconds the next one is due."""
        with self._lock:
            self._is_scheduled = False  # the callback may end this thread
            self._ready += self._resequencer.release(_now_ms())
            self._deliver()
            due_ms = self._resequencer.due_ms
            if due_ms is None or self._is_closed:
                return None
            self._is_scheduled = True
            return max(0, due_ms - _now_ms()) / 1000


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
