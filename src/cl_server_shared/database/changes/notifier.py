"""Telling those who listen that a PostgreSQL database changed, beside its hot path."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, final

from sqlalchemy import ClauseElement, text

from cl_server_shared.database.statement import Statement

CHANNEL: Final = "cl_server_shared_jobs"

_LOG: Final = logging.getLogger(__name__)
_INTERVAL_SECONDS: Final = 0.01
_LONGEST_INTERVAL_SECONDS: Final = 0.04
_GROWTH: Final = 1.25
_MANY_A_SECOND: Final = 500
_LINGER_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


def _notify(_dialect: str) -> ClauseElement:
    """Notify without waiting for the disk: who misses it looks a second later anyway."""
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
    thread starts at the first change, and ends when there were none for 5 s.

    Args:
        notify: notifies, at once.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify: Final = notify
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without thread and changes: those of a parent are the parent's."""
        self._noted = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_due = False
        self._changes = 0  # roughly: threads count without a lock
        self._sending = threading.Lock()

    def note_change(self) -> None:
        """Take note that a change was committed; returns at once."""
        self._changes += 1
        if self._is_due:
            return
        with self._noted:
            self._is_due = True
            self._noted.notify()
            if self._thread is None:
                self._start_thread()

    def close(self) -> None:
        """Notify now of what nobody was told yet, and end the thread; a later change starts one."""
        with self._noted:
            self._thread = None
            self._noted.notify_all()
        if self._sending.acquire(timeout=_RETRY_SECONDS):
            try:
                self._send_what_is_due(is_repeated=False)
            finally:
                self._sending.release()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        try:
            thread.start()  # it cannot go on before `note_change` lets go of the lock
        except RuntimeError as error:  # the interpreter is about to exit
            _LOG.info("others see the latest changes a second late: %s", error)
        else:
            self._thread = thread

    def _run(self) -> None:
        failed, pause = False, _INTERVAL_SECONDS
        while self._next_change():
            with self._sending:
                sent = self._send_what_is_due(is_repeated=failed)
            failed = not sent
            self._changes = 0
            time.sleep(pause if sent else _RETRY_SECONDS)
            pause = next_pause(pause, self._changes)

    def _next_change(self) -> bool:
        """Wait for a change; False: there was none for long, or it is closed: the thread ends."""
        with self._noted:
            thread = threading.current_thread()
            self._noted.wait_for(
                lambda: self._is_due or self._thread is not thread, _LINGER_SECONDS
            )
            if self._thread is thread and not self._is_due:
                self._thread = None
            return self._thread is thread

    def _send_what_is_due(self, *, is_repeated: bool) -> bool:
        """Tell whether nothing failed."""
        if not self._is_due:
            return True
        self._is_due = False  # what is committed from here on is a change of its own
        try:
            self._notify()
        except Exception as error:  # noqa: BLE001  # logged; the thread must live on
            if not is_repeated:
                _LOG.warning("others see the latest changes a second late: %s", error)
            return False
        return True
