"""One writer at a time in a process, and one commit for all that wait (group commit)."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Final, final

from cl_server_shared.database.sqlite import is_locked
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.errors import DatabaseError

_TURN: Final = "turn"


@final
class Write:
    """A statement; *rows* once it is committed, *error* if it is not and is not worth a retry.

    Neither, once its thread was told: it is not carried out, its thread does that alone.
    """

    __slots__ = ("error", "rows", "statement", "values")

    def __init__(self, statement: Statement, values: Values) -> None:
        self.statement: Final = statement
        self.values: Final = values
        self.rows: Sequence[Row] | None = None
        self.error: Exception | None = None


@final
class Waiter:
    """A thread's place in line, where it sleeps on a lock of its own; it may wake for nothing.

    It waits for the turn or, with a *write*, to be told what became of that. When it goes, it wakes
    *following* and ends *turn*, where it has them.
    """

    __slots__ = ("_deadline", "_lock", "following", "is_told", "thread", "turn", "write")

    def __init__(self, write: Write | None, patience_seconds: float) -> None:
        self.write: Final = write
        self.thread: Final = threading.get_ident()  # an object of its own each time
        self.turn: object = self.thread
        self.following: Waiter | None = None
        self.is_told: bool = False
        self._deadline: Final = time.monotonic() + patience_seconds
        self._lock: Final = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Let the thread look; harmless when repeated."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is about to look already

    def sleep(self) -> bool:
        """Wait until it is woken; False: its time is up."""
        return self._lock.acquire(timeout=max(0.0, self._deadline - time.monotonic()))

    def sleep_on(self) -> None:
        """Wait until it is woken, however long that takes."""
        self._lock.acquire()


@final
class Line:
    """The places of those who wait, and who has the turn.

    Whoever is interrupted, anywhere, may repeat `leave` or `end`: each step is one that Python does
    not interrupt, and shows what was done.
    """

    def __init__(self) -> None:
        self._places: Final[deque[Waiter]] = deque()
        # The very object tells whose turn it is; an equal one, a thread's number, that it is the
        # same thread's: a signal handler may write while its thread does.
        self._held: Final[dict[str, object]] = {}

    def take_if_nobody_waits(self, thread: int) -> bool:
        """Take the turn; False: others have it, or wait for it."""
        return not self._places and self._held.setdefault(_TURN, thread) == thread

    def has_turn(self, place: Waiter) -> bool:
        """Tell whether the turn is this place's, not one of its thread's deeper in the stack."""
        return self._held.get(_TURN) is place.thread

    def give(self, turn: object) -> None:
        """Let the turn be what *turn* ends."""
        self._held[_TURN] = turn

    def enter(self, place: Waiter) -> None:
        """Stand in line."""
        self._places.append(place)

    def wait(self, place: Waiter) -> bool:
        """Wait for the turn or the word; tell whether it is the turn.

        Whose time is up gives up its place, and then nobody carries out its write; if a leader has
        taken that already, it waits on for what the leader tells.

        Raises:
            TimeoutError: its time is up.
        """
        while not place.is_told:
            if self._take(place):
                return True
            if not place.sleep():
                if self.withdraw(place):
                    raise TimeoutError
                place.sleep_on()
        return False

    def _take(self, place: Waiter) -> bool:
        thread = place.thread
        if self._held.get(_TURN) == thread:
            return True
        try:
            head = self._places[0]
        except IndexError:
            return False  # a leader took it, and is about to tell
        # At the head, one that wants nothing but the turn lets nobody overtake it.
        if head.write is None and head is not place:
            return False
        return self._held.setdefault(_TURN, thread) is thread

    def waiting(self) -> Sequence[Waiter]:
        """Return the places in line, in order."""
        return tuple(self._places)

    def withdraw(self, place: Waiter) -> bool:
        """Take a place out of the line; False: somebody did."""
        try:
            self._places.remove(place)
        except ValueError:
            return False
        return True

    def leave(self, place: Waiter) -> None:
        """Go, with or without what was waited for, and hold up nobody."""
        if place.following is not None:
            place.following.wake()
        if not place.is_told:
            self.withdraw(place)
        if place.turn is not None:
            self.end(place.turn)

    def end(self, turn: object) -> None:
        """End *turn*, unless it is over, and let the head of the line look."""
        if self._held.get(_TURN) is turn:
            del self._held[_TURN]
        if self._places:
            self._wake_head()

    def _wake_head(self) -> None:
        try:
            self._places[0].wake()
        except IndexError:
            return  # it left meanwhile


_MOST_AT_ONCE: Final = 100


@final
class GroupCommit:
    """Carries out the statements of a process's threads, those that wait together in one commit.

    SQLite lets one connection write at a time: a second thread would only sleep, in pauses that
    grow, and each commit waits for the disk where `synchronous` is FULL. Here one thread has the
    turn and the others stand in line. Who gets the turn with a write leads: it takes the writes at
    the head of the line and carries them out in one transaction. If that fails, each does its own,
    so that nobody gets another's error; but a database that stays locked fails all of them once.

    The leader wakes one follower, each follower the next, and the last ends the turn: if all woke
    at once they would fight for the interpreter's lock, and so the first stand in line again when
    the next turn begins. The main thread is woken beside that chain, for signal handlers and Ctrl-C
    could hold it there.

    A write is carried out by others only if its leader took it from the line (`Line.wait`). Who is
    interrupted does not wait for the leader: what was taken may be done, like anything that is
    interrupted while it commits; what was not is not.

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
        self._main_thread: Final = threading.main_thread().ident
        self._line: Final = Line()

    def execute(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement*, committed when this returns; return its rows.

        Raises:
            DatabaseError: the database refused it or failed, or the turn did not come in time.
        """
        me = threading.get_ident()
        try:
            if self._line.take_if_nobody_waits(me):  # as nearly always
                rows = self._alone(statement, values)
                self._line.end(me)
                return rows
        except BaseException:
            try:
                self._line.end(me)
            finally:
                self._line.end(me)  # again, where Ctrl-C came meanwhile; so below
            raise
        return self._execute_in_line(Write(statement, values))

    @contextmanager
    def turn(self) -> Generator[None]:
        """Keep others of this process from writing for the length of a `with` block.

        Raises:
            DatabaseError: the turn did not come in time.
        """
        place = Waiter(None, self._patience_seconds)
        try:
            self._line.enter(place)
            self._wait(place)
            self._line.withdraw(place)
            yield
        finally:
            try:
                self._line.leave(place)
            finally:
                self._line.leave(place)

    def _execute_in_line(self, write: Write) -> Sequence[Row]:
        place = Waiter(write, self._patience_seconds)
        try:
            self._line.enter(place)
            while self._wait(place):
                self._lead(place)
        finally:
            try:
                self._line.leave(place)
            finally:
                self._line.leave(place)
        if write.error is not None:
            raise DatabaseError(str(write.error)) from write.error.__cause__
        if write.rows is not None:
            return write.rows
        with self.turn():
            return self._alone(write.statement, write.values)

    def _wait(self, place: Waiter) -> bool:
        try:
            return self._line.wait(place)
        except TimeoutError as error:
            raise DatabaseError(
                f"the database is locked: other threads of this process have been writing, or "
                f"waiting to, for {self._patience_seconds:g} s"
            ) from error

    def _lead(self, leader: Waiter) -> None:
        taken: list[Waiter] = []
        turn = object()
        try:
            self._take(taken)
            self._carry_out(leader, taken)
            self._tell(leader, taken, turn)
        except BaseException:
            try:
                self._tell_at_once(taken, turn)
            finally:
                self._tell_at_once(taken, turn)
            raise
        if not leader.is_told:
            self._line.end(leader.thread)

    def _take(self, taken: list[Waiter]) -> None:
        for place in self._line.waiting()[:_MOST_AT_ONCE]:
            if place.write is None:
                break
            taken.append(place)  # first, or Ctrl-C would lose it
            if not self._line.withdraw(place):
                taken.pop()

    def _carry_out(self, leader: Waiter, taken: Sequence[Waiter]) -> None:
        if any(place is not leader for place in taken):
            self._try_together([place.write for place in taken if place.write is not None])
        own = leader.write
        if leader in taken and own is not None and own.rows is None and own.error is None:
            own.rows = self._alone(own.statement, own.values)

    def _try_together(self, writes: Sequence[Write]) -> None:
        try:
            self._together(writes)
        except DatabaseError as error:
            if is_locked(error.__cause__):  # to try again would be to wait twice as long
                for write in writes:
                    write.error = error
            # Else whose error it was shows when each does its own.

    def _tell(self, leader: Waiter, taken: Sequence[Waiter], turn: object) -> None:
        """Let all know what became of their writes, and the last of them end the turn."""
        followers = [place for place in taken if place is not leader]
        chain = self._chained(followers, turn) if self._line.has_turn(leader) else []
        for place in reversed(taken):  # who looks early wakes only who was told
            place.is_told = True
        if chain and leader.is_told:
            leader.turn = None
        for place in [each for each in followers if each.turn is each.thread] + chain[:1]:
            place.wake()

    def _chained(self, followers: Sequence[Waiter], turn: object) -> list[Waiter]:
        chain = [each for each in followers if each.thread != self._main_thread]
        for place, following in zip_longest(chain, chain[1:]):
            place.following, place.turn = following, None
        if chain:
            chain[-1].turn = turn
            self._line.give(turn)
        return chain

    def _tell_at_once(self, taken: Sequence[Waiter], turn: object) -> None:
        for place in taken:
            self._line.withdraw(place)
            place.is_told = True
            place.wake()
        self._line.end(turn)
