"""One writer at a time in a process, and one commit for all that wait (group commit)."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, final

from cl_server_shared.database.sqlite import is_locked
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.errors import DatabaseError

_MOST_AT_ONCE: Final = 100


@final
@dataclass(slots=True, eq=False)
class Write:
    """A statement that somebody waits for, unless it *is_over*; *rows* once it is committed."""

    statement: Statement
    values: Values
    rows: Sequence[Row] | None = None
    is_over: bool = False


@final
class WriteQueue:
    """Carries out the statements of a process's threads, those that wait together in one commit.

    SQLite lets one connection write at a time: a second thread would only sleep, in pauses that
    grow, and each commit waits for the disk where `synchronous` is FULL. Here threads wait for
    their turn; whoever has it does what all others wait for too. If that fails, each does its own,
    so that nobody gets another's error.

    Args:
        alone: runs a statement and commits it.
        together: runs statements in one transaction; it sets the rows of all once it is committed,
            also if it raises then.
        patience_seconds: how long a thread waits for its turn.
    """

    def __init__(
        self,
        alone: Callable[[Statement, Values], Sequence[Row]],
        together: Callable[[Sequence[Write]], None],
        patience_seconds: float,
    ) -> None:
        self._alone: Final = alone
        self._together: Final = together
        self._patience_seconds: Final = patience_seconds
        self._waiting: Final[deque[Write]] = deque()
        self._turn: Final = threading.RLock()  # a signal handler may write while its thread does

    def execute(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement*, committed when this returns; return its rows.

        Raises:
            DatabaseError: the database refused it or failed, or the turn did not come in time.
        """
        if self._turn.acquire(blocking=False):  # as nearly always
            try:
                if not self._waiting:
                    return self._alone(statement, values)
            finally:
                self._turn.release()
        write = Write(statement, values)
        self._waiting.append(write)
        try:
            with self.turn():
                return self._carry_out(write) if write.rows is None else write.rows
        finally:
            write.is_over = True  # done, failed, or its caller was interrupted while it waited

    @contextmanager
    def turn(self) -> Generator[None]:
        """Keep others of this process from writing for the length of a `with` block.

        Raises:
            DatabaseError: the turn did not come in time.
        """
        if not self._turn.acquire(timeout=self._patience_seconds):
            raise DatabaseError(
                f"the database is locked: other threads of this process have been writing, or "
                f"waiting to, for {self._patience_seconds:g} s"
            )
        try:
            yield
        finally:
            self._turn.release()

    def _carry_out(self, write: Write) -> Sequence[Row]:
        others = self._others_than(write)
        if others:
            self._try_together([write, *others])
        return self._alone(write.statement, write.values) if write.rows is None else write.rows

    def _try_together(self, writes: Sequence[Write]) -> None:
        try:
            self._together(writes)
        except DatabaseError as error:
            if is_locked(error.__cause__):
                raise  # to try again would be to wait twice as long
            # Whose error it was shows when each does its own.

    def _others_than(self, write: Write) -> list[Write]:
        """Take writes out of the queue; one that is not done then does itself in its turn."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
        return [each for each in taken if each is not write and not each.is_over]
