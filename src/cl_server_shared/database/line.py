"""The line of a process's threads that wait to write to one database."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, final

from cl_server_shared.database.statement import Row, Statement, Values

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
class Place:
    """A thread's place in line, where it sleeps on a lock of its own; it may wake for nothing.

    It waits for the turn or, with a *write*, to be told what became of that. When it goes, it wakes
    *following* and ends *turn*, where it has them.
    """

    __slots__ = ("_deadline", "_lock", "following", "is_told", "thread", "turn", "write")

    def __init__(self, write: Write | None, patience_seconds: float) -> None:
        self.write: Final = write
        self.thread: Final = threading.get_ident()  # an object of its own each time
        self.turn: object = self.thread
        self.following: Place | None = None
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
        self._places: Final[deque[Place]] = deque()
        # The very object tells whose turn it is; an equal one, a thread's number, that it is the
        # same thread's: a signal handler may write while its thread does.
        self._held: Final[dict[str, object]] = {}

    def take_if_nobody_waits(self, thread: int) -> bool:
        """Take the turn; False: others have it, or wait for it."""
        return not self._places and self._held.setdefault(_TURN, thread) == thread

    def has_turn(self, place: Place) -> bool:
        """Tell whether the turn is this place's, not one of its thread's deeper in the stack."""
        return self._held.get(_TURN) is place.thread

    def give(self, turn: object) -> None:
        """Let the turn be what *turn* ends."""
        self._held[_TURN] = turn

    def enter(self, place: Place) -> None:
        """Stand in line."""
        self._places.append(place)

    def wait(self, place: Place) -> bool:
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

    def _take(self, place: Place) -> bool:
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

    def waiting(self) -> Sequence[Place]:
        """Return the places in line, in order."""
        return tuple(self._places)

    def withdraw(self, place: Place) -> bool:
        """Take a place out of the line; False: somebody did."""
        try:
            self._places.remove(place)
        except ValueError:
            return False
        return True

    def leave(self, place: Place) -> None:
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
