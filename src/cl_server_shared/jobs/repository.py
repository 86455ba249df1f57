"""The repository: read -> decide -> store if nothing changed meanwhile -> announce."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, override

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import DatabaseOptions
from cl_server_shared.jobs import lifecycle, rows
from cl_server_shared.jobs.claims import Claims, Seen
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.lifecycle import Applied, Decision, JobState, Refused, Report, Unchanged
from cl_server_shared.jobs.retry import RetryPolicy
from cl_server_shared.jobs.rows import JobRow, Unreadable
from cl_server_shared.jobs.store import JobStore
from cl_server_shared.models import JobEvent, JobRecord
from cl_server_shared.protocols import (
    Broadcaster,
    Clock,
    JobRecordLike,
    JobRecordUpdateLike,
    JobRepository,
)

_LOG: Final = logging.getLogger(__name__)
_SWEEP_EVERY_MS: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """What a repository allows.

    Args:
        max_retries: tries after the first that a new job gets, 0 or more.
        retry: when a failed job is tried again.
        json_max_bytes: the longest `params` and `output`, in bytes of JSON text.
    """

    max_retries: int = 3
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    json_max_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryParts:
    """What a repository works with.

    Args:
        broadcaster: is told of every change after it was committed.
        clock: tells the time.
        leases: keeps the claims alive.
        worker_id: who claims, for people to read.
        jitter: gives random numbers, 0 <= x < 1.
        policy: what is allowed.
        options: how the database is used; the first repository of an engine decides.
    """

    broadcaster: Broadcaster
    clock: Clock
    leases: LeaseKeeper
    worker_id: str
    jitter: Callable[[], float]
    policy: JobPolicy
    options: DatabaseOptions


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no job of that id."""


type Outcome = Decision | NotFound
"""`Applied | Unchanged | Refused | NotFound`."""


