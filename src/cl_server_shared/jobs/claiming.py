"""Claiming: the next jobs in claim order, and before them whatever has become due."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Final, final

from cl_server_shared.jobs import lifecycle, rows
from cl_server_shared.jobs.claim_table import Lease
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import ChangedTo, KnownJob, Recover
from cl_server_shared.jobs.job_table import JobTable
from cl_server_shared.jobs.leases import Claims, LeaseKeeper
from cl_server_shared.jobs.rows import JobRow, Unreadable, known_job
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.models import JobRecord

_LOG: Final = logging.getLogger(__name__)
_SWEEP_EVERY_MS: Final = 250


@final
class Claiming:
    """Claims for one repository.

    Args:
        jobs: where the jobs are.
        claims: the claims of the repository.
        transitions: carry out what is decided, and announce it.
        leases: keeps the claims alive.
        worker_id: who claims, for people to read.
    """

    def __init__(
        self,
        jobs: JobDatabase,
        claims: Claims,
        transitions: Transitions,
        leases: LeaseKeeper,
        worker_id: str,
    ) -> None:
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._transitions: Final = transitions
        self._leases: Final = leases
        self._worker_id: Final = worker_id
        self._next_sweep_at: int = 0

    def fetch(self, task_types: Sequence[str], limit: int, now_ms: int) -> list[JobRecord]:
        """Claim up to *limit* jobs at a time; none only if none of these types can be claimed."""
        began_at = time.monotonic()
        if now_ms >= self._next_sweep_at:
            self.sweep(now_ms)
            self._jobs.outbox.start()  # a worker that finds nothing tells what others could not
        while True:
            claimed = self._claim(task_types, limit, now_ms)
            if claimed:
                self._leases.keep(self._claims, self._jobs.database)
                if time.monotonic() - began_at > self._leases.lease_ms / 2000:
                    self._leases.renew()  # it waited for SQLite's lock, its leases begun already
                return claimed
            if not self.sweep(now_ms):
                return []

    def recover_expired(self, now_ms: int) -> int:
        """Recover every job whose lease has ended; return how many."""
        recovered = 0
        while expired := self._jobs.table.expired(now_ms):
            recovered += sum(self._recover(row, now_ms) for row in expired)
        return recovered

    def sweep(self, now_ms: int) -> bool:
        """Make claimable what is due; tell whether anything was."""
        self._next_sweep_at = now_ms + _SWEEP_EVERY_MS
        due_at = self._jobs.table.next_due_at()
        if due_at is None or due_at > now_ms:
            return False
        promoted = self._jobs.table.promote(now_ms)
        return self.recover_expired(now_ms) + promoted > 0

    def _claim(self, task_types: Sequence[str], limit: int, now_ms: int) -> list[JobRecord]:
        lease = Lease(now_ms, now_ms + self._leases.lease_ms, f"{self._worker_id}:{os.getpid()}")
        if limit == 1:
            claimed = self._claim_from(self._transitions, task_types, limit, lease)
        else:
            with self._transitions.batch("fetch_next_jobs") as batch:
                claimed = self._claim_from(batch, task_types, limit, lease)
        for known, _ in claimed:
            self._transitions.claimed(known, now_ms)
        return [record for _, record in claimed]

    def _claim_from(
        self, transitions: Transitions, task_types: Sequence[str], limit: int, lease: Lease
    ) -> list[tuple[KnownJob, JobRecord]]:
        claimed: list[tuple[KnownJob, JobRecord]] = []
        while len(claimed) < limit:
            found = _claimed_rows(transitions.table, task_types, limit - len(claimed), lease)
            if not found:
                break
            for row in found:
                record = rows.record_of(row)
                if isinstance(record, Unreadable):
                    _end_unreadable(transitions, row, record.reason, lease.begins_at)
                else:
                    claimed.append((known_job(row), record))
        return claimed

    def _recover(self, row: JobRow, now_ms: int) -> bool:
        known = known_job(row)
        decision = lifecycle.decide(known.state, Recover(now_ms))
        if not isinstance(decision, ChangedTo):
            return False
        if not self._transitions.save(known, decision.state, now_ms, expired_at=now_ms):
            return False
        _LOG.warning("job %s: claim %d expired", row.job_id, row.state.claim_number)
        return True


def _claimed_rows(
    table: JobTable, task_types: Sequence[str], limit: int, lease: Lease
) -> list[JobRow]:
    if limit > 1:
        return table.claim_each(task_types, limit, lease)
    row = table.claim(task_types, lease)
    return [] if row is None else [row]


def _end_unreadable(transitions: Transitions, row: JobRow, reason: str, now_ms: int) -> None:
    """End a row that other code broke, so that the jobs behind it are served."""
    _LOG.error("job %s: %s", row.job_id, reason)
    known = known_job(row)
    transitions.save(known, lifecycle.give_up(known.state, reason=reason, now_ms=now_ms), now_ms)
