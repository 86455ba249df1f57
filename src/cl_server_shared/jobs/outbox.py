"""The outbox: which changes of jobs this process has published, and what of it was acknowledged."""

import json
import logging
import threading
import time
from collections import Counter
from functools import partial
from typing import Final, final
from weakref import ref

from cl_server_shared.database import Database
from cl_server_shared.jobs.rows import UnannouncedRow, event_of_unannounced
from cl_server_shared.jobs.sql.outbox import (
    FIRST_UNANNOUNCED,
    RECORD_ANNOUNCED,
    TAKE_OVER_UNANNOUNCED,
)
from cl_server_shared.models import JobEvent
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork
from cl_server_shared.protocols.events import Broadcaster, ConfirmingBroadcaster

type JobKey = tuple[str, int]
"""A job's `job_id` and `created_at`: together they are never another job's."""

_LOG: Final = logging.getLogger(__name__)
_OVERDUE_MS: Final = 5_000
_MOST_IN_FLIGHT: Final = 1_000
_REACHABLE_SECONDS: Final = 5.0


@final
class Outbox:
    """Publishes the changes of one database's jobs, and records what the broker acknowledged.

    The jobs' rows are the outbox: a change marks its job (`unannounced_at`) in the statement that
    makes it. The mark goes once an event of the job's present state was acknowledged; a job that
    keeps it, since its process was killed or its event was dropped, is *taken over* by any process
    5 s later, and its present state is published again. Thread-safe.

    Args:
        broadcaster: publishes; what it cannot confirm is published once, and not marked.
        database: where the jobs are; one in memory ends with its process, and is not marked.
        clock: tells how long a job has been waiting to be announced.
        relay: the thread that calls `record` and `take_over`.
    """

    def __init__(
        self, broadcaster: Broadcaster, database: Database, clock: Clock, relay: BackgroundThread
    ) -> None:
        self._broadcaster: Final = broadcaster
        self._confirming: Final = (
            broadcaster
            if isinstance(broadcaster, ConfirmingBroadcaster) and database.has_private_connections
            else None
        )
        self.is_durable: Final = self._confirming is not None
        """Whether jobs are marked until their change was acknowledged."""
        self._database: Final = ref(database)  # it is the key under which this is kept
        self._clock: Final = clock
        self._relay: Final = relay
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin with nothing in flight: what a parent published is acknowledged to it."""
        self._lock = threading.RLock()  # a signal handler may publish while its thread is in here
        self._in_flight: Counter[JobKey] = Counter()
        self._acknowledged: dict[JobKey, int] = {}
        self._last_acknowledged_at: float = 0

    def start(self) -> None:
        """Begin to take over what others left, before this process has anything to publish."""
        if self._confirming is not None and not self._relay.is_running:
            self._relay.wake()

    def announce(self, event: JobEvent) -> None:
        """Publish a committed change; returns at once.

        What is committed stays so: what anybody's broadcaster raises is logged.
        """
        try:
            if self._confirming is None:
                self._broadcaster.publish(event)
            else:
                self._publish_confirmed(self._confirming, event)
        except Exception:  # noqa: BLE001  # anybody's broadcaster: what it raises is logged
            _LOG.exception("job %s: event %d was not announced", event.job_id, event.seq)

    def record(self) -> None:
        """Take the marks from the jobs whose present state was acknowledged.

        Raises:
            DatabaseError: the database failed; what was acknowledged stays known.
        """
        with self._lock:
            acknowledged, self._acknowledged = self._acknowledged, {}
        database = self._database()
        if not acknowledged or database is None:
            return
        rows = [[job_id, created_at, seq] for (job_id, created_at), seq in acknowledged.items()]
        try:
            with no_fork():
                database.execute(RECORD_ANNOUNCED, {"announced": json.dumps(rows)})
        except BaseException:
            with self._lock:
                for key, seq in self._acknowledged.items():
                    acknowledged[key] = max(seq, acknowledged.get(key, 0))
                self._acknowledged = acknowledged
            raise

    def take_over(self) -> int:
        """Publish again what is overdue, while at most 1,000 jobs are in flight; return how many.

        None while events of this process wait and none is acknowledged: there is no broker then.
        Nor while it is behind with its own: what others have in flight would come twice, and later.

        Raises:
            DatabaseError: the database failed.
        """
        database, room = self._database(), self._room()
        if database is None or self._confirming is None or room <= 0:
            return 0
        with no_fork():
            found = _overdue(database, self._clock.now_ms(), room)
        events = [event_of_unannounced(row) for row in found]
        for event in events:
            if not self._is_known(_key(event)):
                self.announce(event)
        return len(events)

    def _publish_confirmed(self, broadcaster: ConfirmingBroadcaster, event: JobEvent) -> None:
        with self._lock:
            self._in_flight[_key(event)] += 1
        self.start()
        try:
            broadcaster.publish_confirmed(event, partial(self._settle, event))
        except BaseException:
            self._settle(event, is_delivered=False)
            raise

    def _settle(self, event: JobEvent, is_delivered: bool) -> None:  # noqa: FBT001  # a callback
        key = _key(event)
        with self._lock:
            self._in_flight[key] -= 1
            if self._in_flight[key] <= 0:
                del self._in_flight[key]
            if not is_delivered:
                return
            self._last_acknowledged_at = time.monotonic()
            self._acknowledged[key] = max(event.seq, self._acknowledged.get(key, 0))
        self._relay.wake()

    def _is_known(self, key: JobKey) -> bool:
        with self._lock:
            return key in self._in_flight or key in self._acknowledged

    def _room(self) -> int:
        """Return how many jobs may be taken over now."""
        with self._lock:
            is_reachable = time.monotonic() - self._last_acknowledged_at < _REACHABLE_SECONDS
            in_flight = len(self._in_flight)
        return _MOST_IN_FLIGHT - in_flight if is_reachable or not in_flight else 0


def _overdue(database: Database, now_ms: int, room: int) -> list[UnannouncedRow]:
    """Take over jobs that are overdue, after a read that changes nothing."""
    overdue_at = now_ms - _OVERDUE_MS
    ((first,),) = database.execute(FIRST_UNANNOUNCED, {})
    if not isinstance(first, int) or first >= overdue_at:
        return []
    values = {"now": now_ms, "before": overdue_at, "limit": room}
    return [UnannouncedRow._make(row) for row in database.execute(TAKE_OVER_UNANNOUNCED, values)]


def _key(event: JobEvent) -> JobKey:
    return event.job_id, event.created_at
