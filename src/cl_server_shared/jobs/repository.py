"""The repository: what services and workers call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, override

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import DatabaseOptions
from cl_server_shared.jobs import arguments, paging, rows, validation
from cl_server_shared.jobs.after_commit import after_commit
from cl_server_shared.jobs.attempt_log import logged_attempts
from cl_server_shared.jobs.claiming import Claiming
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Cancel, Change, Release, Request, RetryByHand
from cl_server_shared.jobs.leases import Claims, LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.reporting import Reporting, goes_on, raise_if_over
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.jobs.waiting import waits
from cl_server_shared.jobs.waiting.watches import JobWatches
from cl_server_shared.models import Attempt, JobFilter, JobPage, JobRecord, JobStatus
from cl_server_shared.models.outcome import Applied, Deferred, Outcome, Unchanged
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


class SqlJobRepository(JobManagement):
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
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._transitions: Final = transitions
        self._clock: Final = parts.clock
        self._policy: Final = parts.policy
        self._jitter: Final = parts.jitter
        self._claiming: Final = Claiming(jobs, claims, transitions, parts.leases, parts.worker_id)
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
    def watches(self) -> JobWatches:
        """What waits are made of, in threads and on event loops."""
        return JobWatches(self._jobs, self._claiming, self._clock)

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
        session: Session | None = None,
    ) -> bool:
        now_ms = self._clock.now_ms()
        new = validation.checked_submission(job, self._policy)
        terms = arguments.checked_terms(created_by, priority, max_retries, self._policy)
        row = rows.new_row(new, now_ms=now_ms) | terms | self._first_claim_number()
        event = rows.event_of_new(new, now_ms=now_ms)
        table = self._jobs.table if session is None else self._jobs.in_session(session)
        if not table.add(row):
            return False
        if session is None:
            self._transitions.added(event)
        else:
            after_commit(session, lambda: self._transitions.added(event))
            after_commit(session, self._jobs.database.note_change)
        return True

    @override
    def add_jobs(self, jobs: Sequence[JobRecordLike], created_by: str | None = None) -> list[bool]:
        policy, now_ms = self._policy, self._clock.now_ms()
        terms = arguments.checked_terms(created_by, None, None, policy)
        new = validation.checked_each(jobs, lambda job: validation.checked_submission(job, policy))
        new_rows = [
            rows.new_row(each, now_ms=now_ms) | terms | self._first_claim_number() for each in new
        ]
        with self._jobs.batch("add_jobs") as table:
            added = table.add_each(new_rows)
        for each, is_new in zip(new, added, strict=True):
            if is_new:
                self._transitions.added(rows.event_of_new(each, now_ms=now_ms))
        return added

    @override
    def get_job(self, job_id: str) -> JobRecord | None:
        row = self._jobs.table.read(job_id)
        return None if row is None else rows.readable(row)

    @override
    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        outcome = self.apply_update(job_id, updates)
        if goes_on(updates.status):
            raise_if_over(job_id, outcome)
        return isinstance(outcome, Applied | Unchanged | Deferred)

    @override
    def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        change = validation.checked_change(updates, self._policy)
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
            status=JobStatus.error,
            error_message=message,
            is_permanent=is_permanent,
            retry_after_ms=None if retry_after_seconds is None else int(retry_after_seconds * 1000),
        )
        outcome = self._reporting.report(job_id, change, self._clock.now_ms())
        return isinstance(outcome, Applied | Unchanged)

    @override
    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        jobs = self.fetch_next_jobs(task_types, 1)
        return jobs[0] if jobs else None

    @override
    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        wanted = arguments.checked_task_types(task_types)
        if not wanted:
            return []
        jobs = self._claiming.fetch(wanted, arguments.checked_limit(limit), self._clock.now_ms())
        for job in jobs:
            self._reporting.forget_progress(job.job_id)  # of an earlier claim of ours
        return jobs

    @override
    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        policy = self._policy
        changes = validation.checked_each(
            list(updates.values()), lambda update: validation.checked_change(update, policy)
        )
        outcomes = self._reporting.report_each(
            dict(zip(updates, changes, strict=True)), self._clock.now_ms()
        )
        return {
            job_id: isinstance(outcome, Applied | Unchanged) for job_id, outcome in outcomes.items()
        }

    @override
    def delete_job(self, job_id: str) -> bool:
        self._reporting.forget_progress(job_id)
        self._claims.end(job_id)
        return self._jobs.table.delete(job_id)

    @override
    def cancel_job(self, job_id: str, reason: str) -> bool:
        return self._apply(job_id, Cancel(arguments.checked_reason(reason), self._clock.now_ms()))

    @override
    def release_job(self, job_id: str) -> bool:
        self._reporting.forget_progress(job_id)
        held_claim = self._claims.number(job_id)
        return self._apply(job_id, Release(held_claim, self._clock.now_ms()))

    @override
    def retry_job(self, job_id: str) -> bool:
        return self._apply(job_id, RetryByHand(self._clock.now_ms()))

    @override
    def recover_expired(self) -> int:
        return self._claiming.recover_expired(self._clock.now_ms())

    @override
    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        conditions = paging.conditions_of(JobFilter() if jobs is None else jobs)
        place = {} if after is None else {"before_id": paging.position_of(conditions, after)}
        wanted = arguments.checked_limit(limit)
        found = self._jobs.table.find({**conditions, **place}, wanted)
        is_last = len(found) < wanted
        return JobPage(
            tuple(rows.details_of(row) for row in found),
            None if is_last else paging.page_token(conditions, found[-1].id),
        )

    @override
    def count_jobs(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for status, task_type, number in self._jobs.table.count():
            counts.setdefault(status, {})[task_type] = number
        return counts

    @override
    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        row = self._jobs.table.read(job_id)
        return () if row is None else logged_attempts(rows.state_of(row).attempts)

    @override
    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        ids = self._jobs.table.finished(before_ms, arguments.checked_limit(limit))
        return [job_id for job_id in ids if self._purge(job_id, before_ms, remove_files)]

    @override
    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        return waits.wait_for_job(self.watches, job_id, timeout_seconds)

    @override
    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        return waits.watch_job(self.watches, job_id, timeout_seconds)

    @override
    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        return waits.wait_for_work(self.watches, task_types, timeout_seconds)

    def _purge(self, job_id: str, before_ms: int, remove_files: Callable[[str], object]) -> bool:
        with self._jobs.batch("purge_finished") as table:
            if not table.delete_finished(job_id, before_ms):
                return False
            remove_files(job_id)
        self._claims.end(job_id)
        return True

    def _apply(self, job_id: str, request: Request) -> bool:
        return isinstance(self._transitions.apply(job_id, request), Applied | Unchanged)

    def _first_claim_number(self) -> dict[str, int]:
        """Begin anywhere: whoever claimed a removed job of the same id must not match this one."""
        return {"claim_number": int(self._jitter() * _CLAIM_NUMBERS)}
