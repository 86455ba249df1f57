"""Claiming: the next jobs in line, and before them whatever has become due."""

import logging
import os
from collections.abc import Sequence
from typing import Final, final

from cl_server_shared.jobs import lifecycle, rows
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Applied
from cl_server_shared.jobs.job_table import JobTable, Lease
from cl_server_shared.jobs.leases import Claims, KnownJob
from cl_server_shared.jobs.parts import RepositoryParts
from cl_server_shared.jobs.rows import JobRow, Unreadable
from cl_server_shared.jobs.transitions import Announcer, Transitions, seen_in
from cl_server_shared.models import JobRecord

_LOG: Final = logging.getLogger(__name__)
_SWEEP_EVERY_MS: Final = 250


@final
class Claiming:
    """Claims for one repository.

    Args:
        jobs: where the jobs are.
        claims: remembers what was claimed.
        announcer: takes note of it.
        parts: the repository's collaborators.
    """

    def __init__(
        self, jobs: JobDatabase, claims: Claims, announcer: Announcer, parts: RepositoryParts
    ) -> None:
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._announcer: Final = announcer
        self._parts: Final = parts
        self._next_sweep_at: int = 0

    def fetch(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* jobs in line; none only if none of these types can be claimed."""
        if self._parts.clock.now_ms() >= self._next_sweep_at:
            self.sweep()
            self._jobs.delivery.start()  # a worker that finds nothing tells what others could not
        while True:
            taken = self._take(task_types, limit)
            if taken or not self.sweep():
                return taken

    def recover_expired(self) -> int:
        """Recover every job whose lease has ended; return how many."""
        recovered = 0
        while expired := self._jobs.store.expired(self._parts.clock.now_ms()):
            recovered += sum(self._recover(row) for row in expired)
        return recovered

    def sweep(self) -> bool:
        """Make claimable what is due; tell whether anything was."""
        now_ms = self._parts.clock.now_ms()
        self._next_sweep_at = now_ms + _SWEEP_EVERY_MS
        due_at = self._jobs.store.next_due_at()
        if due_at is None or due_at > now_ms:
            return False
        promoted = self._jobs.store.promote(now_ms)
        return self.recover_expired() + promoted > 0

    def _take(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        asked_at = self._parts.clock.now_ms()
        if limit == 1:
            taken = self._take_from(self._jobs.store, task_types, limit)
        else:
            with self._jobs.batch("fetch_next_jobs") as store:
                taken = self._take_from(store, task_types, limit)
        for seen, _ in taken:
            self._announcer.claimed(seen)
        if taken:
            self._parts.leases.watch(self._claims, self._jobs.database, leased_at=asked_at)
        return [record for _, record in taken]

    def _take_from(
        self, store: JobTable, task_types: Sequence[str], limit: int
    ) -> list[tuple[KnownJob, JobRecord]]:
        taken: list[tuple[KnownJob, JobRecord]] = []
        while len(taken) < limit and (found := self._claim(store, task_types, limit - len(taken))):
            for row in found:
                record = rows.record_of(row)
                if isinstance(record, Unreadable):
                    self._end_unreadable(store, row, record.reason)
                else:
                    taken.append((seen_in(row), record))
        return taken

    def _claim(self, store: JobTable, task_types: Sequence[str], limit: int) -> list[JobRow]:
        begins_at, ends_at = self._parts.leases.next_lease()
        lease = Lease(begins_at, ends_at, f"{self._parts.worker_id}:{os.getpid()}")
        if limit > 1:
            return store.claim_each(task_types, limit, lease)
        row = store.claim(task_types, lease)
        return [] if row is None else [row]

    def _end_unreadable(self, store: JobTable, row: JobRow, reason: str) -> None:
        """End a row that other code broke, so that it does not block the line."""
        _LOG.error("job %s: %s", row.job_id, reason)
        seen, now_ms = seen_in(row), self._parts.clock.now_ms()
        ended = lifecycle.give_up(seen.state, reason=reason, now_ms=now_ms)
        self._changes(store).store(seen, ended)

    def _recover(self, row: JobRow) -> bool:
        seen = seen_in(row)
        now_ms = self._parts.clock.now_ms()
        decision = lifecycle.recover(seen.state, now_ms=now_ms)
        if not isinstance(decision, Applied):
            return False
        changes = self._changes(self._jobs.store)
        if not changes.store(seen, decision.state, expired_at=now_ms):
            return False
        _LOG.warning("job %s: claim %d expired", row.job_id, row.claim_number)
        return True

    def _changes(self, store: JobTable) -> Transitions:
        return Transitions(store, self._claims, self._parts.clock, self._announcer.changed)
