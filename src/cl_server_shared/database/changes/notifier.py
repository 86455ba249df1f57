"""Telling those who listen that a PostgreSQL database changed, beside its hot path."""

import logging
import time
from collections.abc import Callable
from typing import Final, final

from sqlalchemy import ClauseElement, text

from cl_server_shared.database.statement import Statement
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.log_limits import Outage

CHANNEL: Final = "cl_server_shared_jobs"

_LOG: Final = logging.getLogger(__name__)
_INTERVAL_SECONDS: Final = 0.01
_LONGEST_INTERVAL_SECONDS: Final = 0.04
_GROWTH: Final = 1.25
_MANY_A_SECOND: Final = 500
_LINGER_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_END_SECONDS: Final = 1.0


def _notify(_dialect: str) -> ClauseElement:
    """Notify without waiting for the disk: who misses it polls a second later anyway."""
    return text(f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', '')")


NOTIFY: Final = Statement("notify", _notify)


def next_pause(pause_seconds: float, changes: int) -> float:
    """Return how long to wait after the next notification, if there were *changes* in this pause.

    Only a crowd of changes makes it longer: where one job follows the other, somebody may be
    waiting for each.
    """
    if changes < pause_seconds * _MANY_A_SECOND:
        return _INTERVAL_SECONDS
    return min(pause_seconds * _GROWTH, _LONGEST_INTERVAL_SECONDS)


@final
class Notifier:
    """Notifies of changes, at most every 10 ms, by a thread of its own.

    While there are more than 500 changes a second the pauses grow to 40 ms: a hundred notifications
    a second of each of four processes cost PostgreSQL an eighth of what it can do.

    The commit of a transaction that notifies takes a lock on the whole server (PostgreSQL's
    src/backend/commands/async.c, `PreCommit_Notify`), so it must be nobody's own transaction. The
    thread starts at the first change, and ends when there were none for 5 s. Where it cannot start,
    others see the changes when they poll, within a second.

    Args:
        notify: notifies, at once.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify: Final = notify
        self._thread: Final = BackgroundThread(
            "notifier", self._step, linger_seconds=_LINGER_SECONDS
        )
        self._outage: Final = Outage(
            _LOG,
            "notifying of changes fails, others see them up to a second late: %s",
            "notifying of changes works again",
        )
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without changes: those of a parent are the parent's."""
        self._thread.after_fork()  # the order among all parts is any, and `close` may come first
        self._is_due = False
        self._changes = 0  # roughly: threads count without a lock
        self._pause_seconds = _INTERVAL_SECONDS
        self._next_at = 0.0

    def note_change(self) -> None:
        """Take note that a change was committed; returns at once."""
        self._changes += 1
        if not (self._is_due and self._thread.is_running):
            self._is_due = True
            self._thread.wake()

    def close(self) -> None:
        """Notify now of what nobody was told yet, and end the thread; a later change starts one."""
        if self._thread.stop(_END_SECONDS) and self._is_due:
            self._send()

    def _step(self) -> float | None:
        if not self._is_due:
            return None
        left = self._next_at - time.monotonic()
        if left > 0:
            return left
        self._pause_seconds = next_pause(self._pause_seconds, self._changes)
        self._changes = 0
        self._next_at = time.monotonic() + (self._pause_seconds if self._send() else _RETRY_SECONDS)
        return 0

    def _send(self) -> bool:
        """Tell whether nothing failed."""
        self._is_due = False  # what is committed from here on is a change of its own
        try:
            self._notify()
        except Exception as error:  # noqa: BLE001  # logged; whatever failed, the next may succeed
            self._outage.begin(error)
            return False
        self._outage.end()
        return True
