"""The repository: what services and workers call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, override

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import DatabaseOptions
from cl_server_shared.jobs import arguments, paging, rows, validation
from cl_server_shared.jobs.after_commit import after_commit
from cl_server_shared.jobs.claiming import Claiming
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Cancel, Change, Release, Request, RetryByHand
from cl_server_shared.jobs.leases import Claims, LeaseKeeper
from cl_server_shared.jobs.new_jobs import NewRow, Terms, new_row, one_of_many
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.reader import SqlJobReader
from cl_server_shared.jobs.reporting import Reporting, goes_on, raise_if_over
from cl_server_shared.jobs.sql.search import Eligible
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.jobs.waiting.watches import JobWatches
from cl_server_shared.models import (
    JobFilter,
    JobRecord,
    JobStatus,
    NewJob,
)
from cl_server_shared.models.outcome import Applied, Deferred, Outcome, Refused, Unchanged
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.jobs import JobManagement, JobRecordLike, JobRecordUpdateLike

_CLAIM_NUMBERS: Final = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryParts:
    """What a repository works with, brought by the container.

    Args:
        outbox: publishes every change after it was committed.
        clock: tells the time.
        leases: keeps the claims alive.
        worker_id: who claims, for people to read; unique per process start.
        jitter: gives random numbers, 0 <= x < 1.
        policy: what is allowed.
        options: how the database is used; the first repository of an engine decides.
    """

    outbox: OutboxRelay
    clock: Clock
    leases: LeaseKeeper
    worker_id: str
    jitter: Callable[[], float]
    policy: JobPolicy
    options: DatabaseOptions


class SqlJobRepository(SqlJobReader, JobManagement):
    """Jobs in a SQL database: SQLite or PostgreSQL.

    Cheap to build: the constructor opens, starts and waits for nothing. It remembers the claims
    that it made, so whoever claims through it must also report through it. Thread-safe.

    Args:
        session_factory: bound to the engine of the database.
        parts: what it works with.
    """

    def __init__(self, session_factory: sessionmaker[Session], parts: RepositoryParts) -> None:
        jobs = JobDatabase(session_factory, parts.options, parts.outbox)
        claims = Claims()
        transitions = Transitions(jobs, claims)
        claiming = Claiming(jobs, claims, transitions, parts.leases, parts.worker_id)
        super().__init__(jobs, JobWatches(jobs, claiming, parts.clock))
        self._claims: Final = claims
        self._transitions: Final = transitions
        self._clock: Final = parts.clock
        self._policy: Final = parts.policy
        self._jitter: Final = parts.jitter
        self._claiming: Final = claiming
        self._reporting: Final = Reporting(
            jobs,
            claims,
            transitions,
            parts.leases,
            policy=parts.policy,
            clock=parts.clock,
            jitter=parts.jitter,
        )

    @property
    def late_reports(self) -> int:
        """How many reports came under a claim that was lost, and changed nothing."""
        return self._claims.late_reports

    @override
    def add_job(
        self,
        job: JobRecordLike,
        created_by: str | None = None,
        priority: int | None = None,
        *,
        max_retries: int | None = None,
        run_at: int | None = None,
        session: Session | None = None,
    ) -> bool:
        row, event = new_row(
            job,
            Terms(created_by, priority, max_retries, run_at),
            self._policy,
            claim_number=int(self._jitter() * _CLAIM_NUMBERS),
            now_ms=self._clock.now_ms(),
        )
        table = self._jobs.table if session is None else self._jobs.in_session(session)
        if not table.add(row):
            return False
        if session is None:
            self._transitions.added(event)
        else:
            after_commit(session, lambda: self._transitions.added(event))
            after_commit(session, self._jobs.database.hub.note_change)
        return True

    @override
    def add_jobs(
        self, jobs: Sequence[JobRecordLike | NewJob], created_by: str | None = None
    ) -> list[bool]:
        now_ms = self._clock.now_ms()
        new = validation.checked_each(jobs, partial(self._one_of_many, created_by, now_ms))
        with self._jobs.batch("add_jobs") as table:
            added = table.add_each([row for row, _ in new])
        for (_, event), is_new in zip(new, added, strict=True):
            if is_new:
                self._transitions.added(event)
        return added

    @override
    def get_job(self, job_id: str) -> JobRecord | None:
        row = self._jobs.table.read(arguments.checked_job_id(job_id))
        return None if row is None else rows.readable(row)

    @override
    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        outcome = self.apply_update(job_id, updates)
        if isinstance(outcome, Refused) and goes_on(updates.status):
            raise_if_over(job_id, outcome)
        return isinstance(outcome, Applied | Unchanged | Deferred)

    @override
    def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        change = validation.checked_change(updates, self._policy)
        if type(job_id) is not str:
            job_id = arguments.checked_job_id(job_id)
        return self._reporting.report(job_id, change, self._clock.now_ms())

    @override
    def fail_job(
        self,
        job_id: str,
        message: str,
        *,
        is_permanent: bool = False,
        retry_after_seconds: float | None = None,
    ) -> bool:
        change = Change(
            JobStatus.error,
            error_message=arguments.checked_message(message),
            is_permanent=is_permanent,
            retry_after_ms=arguments.checked_retry_after(retry_after_seconds),
        )
        checked_id = arguments.checked_job_id(job_id)
        outcome = self._reporting.report(checked_id, change, self._clock.now_ms())
        return isinstance(outcome, Applied | Unchanged)

    @override
    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        jobs = self._fetch(task_types, 1)
        return jobs[0] if jobs else None

    @override
    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        return self._fetch(task_types, arguments.checked_limit(limit))

    @override
    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        changes = validation.checked_each(list(updates.items()), self._checked_change)
        outcomes = self._reporting.report_each(dict(changes), self._clock.now_ms())
        return {
            job_id: isinstance(outcome, Applied | Unchanged) for job_id, outcome in outcomes.items()
        }

    @override
    def delete_job(self, job_id: str) -> bool:
        checked_id = arguments.checked_job_id(job_id)
        self._forget(checked_id)
        return self._jobs.table.delete(checked_id)

    @override
    def cancel_job(self, job_id: str, reason: str) -> bool:
        return self._apply(job_id, Cancel(arguments.checked_reason(reason), self._clock.now_ms()))

    @override
    def release_job(self, job_id: str) -> bool:
        self._reporting.forget_progress(arguments.checked_job_id(job_id))
        return self._apply(job_id, Release(self._claims.number(job_id), self._clock.now_ms()))

    @override
    def retry_job(self, job_id: str) -> bool:
        return self._apply(job_id, RetryByHand(self._clock.now_ms()))

    @override
    def retry_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        request = RetryByHand(self._clock.now_ms())
        return self._apply_to_each("retry_jobs", jobs, limit, "retry", request)

    @override
    def cancel_jobs(self, jobs: JobFilter, reason: str, limit: int) -> list[str]:
        request = Cancel(arguments.checked_reason(reason), self._clock.now_ms())
        return self._apply_to_each("cancel_jobs", jobs, limit, "cancel", request)

    @override
    def delete_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        conditions = paging.conditions_of(arguments.checked_filter(jobs))
        wanted = arguments.checked_limit(limit)
        with self._jobs.batch("delete_jobs") as table:
            found = table.matching(conditions, "delete", wanted, jobs.order)
            deleted = set(table.delete_each([row.id for row in found]))
        for job_id in deleted:
            self._forget(job_id)
        return [row.job_id for row in found if row.job_id in deleted]

    @override
    def recover_expired(self) -> int:
        return self._claiming.recover_expired(self._clock.now_ms())

    @override
    def save_checkpoint(self, job_id: str, data: Mapping[str, object]) -> bool:
        text = validation.checked_checkpoint(data, self._policy)
        checked_id = arguments.checked_job_id(job_id)
        if self._jobs.table.save_checkpoint(checked_id, text, self._claims.number(checked_id)):
            return True
        nothing = Change()  # what it is refused for, a report would be too
        raise_if_over(job_id, self._reporting.report(checked_id, nothing, self._clock.now_ms()))
        return False

    @override
    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        ids = self._jobs.table.finished(before_ms, arguments.checked_limit(limit))
        return [job_id for job_id in ids if self._purge(job_id, before_ms, remove_files)]

    def _fetch(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        wanted = arguments.checked_task_types(task_types)
        if not wanted:
            return []
        jobs = self._claiming.fetch(wanted, limit, self._clock.now_ms())
        for job in jobs:
            if job.job_id in self._reporting.throttled:  # by an earlier claim of ours
                self._reporting.forget_progress(job.job_id)
        return jobs

    def _purge(self, job_id: str, before_ms: int, remove_files: Callable[[str], object]) -> bool:
        with self._jobs.batch("purge_finished") as table:
            if not table.delete_finished(job_id, before_ms):
                return False
            remove_files(job_id)
        self._claims.end(job_id)
        return True

    def _forget(self, job_id: str) -> None:
        self._reporting.forget_progress(job_id)
        self._claims.end(job_id)

    def _apply(self, job_id: str, request: Request) -> bool:
        outcome = self._transitions.apply(arguments.checked_job_id(job_id), request)
        return isinstance(outcome, Applied | Unchanged)

    def _apply_to_each(
        self, name: str, jobs: JobFilter, limit: int, eligible: Eligible, request: Request
    ) -> list[str]:
        conditions = paging.conditions_of(arguments.checked_filter(jobs))
        wanted = arguments.checked_limit(limit)
        with self._transitions.batch(name) as batch:
            found = batch.table.matching(conditions, eligible, wanted, jobs.order)
            return batch.apply_to_rows(found, request)

    def _checked_change(self, update: tuple[str, JobRecordUpdateLike]) -> tuple[str, Change]:
        job_id, change = update
        return arguments.checked_job_id(job_id), validation.checked_change(change, self._policy)

    def _one_of_many(
        self, created_by: str | None, now_ms: int, job: JobRecordLike | NewJob
    ) -> NewRow:
        record, terms = one_of_many(job, created_by)
        # Begin anywhere: whoever claimed a removed job of the same id must not match this one.
        claim_number = int(self._jitter() * _CLAIM_NUMBERS)
        return new_row(record, terms, self._policy, claim_number=claim_number, now_ms=now_ms)
