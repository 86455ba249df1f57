"""Waiting for a database to change, without everyone asking it over and over."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, final
from weakref import WeakSet

from cl_server_shared.database.changes.sources import ChangeSource
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.fork import no_fork

type Answers = Mapping[str, Row]
"""The rows that a statement gave, by their first columns."""

_LOG: Final = logging.getLogger(__name__)
_LISTEN_SECONDS: Final = 0.25
_LOOK_AT_LEAST_EVERY_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_LINGER_SECONDS: Final = 5.0
_END_SECONDS: Final = 2.0
_SHARE_OF_A_CORE: Final = 0.1
_PAUSES_SECONDS: Final = (0.005, 0.5)


@final
class ChangeSubscription:
    """Is woken when the answer of *statement* about *names* is news to it.

    Its owner begins a look, reads the database in its own way, tells what would be news beyond what
    it read, and waits; a change that comes in between wakes it too.

    Args:
        statement: takes `names`, a JSON array of texts, and gives at most one row for each, the
            name first. It is run once for all waiters.
        names: what to ask about.
        wake: called from another thread, possibly without need; returns at once.
    """

    def __init__(
        self, statement: Statement, names: Sequence[str], wake: Callable[[], object]
    ) -> None:
        self.statement: Final = statement
        self.names: Final = tuple(names)
        self._wake: Final = wake
        self._is_news: Callable[[Answers], bool] | None = None
        self._is_woken = False
        self._is_ended = False

    def begin_look(self) -> None:
        """Be woken by whatever changes from now on.

        Raises:
            DatabaseError: the database was closed meanwhile.
        """
        if self._is_ended:
            raise DatabaseError("the database was closed while its changes were waited for")
        self._is_woken = False
        self._is_news = None

    def wait_for(self, is_news: Callable[[Answers], bool]) -> None:
        """Be woken only by answers that *is_news* finds worth another look."""
        self._is_news = is_news

    def tell(self, answers: Answers) -> None:
        """Hear the latest answers."""
        if not self._is_woken and (self._is_news is None or self._is_news(answers)):
            self._is_woken = True
            self._wake()

    def end(self) -> None:
        """Wake it for the last time."""
        self._is_ended = True
        self._wake()


@final
class ChangeWatcher:
    """Wakes the waiters of one database and process, by one daemon thread.

    The thread starts with the first waiter and ends 5 s after the last. It looks when the source
    tells of a change, at least every second (for what no source tells of), and never for more than
    a tenth of its time. A failing database ends no wait: the thread looks each second until it
    works again.

    Args:
        read: runs a statement that changes nothing.
        make_source: makes what tells of changes.
    """

    def __init__(
        self,
        read: Callable[[Statement, Values], Sequence[Row]],
        make_source: Callable[[], ChangeSource],
    ) -> None:
        self._read: Final = read
        self._make_source: Final = make_source
        self._inherited: Final[list[ChangeSource]] = []
        self._source: ChangeSource | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without thread and waiters; keep a parent's connection unused and open."""
        if self._source is not None:
            self._inherited.append(self._source)
            self._source = None
        self._changed = threading.Condition()
        self._waiters: WeakSet[ChangeSubscription] = WeakSet()
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, waiter: ChangeSubscription) -> None:
        """Wake *waiter* from now on, for as long as it lives; harmless when repeated."""
        with self._changed:
            self._waiters.add(waiter)
            self._changed.notify()
            if self._thread is None:
                self._closed = threading.Event()
                run = partial(self._run, self._closed.wait)
                self._thread = threading.Thread(target=run, name="db-watch", daemon=True)
                self._thread.start()

    def discard(self, waiter: ChangeSubscription) -> None:
        """Let *waiter* be; harmless when repeated."""
        with self._changed:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """End the waits and the thread; a later waiter starts another."""
        with self._changed:
            waiters, self._waiters = self._waiters, WeakSet()
            self._ending, self._thread = self._thread, None
            self._changed.notify_all()
            self._closed.set()
        for waiter in list(waiters):
            waiter.end()

    def join(self) -> None:
        """Wait until the closed thread has closed its connection, for 2 s at most.

        SQLite's last connection brings its log into the database and removes it.
        """
        ending = self._ending
        if ending is not None and ending is not threading.current_thread():
            ending.join(_END_SECONDS)

    def _run(self, pause: Callable[[float], object]) -> None:
        source = self._source = self._make_source()
        try:
            _Watching(source, self._look, self._is_wanted, pause).run()
        finally:
            source.close()

    def _is_wanted(self) -> bool:
        """Tell whether anybody waits, which may still come."""
        thread = threading.current_thread()
        with self._changed:
            if self._thread is thread and not self._waiters:
                self._changed.wait(_LINGER_SECONDS)
            if self._thread is not thread:
                return False
            if not self._waiters:
                self._thread = None
            return self._thread is thread

    def _look(self) -> None:
        with self._changed:
            waiters = list(self._waiters)
        for statement in {waiter.statement for waiter in waiters}:
            self._tell(statement, [each for each in waiters if each.statement is statement])

    def _tell(self, statement: Statement, waiters: Iterable[ChangeSubscription]) -> None:
        names = {name: None for waiter in waiters for name in waiter.names}
        with no_fork():
            found = self._read(statement, {"names": json.dumps(list(names))})
        answers = {str(row[0]): row for row in found}
        for waiter in waiters:
            waiter.tell(answers)


@final
class _Watching:
    """The rhythm of a watch: look after each change, and in time, but not all the time."""

    def __init__(
        self,
        source: ChangeSource,
        look: Callable[[], object],
        is_wanted: Callable[[], bool],
        pause: Callable[[float], object],
    ) -> None:
        self._source: Final = source
        self._look: Final = look
        self._is_wanted: Final = is_wanted
        self._pause: Final = pause
        self._looked_at = 0.0
        self._listening = _Outage("changes are seen up to a second late")
        self._looking = _Outage("nobody is woken")

    def run(self) -> None:
        """Watch for as long as it is wanted."""
        while self._is_wanted():
            if self._hears_of_a_change() or self._is_time_to_look():
                self._pause(self._look_and_tell_pause())

    def _hears_of_a_change(self) -> bool:
        try:
            changed = self._source.changed(_LISTEN_SECONDS)
        except Exception as error:  # noqa: BLE001  # logged; whatever failed, waiters rely on us
            self._source.close()
            self._pause(_RETRY_SECONDS)
            if not self._is_wanted():
                return False  # it failed because it was closed
            self._listening.begin(error)
            return True
        self._listening.end()
        return changed

    def _is_time_to_look(self) -> bool:
        return time.monotonic() - self._looked_at >= _LOOK_AT_LEAST_EVERY_SECONDS

    def _look_and_tell_pause(self) -> float:
        """Look, and return for how many seconds not to look again."""
        began_at = time.monotonic()
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  # logged; whatever failed, waiters rely on us
            self._looking.begin(error)
            return _RETRY_SECONDS
        self._looking.end()
        self._looked_at = time.monotonic()
        shortest, longest = _PAUSES_SECONDS
        return min(longest, max(shortest, (self._looked_at - began_at) / _SHARE_OF_A_CORE))


@final
class _Outage:
    """Logs that something fails once, until it works again."""

    def __init__(self, consequence: str) -> None:
        self._consequence: Final = consequence
        self._is_on = False

    def begin(self, error: Exception) -> None:
        if not self._is_on:
            _LOG.warning("watching the database fails, %s: %s", self._consequence, error)
        self._is_on = True

    def end(self) -> None:
        if self._is_on:
            _LOG.info("watching the database works again")
        self._is_on = False