class SqlJobRepository(JobRepository):
    """Jobs in a SQL database: SQLite or PostgreSQL.

    Cheap to build: the constructor opens, starts and waits for nothing. It remembers the claims
    that it made, so whoever claims through it must also report through it. Thread-safe.

    Args:
        session_factory: bound to the engine of the database.
        parts: the collaborators.
    """

    def __init__(self, session_factory: sessionmaker[Session], parts: RepositoryParts) -> None:
        self._store: Final = JobStore(session_factory, parts.options)
        self._parts: Final = parts
        self._policy: Final = parts.policy
        self._clock: Final = parts.clock
        self._claims: Final = Claims()
        self._next_sweep_at: int = 0

    @override
    def add_job(
        self,
        job: JobRecordLike,
        created_by: str | None = None,
        priority: int | None = None,
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed.

        Raises:
            InvalidJobError: the record, *created_by* or *priority* (a signed 64-bit integer; 0 by
                default, higher is served first) cannot be stored.
            DatabaseError: the database failed; adding the same job again is safe.
        """
        now_ms = self._clock.now_ms()
        record = rows.checked_record(job)
        row = rows.new_row(record, now_ms=now_ms, json_max_bytes=self._policy.json_max_bytes)
        row["created_by"] = rows.checked_creator(created_by)
        row["priority"] = rows.checked_priority(priority)
        row["max_retries"] = self._policy.max_retries
        if not self._store.add(row):
            return False
        self._announce(
            JobEvent(
                job_id=record.job_id,
                event_type=record.status,
                timestamp=now_ms,
                progress=record.progress,
                task_type=record.task_type,
                seq=1,
            )
        )
        return True

    @override
    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id.

        A row that other code wrote and no record can hold comes back with status `error`, empty
        params and the reason as its message; the row itself stays as it is.

        Raises:
            DatabaseError: the database failed.
        """
        row = self._store.read(job_id)
        if row is None:
            return None
        record = rows.record_of(row)
        if isinstance(record, Unreadable):
            return rows.record_of_unreadable(row, record.reason)
        return record

    @override
    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for.

        False: there is no such job, it is final, its progress is further, or this repository's
        claim on it was lost; nothing was changed. `apply_update` tells which.

        Raises:
            InvalidJobError: the update cannot be stored.
            DatabaseError: the database failed; the same update may be repeated.
        """
        return isinstance(self.apply_update(job_id, updates), Applied | Unchanged)

    def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        """Change a live job, and tell what became of it.

        Raises:
            InvalidJobError: the update cannot be stored.
            DatabaseError: the database failed; the same update may be repeated.
        """
        change = rows.checked_change(updates, self._policy.json_max_bytes)
        report = Report(
            held_claim=self._claims.number(job_id),
            now_ms=self._clock.now_ms(),
            retry=self._policy.retry,
            jitter=self._parts.jitter(),
        )
        outcome = self._change(job_id, lambda state: lifecycle.update(state, change, report))
        if isinstance(outcome, Refused):
            _LOG.warning("job %s: an update was refused: %s", job_id, outcome.reason)
        return outcome

    @override
    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first.

        Jobs whose worker stopped renewing its lease are taken over by the same call. None: no job
        of these types can be claimed now.

        Raises:
            InvalidJobError: *task_types* is no sequence of texts.
            DatabaseError: the database failed; what it may have claimed returns after its lease.
        """
        wanted = rows.checked_task_types(task_types)
        if not wanted:
            return None
        if self._clock.now_ms() >= self._next_sweep_at:
            self._sweep()
        while True:
            row = self._claim(wanted)
            if row is None and not self._sweep():
                return None
            record = None if row is None else self._claimed(row)
            if record is not None:
                return record

    @override
    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id.

        Raises:
            DatabaseError: the database failed; deleting again is safe.
        """
        self._claims.end(job_id)
        return self._store.delete(job_id)

    def recover_expired(self) -> int:
        """Put jobs whose lease has ended back into the queue, or end those whose tries are used up.

        `fetch_next_job` does so by itself; this is for a process that never claims. Returns how
        many jobs changed.

        Raises:
            DatabaseError: the database failed; recovering again is safe.
        """
        recovered = 0
        while expired := self._store.expired(self._clock.now_ms()):
            recovered += sum(self._recover(row) for row in expired)
        return recovered

    def _recover(self, row: JobRow) -> bool:
        now_ms = self._clock.now_ms()
        seen = _seen(row)
        decision = lifecycle.recover(seen.state, now_ms=now_ms)
        if not isinstance(decision, Applied) or not self._stored(seen, decision.state, now_ms):
            return False
        _LOG.warning("job %s: claim %d expired", row.job_id, row.claim_number)
        return True

    def _sweep(self) -> bool:
        """Make claimable what is due; tell whether anything was."""
        now_ms = self._clock.now_ms()
        self._next_sweep_at = now_ms + _SWEEP_EVERY_MS
        due_at = self._store.next_due_at()
        if due_at is None or due_at > now_ms:
            return False
        promoted = self._store.promote(now_ms)
        return self.recover_expired() + promoted > 0

    def _claim(self, task_types: Sequence[str]) -> JobRow | None:
        return self._store.claim(
            task_types,
            now_ms=self._clock.now_ms(),
            lease_expires_at=self._parts.leases.lease_end_ms(),
            worker_id=f"{self._parts.worker_id}:{os.getpid()}",
        )

    def _claimed(self, row: JobRow) -> JobRecord | None:
        """Take a claimed row over, or end it where no record can hold it."""
        record = rows.record_of(row)
        seen = _seen(row)
        now_ms = self._clock.now_ms()
        if isinstance(record, Unreadable):
            _LOG.error("job %s: %s", row.job_id, record.reason)
            ended = lifecycle.give_up(seen.state, reason=record.reason, now_ms=now_ms)
            self._stored(seen, ended, now_ms)
            return None
        self._claims.hold(seen)
        self._parts.leases.watch(self._claims, self._store.database)
        self._announce(_event(seen, now_ms))
        return record

    def _change(self, job_id: str, decide: Callable[[JobState], Decision]) -> Outcome:
        """Decide on the job as it was last seen; where it changed since, look and decide anew."""
        seen = self._claims.get(job_id)
        while True:
            if seen is None:
                row = self._store.read(job_id)
                if row is None:
                    self._claims.end(job_id)
                    return NotFound()
                seen = _seen(row)
            decision = decide(seen.state)
            if not isinstance(decision, Applied):
                return decision
            if self._stored(seen, decision.state, self._clock.now_ms()):
                return decision
            seen = None

    def _stored(self, seen: Seen, state: JobState, now_ms: int) -> bool:
        """Store and announce *state*, unless the job is no longer as it was seen."""
        stored = self._store.store(seen.job_id, seen.state, state, now_ms)
        if stored is None:
            return False
        now_seen = Seen(seen.job_id, seen.task_type, stored)
        self._remember(now_seen)
        self._announce(_event(now_seen, now_ms))
        return True

    def _remember(self, seen: Seen) -> None:
        held = self._claims.number(seen.job_id)
        if held is None:
            return
        if seen.state.claim_number != held:
            self._claims.lose(seen.job_id, held)
        elif lifecycle.is_final(seen.state):
            self._claims.end(seen.job_id)
        else:
            self._claims.hold(seen)

    def _announce(self, event: JobEvent) -> None:
        """Tell the world; what is committed stays so, whatever a broadcaster does."""
        try:
            self._parts.broadcaster.publish(event)
        except Exception:  # noqa: BLE001  # anybody's broadcaster: what it raises is logged
            _LOG.exception("job %s: event %d was not announced", event.job_id, event.seq)


def _seen(row: JobRow) -> Seen:
    return Seen(row.job_id, row.task_type, rows.state_of(row))


def _event(seen: Seen, now_ms: int) -> JobEvent:
    return JobEvent(
        job_id=seen.job_id,
        event_type=seen.state.status,
        timestamp=now_ms,
        progress=seen.state.progress,
        task_type=seen.task_type,
        seq=seen.state.event_seq,
    )
