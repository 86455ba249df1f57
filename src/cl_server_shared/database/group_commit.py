"""One writer at a time in a process, and one commit for all that wait (group commit)."""

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Final, final

from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.errors import DatabaseError

_MOST_AT_ONCE: Final = 100
_LONGEST_SLEEP_SECONDS: Final = 0.05


@final
class Write:
    """A statement; *rows* once it is committed, *error* if it is not and is not worth a retry."""

    __slots__ = ("error", "rows", "statement", "values")

    def __init__(self, statement: Statement, values: Values) -> None:
        self.statement: Final = statement
        self.values: Final = values
        self.rows: Sequence[Row] | None = None
        self.error: DatabaseError | None = None


@final
class Waiter:
    """A thread that waits for its turn to write, or that another thread carries out its *write*.

    Args:
        write: what it wants to do; None: something of its own, in its turn.
        is_shared: whether another thread may carry out its write.
        until: when its time is up, on the monotonic clock.
    """

    __slots__ = ("_lock", "_until", "batch", "has_left", "is_shared", "is_taken", "thread", "write")

    def __init__(self, write: Write | None, *, is_shared: bool, until: float) -> None:
        self.write: Final = write
        self.is_shared: bool = is_shared
        self.is_taken: bool = False  # another thread is carrying out its write
        self.batch: Sequence[Waiter] = ()  # whose writes it carries out
        self.has_left: bool = False
        self.thread: Final = threading.get_ident()
        self._until: Final = until
        self._lock: Final = threading.Lock()
        self._lock.acquire()

    @property
    def is_late(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._until

    @property
    def is_decided(self) -> bool:
        """Whether its write needs nobody any more."""
        write = self.write
        return write is not None and (write.rows is not None or write.error is not None)

    def wake(self) -> None:
        """Let the thread look whether it is its turn; harmless when repeated."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is about to look already

    def sleep(self) -> None:
        """Wait until it is woken, until its time is up, or for a moment.

        Only for a moment, because Ctrl-C may keep the main thread from waking the next.
        """
        left = self._until - time.monotonic()
        pause = min(left, _LONGEST_SLEEP_SECONDS) if left > 0 else _LONGEST_SLEEP_SECONDS
        self._lock.acquire(timeout=pause)


@final
class GroupCommit:
    """Lends the threads of a process turns to write, and lets one carry out the writes of many.

    SQLite lets one connection write at a time: a second thread would only sleep, in pauses that
    grow, and each commit waits for the disk where `synchronous` is FULL. So threads queue up here,
    and the first in the queue has the turn. Before it commits it takes over the writes of those
    behind it. Whose write was carried out when its turn comes only wakes the next: if all woke at
    once they would fight for the interpreter's lock, and so the first ones queue up again, for the
    next commit, before the last ones go.

    Signal handlers, and the exceptions they raise, run in the main thread alone. So its writes are
    its own, nobody else waits for what it has in hand, and it leaves the queue by an assignment,
    which no signal can keep from being done.

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
            self.pass_on(waiter)

    def waiter(self, write: Write | None) -> Waiter:
        """Return what a thread waits as; once it sets `has_left`, its turn or its wait is over."""
        is_shared = write is not None and threading.get_ident() != self._main_thread
        return Waiter(write, is_shared=is_shared, until=time.monotonic() + self._timeout_seconds)

    def wait(self, waiter: Waiter) -> Sequence[Write]:
        """Queue up and wait; return the writes to carry out now, the waiter's own first.

        None are left to it when its own was carried out by another thread meanwhile.

        Raises:
            DatabaseError: the turn did not come in time; its write will not be carried out.
        """
        self._queue.append(waiter)
        while not (self._has_turn(waiter) or waiter.is_decided):
            waiter.sleep()
            if waiter.is_late and self._withdraw(waiter):
                raise DatabaseError(
                    "the database is locked: other threads of this process have been writing, or "
                    f"waiting to, for {self._timeout_seconds:g} s"
                )
        if waiter.write is None or waiter.is_decided:
            return ()
        return [waiter.write, *self._take_over(waiter)]

    def pass_on(self, waiter: Waiter) -> None:
        """Wake whose turn it is, now that *waiter* has left."""
        for each in waiter.batch:
            if not each.is_decided:
                each.is_shared = each.is_taken = False  # whose fault it was shows when it is alone
        head = self._head()
        if head is not None:
            head.wake()

    def _has_turn(self, waiter: Waiter) -> bool:
        head = self._head()
        # A signal handler may write while its thread does, or waits to.
        return head is not None and head.thread == waiter.thread

    def _head(self) -> Waiter | None:
        """Return the first that has not left, and let go of those that have."""
        while True:
            try:
                head = self._queue[0]
                if not head.has_left:
                    return head
                self._queue.remove(head)
            except IndexError:
                return None
            except ValueError:
                continue  # another thread let go of it

    def _withdraw(self, waiter: Waiter) -> bool:
        """Leave in vain; False: its write is being carried out."""
        with self._taking:
            waiter.has_left = not waiter.is_taken
        return waiter.has_left

    def _take_over(self, leader: Waiter) -> list[Write]:
        """Take over the writes behind *leader*, up to one that must be alone."""
        if not leader.is_shared or self._head() is not leader:
            return []
        with self._taking:
            behind = [each for each in self._queue.copy() if not each.has_left][1:_MOST_AT_ONCE]
            leader.batch = list(takewhile(lambda each: each.is_shared, behind))
            for each in leader.batch:
                each.is_taken = True
        return [each.write for each in leader.batch if each.write is not None]
