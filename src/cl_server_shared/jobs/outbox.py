"""What this process has told of one database's jobs, and what of it has arrived."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, final
from weakref import ref

from cl_server_shared.database import Database
from cl_server_shared.errors import ContainerClosedError
from cl_server_shared.jobs.rows import UnannouncedRow, event_of_unannounced
from cl_server_shared.jobs.sql.outbox import ADOPT, FIRST_UNANNOUNCED, RECORD_ANNOUNCED
from cl_server_shared.models import JobEvent
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork
from cl_server_shared.protocols.events import Broadcaster, ConfirmingBroadcaster

type JobKey = tuple[str, int]
"""A job's `job_id` and `created_at`: together they are never another job's."""

_LOG: Final = logging.getLogger(__name__)
_OVERDUE_MS: Final = 5_000
_IN_HAND_AT_MOST: Final = 1_000
_REACHABLE_SECONDS: Final = 5.0


@final
class Outbox:
    """Tells the world of jobs' changes, and takes the mark from those that have arrived.

    A change marks its job (`unannounced_at`) in the statement that makes it. The mark goes once an
    event of the job's present state was acknowledged; a job that keeps it, since its process was
    killed or its event gave way, is *adopted* by any process 5 s later, and its present state is
    told again. Thread-safe.

    Args:
        broadcaster: tells the world; what it cannot confirm is told once, and not marked.
        database: where the jobs are; one in memory ends with its process, and is not marked.
        clock: tells the time.
        start: called when there is something to look after from now on.
        wake: called when `record` has something to do.
    """

    def __init__(
        self,
        broadcaster: Broadcaster,
        database: Database,
        clock: Clock,
        *,
        start: Callable[[], object],
        wake: Callable[[], object],
    ) -> None:
        self._broadcaster: Final = broadcaster
        self._confirming: Final = (
            broadcaster
            if isinstance(broadcaster, ConfirmingBroadcaster) and database.has_private_connections
            else None
        )
        self._database: Final = ref(database)  # it is the key under which this is kept
        self._clock: Final = clock
        self._start: Final = start
        self._wake: Final = wake
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin with nothing in hand: what a parent handed over, the parent hears of."""
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here
        self._in_hand: Counter[JobKey] = Counter()
        self._arrived: dict[JobKey, int] = {}
        self._last_arrival: float = 0

    @property
    def is_durable(self) -> bool:
        """Tell whether jobs are marked."""
        return self._confirming is not None

    def start(self) -> None:
        """Begin to adopt what others left behind, before this process has anything to tell."""
        if self._confirming is not None:
            self._start()

    def announce(self, event: JobEvent) -> None:
        """Tell the world of a committed change; returns at once."""
        try:
            self._announce(event)
        except ContainerClosedError:  # it closed since the change was committed, which holds
            _LOG.warning("Published after close, dropped: %r", event)

    def _announce(self, event: JobEvent) -> None:
        if self._confirming is None:
            self._broadcaster.publish(event)
            return
        with self._lock:
            self._in_hand[_key(event)] += 1
        self._start()
        try:
            self._confirming.publish_confirmed(event, partial(self._settle, event))
        except BaseException:
            self._settle(event, is_delivered=False)
            raise

    def record(self) -> None:
        """Take the marks from the jobs whose present state has arrived.

        Raises:
            DatabaseError: the database failed; what has arrived stays known.
        """
        with self._lock:
            arrived, self._arrived = self._arrived, {}
        database = self._database()
        if not arrived or database is None:
            return
        rows = [[job_id, created_at, seq] for (job_id, created_at), seq in arrived.items()]
        try:
            with no_fork():
                database.execute(RECORD_ANNOUNCED, {"announced": json.dumps(rows)})
        except BaseException:
            with self._lock:
                for key, seq in self._arrived.items():
                    arrived[key] = max(seq, arrived.get(key, 0))
                self._arrived = arrived
            raise

    def adopt(self) -> int:
        """Tell again what is overdue, while at most 1,000 jobs are in hand; return how many.

        None while events of this process wait and none arrives: there is no broker then. Nor while
        it is behind with its own: what others have in hand would come twice, and later.

        Raises:
            DatabaseError: the database failed.
        """
        database, now_ms = self._database(), self._clock.now_ms()
        room = self._room()
        if database is None or self._confirming is None or room <= 0:
            return 0
        with no_fork():
            found = _overdue(database, now_ms, room)
        events = [event_of_unannounced(row) for row in found]
        for event in events:
            if not self._is_known(_key(event)):
                self.announce(event)
        return len(events)

    def _settle(self, event: JobEvent, is_delivered: bool) -> None:  # noqa: FBT001  # a callback
        key = _key(event)
        with self._lock:
            self._in_hand[key] -= 1
            if self._in_hand[key] <= 0:
                del self._in_hand[key]
            if not is_delivered:
                return
            self._last_arrival = time.monotonic()
            self._arrived[key] = max(event.seq, self._arrived.get(key, 0))
        self._wake()

    def _is_known(self, key: JobKey) -> bool:
        with self._lock:
            return key in self._in_hand or key in self._arrived

    def _room(self) -> int:
        """Return how many jobs may be adopted now."""
        with self._lock:
            is_reachable = time.monotonic() - self._last_arrival < _REACHABLE_SECONDS
            in_hand = len(self._in_hand)
        return _IN_HAND_AT_MOST - in_hand if is_reachable or not in_hand else 0


def _overdue(database: Database, now_ms: int, room: int) -> list[UnannouncedRow]:
    """Take over jobs that are overdue, after a look that writes nothing."""
    overdue_at = now_ms - _OVERDUE_MS
    ((first,),) = database.execute(FIRST_UNANNOUNCED, {})
    if not isinstance(first, int) or first >= overdue_at:
        return []
    values = {"now": now_ms, "before": overdue_at, "limit": room}
    return [UnannouncedRow._make(row) for row in database.execute(ADOPT, values)]


def _key(event: JobEvent) -> JobKey:
    return event.job_id, event.created_at
