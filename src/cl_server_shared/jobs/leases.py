"""The claims of a repository, and the thread that keeps their leases from expiring."""

import json
import logging
import threading
import time
from typing import Final, final
from weakref import WeakKeyDictionary

from cl_server_shared.database import Database
from cl_server_shared.jobs.job_state import FINAL, KnownJob
from cl_server_shared.jobs.sql.claims import RENEW
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork
from cl_server_shared.process.log_limits import Outage

_LOG: Final = logging.getLogger(__name__)
_LOST_CLAIMS_KEPT: Final = 10_000
_RENEWALS_PER_LEASE: Final = 3


@final
class Claims:
    """Remembers by job id under which claim number a repository works; thread-safe.

    It is what makes fencing need no argument. A lost claim stays remembered, so that a late report
    is known for what it is: the oldest are forgotten beyond 10,000.
    """

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without claims: those of a parent are the parent's."""
        self._lock = threading.Lock()
        self._live: dict[str, KnownJob] = {}
        self._lost: dict[str, int] = {}
        self.job_ids: set[str] = set()
        """The jobs of live and of lost claims, for who needs to know of none."""
        self.late_reports: int = 0

    def hold(self, known: KnownJob) -> None:
        """Remember a new claim, or how its job is now."""
        with self._lock:
            self.job_ids.add(known.job_id)
            self._live[known.job_id] = known
            self._lost.pop(known.job_id, None)

    def get(self, job_id: str) -> KnownJob | None:
        """Return the claimed job as it was last known; None without a live claim."""
        return self._live.get(job_id)

    def number(self, job_id: str) -> int | None:
        """Return the number of the claim on the job, live or lost; None if it was never claimed."""
        known = self._live.get(job_id)
        return self._lost.get(job_id) if known is None else known.state.claim_number

    def follow(self, known: KnownJob) -> None:
        """Take note of how a job is after a change, if it was claimed here."""
        job_id = known.job_id
        if job_id not in self.job_ids:
            return
        held = self.number(job_id)
        if held is not None and known.state.claim_number != held:
            self.lose(job_id, held)
        elif known.state.status in FINAL:
            self.end(job_id)
        else:
            self.hold(known)

    def end(self, job_id: str) -> None:
        """Forget a claim whose job is final or gone."""
        if job_id not in self.job_ids:
            return  # as for nearly every job that is added
        with self._lock:
            self.job_ids.discard(job_id)
            self._live.pop(job_id, None)
            self._lost.pop(job_id, None)

    def lose(self, job_id: str, number: int) -> bool:
        """Remember that live claim *number* is no longer valid; False: it was ended meanwhile."""
        with self._lock:
            known = self._live.get(job_id)
            if known is None or known.state.claim_number != number:
                return False
            del self._live[job_id]
            self._lost[job_id] = number
            while len(self._lost) > _LOST_CLAIMS_KEPT:
                forgotten = next(iter(self._lost))
                del self._lost[forgotten]
                if forgotten not in self._live:
                    self.job_ids.discard(forgotten)
            return True

    def count_late_report(self) -> None:
        """Count a report under a lost claim, in `late_reports`."""
        with self._lock:
            self.late_reports += 1

    def live(self) -> dict[str, int]:
        """Return the claim numbers of the live claims by job id."""
        with self._lock:
            return {job_id: known.state.claim_number for job_id, known in self._live.items()}


@final
class LeaseKeeper:
    """Renews the leases of this process's claims, every third of a lease.

    One daemon thread for all repositories that share the keeper: never an event loop, which a
    plugin may block for longer than a lease. It starts at the first claim, ends when nothing is
    claimed, and is made anew in a forked child. A renewal that finds a claim gone marks it lost.
    Where the system refuses the thread, each claim and report tries again, and renews by itself
    what is due.

    Args:
        lease_seconds: how long a claim stays valid without a renewal, 1 or more.
        clock: tells when a renewed lease ends.
    """

    def __init__(self, *, lease_seconds: float, clock: Clock) -> None:
        self._lease_seconds: Final = lease_seconds
        self.lease_ms: Final = int(lease_seconds * 1000)
        """How long a claim stays valid, in milliseconds."""
        self._clock: Final = clock
        self._thread: Final = BackgroundThread("lease-keeper", self._renew_in_time)
        self._outage: Final = Outage(
            _LOG, "leases cannot be renewed, trying again: %s", "leases are renewed again"
        )
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without claims: a parent keeps its own alive."""
        self._lock = threading.Lock()
        self._watched: WeakKeyDictionary[Claims, Database] = WeakKeyDictionary()
        self.is_keeping: bool = False
        """Whether there is a thread for the claims that it was given."""
        self._is_refused = False
        self._renew_at = 0.0

    def close(self) -> None:
        """Let every claim go: its lease ends, and others may take the job; harmless to repeat."""
        with self._lock:
            self._watched.clear()
            self.is_keeping = False
        self._thread.stop()

    def keep(self, claims: Claims, database: Database) -> None:
        """Keep *claims*, of jobs in *database*, alive from now on, for as long as there are any."""
        if database.is_for_one_thread:
            return  # nobody else can take them
        with self._lock:
            if claims not in self._watched:
                self._watched[claims] = database
            if self.is_keeping:
                return
            if not self._is_refused:  # else the leases that wait for a thread began earlier
                self._renew_at = time.monotonic() + self._lease_seconds / _RENEWALS_PER_LEASE
            self.is_keeping = self._thread.wake()
            self._is_refused = not self.is_keeping
        if self._is_refused:
            self._renew_if_due()

    def renew(self) -> None:
        """Renew every live claim once; where a database fails, its claims stay as they are."""
        with self._lock:
            watched = list(self._watched.items())
        for claims, database in watched:
            try:
                self._renew(claims, database)
            except Exception as error:  # noqa: BLE001  # whatever fails, the other leases must be kept
                self._outage.begin(error)
            else:
                self._outage.end()

    def _renew(self, claims: Claims, database: Database) -> None:
        live = claims.live()
        if not live:
            return
        ends_at = self._clock.now_ms() + self.lease_ms
        values = {"claims": json.dumps(live), "lease_expires_at": ends_at}
        with no_fork():
            renewed = {job_id for (job_id,) in database.execute(RENEW, values)}
        for job_id in live.keys() - renewed:
            if claims.lose(job_id, live[job_id]):
                _LOG.warning("job %s: claim %d was lost", job_id, live[job_id])

    def _renew_in_time(self) -> float | None:
        """Renew what is due; return the seconds to the next renewal, None: nothing is claimed."""
        self._renew_if_due()
        with self._lock:
            # Claims are held before `keep` asks, under the same lock: none is overlooked.
            self.is_keeping = any(claims.live() for claims in self._watched)
        return max(0.0, self._renew_at - time.monotonic()) if self.is_keeping else None

    def _renew_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._renew_at:
            self.renew()
            self._renew_at = now + self._lease_seconds / _RENEWALS_PER_LEASE
