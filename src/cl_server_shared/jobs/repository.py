"""The repository: what services and workers call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, override

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import DatabaseOptions
from cl_server_shared.jobs import arguments, rows, validation
from cl_server_shared.jobs.after_commit import after_commit
from cl_server_shared.jobs.batches import Batches
from cl_server_shared.jobs.claiming import Claiming
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Cancel, Change, Release, Request, RetryByHand
from cl_server_shared.jobs.leases import Claims, LeaseKeeper
from cl_server_shared.jobs.new_jobs import Terms, first_claim_number, new_row
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.reader import SqlJobReader
from cl_server_shared.jobs.reporting import Reporting, goes_on, raise_if_over
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.jobs.waiting.watches import JobWatches
from cl_server_shared.models import JobFilter, JobRecord, JobStatus, NewJob
from cl_server_shared.models.outcome import Applied, Deferred, Outcome, Refused, Unchanged
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.jobs import JobManagement, JobRecordLike, JobRecordUpdateLike


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
        self._batches: Final = Batches(
            jobs, claims, transitions, self._reporting, policy=parts.policy, jitter=parts.jitter
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
            now_ms=self._clock.now_ms(),
            claim_number=first_claim_number(self._jitter()),
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
        return self._batches.add(jobs, created_by, self._clock.now_ms())

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
        return self._batches.finish(updates, self._clock.now_ms())

    @override
    def delete_job(self, job_id: str) -> bool:
        checked_id = arguments.checked_job_id(job_id)
        self._reporting.forget_progress(checked_id)
        self._claims.end(checked_id)
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
        return self._batches.retry(jobs, limit, self._clock.now_ms())

    @override
    def cancel_jobs(self, jobs: JobFilter, reason: str, limit: int) -> list[str]:
        return self._batches.cancel(jobs, reason, limit, self._clock.now_ms())

    @override
    def delete_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        return self._batches.delete(jobs, limit)

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
        return self._batches.purge(before_ms, limit, remove_files)

    def _fetch(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        if isinstance(task_types, list) and set(map(type, task_types)) == {str}:
            wanted = arguments.cached_task_types(tuple(task_types))
        else:
            wanted = arguments.checked_task_types(task_types)
        if not wanted:
            return []
        jobs = self._claiming.fetch(wanted, limit, self._clock.now_ms())
        for job in jobs:
            if job.job_id in self._reporting.throttled:  # by an earlier claim of ours
                self._reporting.forget_progress(job.job_id)
        return jobs

    def _apply(self, job_id: str, request: Request) -> bool:
        outcome = self._transitions.apply(arguments.checked_job_id(job_id), request)
        return isinstance(outcome, Applied | Unchanged)
