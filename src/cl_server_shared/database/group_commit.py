"""One writer at a time in a process, and one commit for all that wait (group commit)."""

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Final, final

from cl_server_shared.database.statement import Compiled, Row, Values
from cl_server_shared.errors import DatabaseError

_MOST_AT_ONCE: Final = 100
_MOMENT_SECONDS: Final = 0.05


@final
class Write:
    """A statement; *rows* once it is committed, *error* if it is not and is not worth a retry."""

    rows: Sequence[Row] | None = None
    error: DatabaseError | None = None

    def __init__(self, statement: Compiled, values: Values) -> None:
        self.statement: Final = statement
        self.values: Final = values


@final
class Waiter:
    """A thread that waits for its turn to write, or for another to carry out its *write*.

    Args:
        write: what it wants to do; None: something of its own, in its turn.
        thread: its number.
        is_shared: whether another thread may carry out its write.
    """

    has_left: bool = False
    taken_by: "Waiter | None" = None  # who tries to carry out its write together with others
    _until: float = 0.0
    _lock: "threading.Lock | None" = None

    def __init__(self, write: Write | None, thread: int, *, is_shared: bool) -> None:
        self.write: Final = write
        self.thread: Final = thread
        self.is_shared: Final = is_shared

    @property
    def is_decided(self) -> bool:
        """Whether its write needs nobody any more."""
        write = self.write
        return write is not None and (write.rows is not None or write.error is not None)

    def sleep(self, timeout_seconds: float) -> bool:
        """Wait until it is woken, or for a moment; tell whether its time is not up yet.

        Ctrl-C may keep the main thread from waking it. The first call only makes that possible.
        """
        now = time.monotonic()
        if self._lock is None:
            self._until, self._lock = now + timeout_seconds, threading.Lock()
            return self._lock.acquire()
        left = self._until - now
        self._lock.acquire(timeout=min(left, _MOMENT_SECONDS) if left > 0 else _MOMENT_SECONDS)
        return left > 0

    def wake(self) -> None:
        """Let the thread check whether it is its turn; harmless when repeated."""
        if self._lock is not None:
            with suppress(RuntimeError):  # it is about to check already
                self._lock.release()


@final
class GroupCommit:
    """Lends the threads of a process turns to write, and lets one carry out the writes of many.

    SQLite lets one connection write at a time: a second thread would only sleep, in pauses that
    grow, and each commit waits for the disk where `synchronous` is FULL. So threads queue up here,
    and the first has the turn. It takes over the writes of those behind it, for one commit; whose
    write was carried out when its turn comes only wakes the next. If all woke at once they would
    fight for the interpreter's lock; so the first queue up again before the last have left.

    Signal handlers, and the exceptions they raise, come in the main thread alone. So nobody's write
    depends on that, and it leaves by an assignment, which no signal can prevent.

    Args:
        timeout_seconds: how long (0 or more) a thread waits for its turn.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds: Final = timeout_seconds
        self._main_thread: Final = threading.main_thread().ident
        self._queue: Final[deque[Waiter]] = deque()
        self._taking: Final = threading.Lock()

    @contextmanager
    def turn(self) -> Generator[None]:
        """Keep others of this process from writing for the length of a `with` block.

        Raises:
            DatabaseError: the turn did not come in time.
        """
        waiter = self.waiter(None)
        try:
            self.wait(waiter)
            yield
        finally:
            waiter.has_left = True
            self.wake_next()

    def waiter(self, write: Write | None) -> Waiter:
        """Return what a thread waits as; when it sets `has_left`, its turn or its wait is over."""
        thread = threading.get_ident()
        return Waiter(write, thread, is_shared=write is not None and thread != self._main_thread)

    def wait(self, waiter: Waiter) -> Sequence[Write]:
        """Wait for the turn; return the writes to carry out in it, the waiter's own first.

        None are left to it when another thread has carried out its own meanwhile.

        Raises:
            DatabaseError: the turn did not come in time; its write will not be carried out.
        """
        self._queue.append(waiter)
        had_to_wait = self._queue[0] is not waiter
        if had_to_wait:
            self._await_turn(waiter)
        if waiter.write is None or (had_to_wait and waiter.is_decided):
            return ()
        return (waiter.write, *(self._taken_over(waiter) if len(self._queue) > 1 else ()))

    def wake_next(self) -> None:
        """Wake whose turn it is, now that somebody has left."""
        if (head := self._head()) is not None:
            head.wake()

    def _await_turn(self, waiter: Waiter) -> None:
        while not waiter.is_decided:
            head = self._head()
            # A signal handler may write while its thread does, or waits to.
            if head is not None and head.thread == waiter.thread:
                return
            if not waiter.sleep(self._timeout_seconds) and self._withdraw(waiter):
                raise DatabaseError(
                    "the database is locked: other threads of this process have been writing, or "
                    f"waiting to, for {self._timeout_seconds:g} s"
                )

    def _head(self) -> Waiter | None:
        """Return the first that has not left; the others are let go."""
        while self._queue:
            try:
                head = self._queue[0]
                if not head.has_left:
                    return head
                self._queue.remove(head)
            except (IndexError, ValueError):
                continue  # another thread let go of it
        return None

    def _withdraw(self, waiter: Waiter) -> bool:
        """Leave in vain; False: another thread is carrying its write out, or has done so."""
        with self._taking:
            leader = waiter.taken_by
            waiter.has_left = (leader is None or leader.has_left) and not waiter.is_decided
        return waiter.has_left

    def _taken_over(self, leader: Waiter) -> list[Write]:
        """Take over the writes behind *leader*; none, where its own has just failed with others."""
        if not leader.is_shared or leader.taken_by is not None or self._head() is not leader:
            return []
        with self._taking:
            behind = [each for each in self._queue.copy() if not each.has_left][1:_MOST_AT_ONCE]
            taken = list(takewhile(lambda each: each.is_shared and each.taken_by is None, behind))
            for each in taken:
                each.taken_by = leader
        return [each.write for each in taken if each.write is not None]
