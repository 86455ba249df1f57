"""Waiting for a database to change, without everyone asking it over and over."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, final
from weakref import WeakSet

from cl_server_shared.database.changes.sources import ChangeSource
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.fork import no_fork
from cl_server_shared.process.log_limits import Outage

type Answers = Mapping[str, Row]
"""The rows that a statement gave, by their first columns."""

_LOG: Final = logging.getLogger(__name__)
_LISTEN_SECONDS: Final = 0.25
_POLL_AT_LEAST_EVERY_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_LINGER_SECONDS: Final = 5.0
_SHARE_OF_A_CORE: Final = 0.1
_PAUSES_SECONDS: Final = (0.005, 0.5)


@final
class ChangeSubscription:
    """Is woken when the answer of *statement* about *names* is news to it.

    Its owner begins a poll, reads the database itself, tells what would be news beyond what
    it read, and waits; a change that comes in between wakes it too.

    Args:
        statement: takes `names`, a JSON array of texts, and gives at most one row for each, the
            name first. It is run once for all subscriptions.
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

    def begin_poll(self) -> None:
        """Be woken by whatever changes from now on.

        Raises:
            DatabaseError: the database was closed meanwhile.
        """
        if self._is_ended:
            raise DatabaseError("the database was closed while its changes were waited for")
        self._is_woken = False
        self._is_news = None

    def wait_for(self, is_news: Callable[[Answers], bool]) -> None:
        """Be woken only by answers that *is_news* finds worth another poll."""
        self._is_news = is_news

    def tell(self, answers: Answers) -> None:
        """Take in the latest answers."""
        if not self._is_woken and (self._is_news is None or self._is_news(answers)):
            self._is_woken = True
            self._wake()

    def end(self) -> None:
        """Wake it for the last time."""
        self._is_ended = True
        self._wake()


@final
class ChangeWatcher:
    """Wakes the subscriptions of one database and process, by one daemon thread.

    The thread starts with the first subscription and ends 5 s after the last. It polls when the
    source tells of a change, at least every second (for what no source tells of), and never for
    more than a tenth of its time. A failing database ends no wait: the thread polls each second
    until it works again.

    Args:
        read: runs a statement that changes nothing.
        make_source: makes what tells of changes, for one thread.
    """

    def __init__(
        self,
        read: Callable[[Statement, Values], Sequence[Row]],
        make_source: Callable[[], ChangeSource],
    ) -> None:
        self._read: Final = read
        self._make_source: Final = make_source
        self._inherited: Final[list[object]] = []
        self._sources: dict[threading.Thread, ChangeSource] = {}
        self._thread: Final = BackgroundThread(
            "db-watch", self._step, linger_seconds=_LINGER_SECONDS, at_end=self._end
        )
        self._listening: Final = _outage("changes are seen up to a second late")
        self._polling: Final = _outage("nobody is woken")
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without subscriptions; keep a parent's connections unused and open."""
        self._thread.after_fork()  # the order among all parts is any, and `close` may come first
        self._inherited.append(self._sources)
        self._sources = {}  # of each thread its own: one that ends may meet the next
        self._lock = threading.RLock()
        self._subscriptions: WeakSet[ChangeSubscription] = WeakSet()
        self._failure: Exception | None = None
        self._polled_at = 0.0
        self._rests_until = 0.0

    def add(self, subscription: ChangeSubscription) -> bool:
        """Wake *subscription* from now on, for as long as it lives; harmless when repeated.

        Returns:
            Whether there is a thread that does so.
        """
        with self._lock:
            self._subscriptions.add(subscription)
        return self._thread.wake()

    def discard(self, subscription: ChangeSubscription) -> None:
        """Let *subscription* be; harmless when repeated."""
        with self._lock:
            self._subscriptions.discard(subscription)

    def close(self, within_seconds: float = 0.0) -> None:
        """End the waits and the thread; a later subscription starts another.

        SQLite's last connection brings its log into the database and removes it, so who closes a
        database waits for this one.

        Args:
            within_seconds: how long (0 or more) to wait until the thread has closed its connection.
        """
        with self._lock:
            subscriptions, self._subscriptions = list(self._subscriptions), WeakSet()
        for subscription in subscriptions:
            subscription.end()
        self._thread.stop(within_seconds)

    def _step(self) -> float | None:
        """Wait for a change and poll; return 0, or for how long there is nothing to do."""
        if not self._subscriptions:
            return None
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            return rest
        if self._failure is not None:
            self._listening.begin(self._failure)
            self._failure = None
            self._poll_and_rest()
        elif self._sees_a_change() or self._is_time_to_poll():
            self._poll_and_rest()
        return 0

    def _sees_a_change(self) -> bool:
        thread = threading.current_thread()
        try:
            if thread not in self._sources:
                self._sources[thread] = self._make_source()
            changed = self._sources[thread].changed(_LISTEN_SECONDS)
        except Exception as error:  # noqa: BLE001  # logged; whatever failed, waits rely on us
            self._stop_listening()
            self._failure = error  # logged a second later, unless the database was just closed
            self._rest(_RETRY_SECONDS)
            return False
        self._listening.end()
        return changed

    def _end(self) -> None:
        self._stop_listening()
        self._failure = None  # it failed because the database was closed

    def _stop_listening(self) -> None:
        source = self._sources.pop(threading.current_thread(), None)
        if source is not None:
            source.close()

    def _is_time_to_poll(self) -> bool:
        now = time.monotonic()
        return now >= max(self._rests_until, self._polled_at + _POLL_AT_LEAST_EVERY_SECONDS)

    def _poll_and_rest(self) -> None:
        began_at = time.monotonic()
        try:
            self._poll()
        except Exception as error:  # noqa: BLE001  # logged; whatever failed, waits rely on us
            self._polling.begin(error)
            self._rest(_RETRY_SECONDS)
            return
        self._polling.end()
        self._polled_at = time.monotonic()
        shortest, longest = _PAUSES_SECONDS
        took_seconds = self._polled_at - began_at
        self._rest(min(longest, max(shortest, took_seconds / _SHARE_OF_A_CORE)))

    def _rest(self, seconds: float) -> None:
        self._rests_until = time.monotonic() + seconds

    def _poll(self) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions)
        for statement in {each.statement for each in subscriptions}:
            self._tell(statement, [each for each in subscriptions if each.statement is statement])

    def _tell(self, statement: Statement, subscriptions: Iterable[ChangeSubscription]) -> None:
        names = {name: None for each in subscriptions for name in each.names}
        with no_fork():
            found = self._read(statement, {"names": json.dumps(list(names))})
        answers = {str(row[0]): row for row in found}
        for each in subscriptions:
            each.tell(answers)


def _outage(consequence: str) -> Outage:
    return Outage(
        _LOG,
        f"watching the database fails, {consequence}: %s",
        f"watching the database works again: no longer {consequence}",
    )
