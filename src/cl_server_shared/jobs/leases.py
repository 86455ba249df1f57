"""The thread that keeps live claims alive."""

import json
import logging
import threading
from typing import Final, NamedTuple, final
from weakref import WeakKeyDictionary

from cl_server_shared.database import Database
from cl_server_shared.jobs.job_state import JobState
from cl_server_shared.jobs.sql.claims import RENEW
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork

_LOG: Final = logging.getLogger(__name__)
_RENEWALS_PER_LEASE: Final = 3


_LOST_CLAIMS_KEPT: Final = 10_000


class KnownJob(NamedTuple):
    """A job as this repository last saw it.

    *row_id* is its primary key, which another job may get when it was removed; together with
    *created_at* (ms) it is this job's alone.
    """

    row_id: int
    job_id: str
    task_type: str
    created_at: int
    state: JobState

    def in_state(self, state: JobState) -> "KnownJob":
        """Return the same job in another state."""
        return KnownJob(self.row_id, self.job_id, self.task_type, self.created_at, state)


@final
class Claims:
    """Remembers by job id under which claim number this repository works; thread-safe.

    A lost claim stays remembered, so that a late report is known for what it is: the oldest are
    forgotten beyond 10,000.
    """

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without claims: those of a parent are the parent's."""
        self._lock = threading.Lock()
        self._live: dict[str, KnownJob] = {}
        self._lost: dict[str, int] = {}
        self.late_reports: int = 0

    def hold(self, seen: KnownJob) -> None:
        """Remember a new claim, or how its job looks now."""
        with self._lock:
            self._live[seen.job_id] = seen
            self._lost.pop(seen.job_id, None)

    def get(self, job_id: str) -> KnownJob | None:
        """Return the claimed job as it was last seen; None without a live claim."""
        return self._live.get(job_id)

    def number(self, job_id: str) -> int | None:
        """Return the number of the claim on the job, live or lost; None if it was never claimed."""
        seen = self._live.get(job_id)
        return self._lost.get(job_id) if seen is None else seen.state.claim_number

    def end(self, job_id: str) -> None:
        """Forget a claim whose job is final or gone."""
        if job_id not in self._live and job_id not in self._lost:
            return  # as for nearly every job that is added
        with self._lock:
            self._live.pop(job_id, None)
            self._lost.pop(job_id, None)

    def lose(self, job_id: str, number: int) -> bool:
        """Remember that live claim *number* is no longer valid; False: it was ended meanwhile."""
        with self._lock:
            seen = self._live.get(job_id)
            if seen is None or seen.state.claim_number != number:
                return False
            del self._live[job_id]
            self._lost[job_id] = number
            while len(self._lost) > _LOST_CLAIMS_KEPT:
                del self._lost[next(iter(self._lost))]
            return True

    def count_late_report(self) -> None:
        """Count a report under a lost claim, in `late_reports`."""
        with self._lock:
            self.late_reports += 1

    def live(self) -> dict[str, int]:
        """Return the claim numbers of the live claims by job id."""
        with self._lock:
            return {job_id: seen.state.claim_number for job_id, seen in self._live.items()}


@final
class LeaseKeeper:
    """Renews the leases of this process's claims, every third of a lease.

    One daemon thread for all repositories that share the keeper: never an event loop, which a
    plugin may block for longer than a lease. It starts at the first claim, ends when nothing is
    claimed, and is made anew in a forked child. A renewal that finds a claim gone marks it lost.

    Args:
        lease_seconds: how long a claim stays valid without a renewal, 1 or more.
        clock: tells when a renewed lease ends.
    """

    def __init__(self, *, lease_seconds: float, clock: Clock) -> None:
        self._lease_seconds: Final = lease_seconds
        self._clock: Final = clock
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without claims and thread: a parent keeps its own alive."""
        self._lock = threading.Lock()
        self._watched: WeakKeyDictionary[Claims, Database] = WeakKeyDictionary()
        self._thread: threading.Thread | None = None

    def next_lease(self) -> tuple[int, int]:
        """Return the time, and when a lease that begins now ends, in ms since the epoch."""
        now_ms = self._clock.now_ms()
        return now_ms, now_ms + int(self._lease_seconds * 1000)

    def watch(self, claims: Claims, database: Database, *, leased_at: int) -> None:
        """Keep *claims* alive from now on, for as long as there are any.

        Args:
            claims: the claims of one repository.
            database: where their jobs are.
            leased_at: when the newest lease began (ms). It may be half over: a claim waits for
                SQLite's lock with its lease already given.
        """
        with self._lock:
            if claims not in self._watched:
                self._watched[claims] = database
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()
        if self._clock.now_ms() - leased_at > self._lease_seconds * 500:
            self.renew()

    def renew(self) -> None:
        """Renew every live claim once; where a database fails, its claims stay as they are."""
        with self._lock:
            watched = list(self._watched.items())
        for claims, database in watched:
            try:
                self._renew(claims, database)
            except Exception:  # noqa: BLE001  # whatever fails, the other leases must be kept
                _LOG.exception("leases could not be renewed; trying again")

    def _renew(self, claims: Claims, database: Database) -> None:
        live = claims.live()
        if not live:
            return
        _, ends_at = self.next_lease()
        values = {"claims": json.dumps(live), "lease_expires_at": ends_at}
        with no_fork():
            renewed = {job_id for (job_id,) in database.execute(RENEW, values)}
        for job_id in live.keys() - renewed:
            if claims.lose(job_id, live[job_id]):
                _LOG.warning("job %s: claim %d was lost", job_id, live[job_id])

    def _run(self) -> None:
        pause = threading.Event()
        while not self._may_end():
            pause.wait(self._lease_seconds / _RENEWALS_PER_LEASE)
            self.renew()

    def _may_end(self) -> bool:
        with self._lock:
            if any(claims.live() for claims in self._watched):
                return False
            self._thread = None
            return True
