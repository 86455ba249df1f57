"""The repository: what services and workers call."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Final, Literal, override

from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.jobs import arguments, lifecycle, paging, rows, validation
from cl_server_shared.jobs.after_commit import after_commit
from cl_server_shared.jobs.attempt_log import logged_attempts
from cl_server_shared.jobs.claiming import Claiming
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Applied, Decision, JobState, Unchanged
from cl_server_shared.jobs.leases import Claims, KnownJob
from cl_server_shared.jobs.parts import RepositoryParts
from cl_server_shared.jobs.reporting import Reporting, goes_on, stop_the_worker
from cl_server_shared.jobs.transitions import Announcer, Deferred, Outcome, Transitions
from cl_server_shared.jobs.validation import checked_submission
from cl_server_shared.jobs.waiting import waits
from cl_server_shared.jobs.waiting.watches import JobWatch, WorkWatch
from cl_server_shared.models import Attempt, JobEvent, JobFilter, JobPage, JobRecord
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.jobs import JobManagement, JobRecordLike, JobRecordUpdateLike
from cl_server_shared.protocols.waiting import JobSnapshot, Watch

_CLAIM_NUMBERS: Final = 2**40


class SqlJobRepository(JobManagement):
    """Jobs in a SQL database: SQLite or PostgreSQL.

    Cheap to build: the constructor opens, starts and waits for nothing. It remembers the claims
    that it made, so whoever claims through it must also report through it. Thread-safe.

    Every method raises DatabaseError when the database fails; repeating the same call is safe.

    Args:
        session_factory: bound to the engine of the database.
        parts: the collaborators.
    """

    def __init__(self, session_factory: sessionmaker[Session], parts: RepositoryParts) -> None:
        self._jobs: Final = JobDatabase(session_factory, parts.options, parts.outbox)
        self._parts: Final = parts
        self._claims: Final = Claims()
        self._announcer: Final = Announcer(self._claims, self._jobs)
        self._claiming: Final = Claiming(self._jobs, self._claims, self._announcer, parts)
        self._changes: Final = cache(
            partial(_changes_at_once, self._jobs, self._claims, self._announcer, parts.clock)
        )
        self._reporting: Final = Reporting(self._changes, self._claims, parts)

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
        """Store a new job; False: that job_id exists and nothing was changed.

        Args:
            job: the job; with status `queued` it waits to be claimed.
            created_by: whose job it is.
            priority: a signed 64-bit integer, 0 by default; the highest is served first.
            max_retries: tries after the first, 0 or more; `JOB_MAX_RETRIES` by default.
            session: a session of the same database: the job exists, and is announced, exactly if
                its transaction commits. Without it the job is committed at once.

        Raises:
            InvalidJobError: an argument cannot be stored.
        """
        policy, now_ms = self._parts.policy, self._parts.clock.now_ms()
        new = checked_submission(job, policy)
        row = rows.new_row(new, now_ms=now_ms)
        row |= arguments.checked_terms(created_by, priority, max_retries, policy)
        row["claim_number"] = self._first_claim_number()
        event = rows.event_of_new(new, now_ms=now_ms)
        if session is not None:
            return self._add_in(session, row, event)
        if not self._jobs.store.add(row):
            return False
        self._announcer.added(event)
        return True

    @override
    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id.

        A row that other code wrote and no record can hold comes back with status `error`, empty
        params and the reason as its message; the row itself stays as it is.
        """
        row = self._jobs.store.read(job_id)
        return None if row is None else rows.readable(row)

    @override
    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for.

        False: there is no such job, it is final, its progress is further, or this repository's
        claim on it was lost; nothing was changed. `apply_update` tells which. Progress beyond
        `PROGRESS_MAX_PER_SECOND` is merged and stored within a second.

        Raises:
            InvalidJobError: the update cannot be stored.
            JobLost: progress was reported under a claim that was lost.
            JobCancelled: progress was reported on a job that was cancelled.
        """
        outcome = self.apply_update(job_id, updates)
        if goes_on(updates.status):
            stop_the_worker(job_id, outcome)
        return isinstance(outcome, Applied | Unchanged | Deferred)

    def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        """Change a live job, and tell what became of it.

        Raises:
            InvalidJobError: the update cannot be stored.
        """
        change = validation.checked_change(updates, self._parts.policy)
        return self._reporting.report(job_id, change)

    @override
    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first.

        Jobs whose worker stopped renewing its lease are taken over by the same call. None: no job
        of these types can be claimed now.

        Raises:
            InvalidJobError: *task_types* is no sequence of texts.
        """
        jobs = self.fetch_next_jobs(task_types, 1)
        return jobs[0] if jobs else None

    @override
    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id. Its files stay."""
        self._reporting.forget_progress(job_id)
        self._claims.end(job_id)
        return self._jobs.store.delete(job_id)

    @override
    def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id.

        A waiting job ends at once; a claimed one when its worker next reports progress, which
        raises JobCancelled: at once, or within a second where reports are being merged. A
        cancelled job is not tried again.

        Raises:
            InvalidJobError: *reason* is no text.
        """
        text, now_ms = arguments.checked_reason(reason), self._parts.clock.now_ms()
        return self._decided(job_id, lambda job: lifecycle.cancel(job, reason=text, now_ms=now_ms))

    @override
    def release_job(self, job_id: str) -> bool:
        """Put a running job back into the line, without counting a try; False if it is not running.

        For a worker that shuts down, or an operator: whoever works on it loses its claim. A worker
        whose claim was lost changes nothing, and gets False.
        """
        self._reporting.forget_progress(job_id)
        held, now_ms = self._claims.number(job_id), self._parts.clock.now_ms()
        return self._decided(
            job_id, lambda job: lifecycle.release(job, held_claim=held, now_ms=now_ms)
        )

    @override
    def retry_job(self, job_id: str) -> bool:
        """Put a job that ended, or waits for its next try, into the line with all its tries.

        False: it is running, or there is none of that id.
        """
        return self._decided(job_id, lifecycle.retry_by_hand)

    @override
    def recover_expired(self) -> int:
        """Put jobs whose lease has ended back into the line, or end those whose tries are used up.

        `fetch_next_job` does so by itself; this is for a process that never claims. Returns how
        many jobs changed.
        """
        return self._claiming.recover_expired()

    @override
    def add_jobs(self, jobs: Sequence[JobRecordLike], created_by: str | None = None) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new.

        Raises:
            InvalidJobError: names the position of the first record that cannot be stored; nothing
                was.
        """
        policy, now_ms = self._parts.policy, self._parts.clock.now_ms()
        terms = arguments.checked_terms(created_by, None, None, policy)
        new = validation.checked_each(jobs, lambda job: checked_submission(job, policy))
        new_rows = [
            rows.new_row(each, now_ms=now_ms) | terms | {"claim_number": self._first_claim_number()}
            for each in new
        ]
        with self._jobs.batch("add_jobs") as store:
            added = store.add_each(new_rows)
        for each, is_new in zip(new, added, strict=True):
            if is_new:
                self._announcer.added(rows.event_of_new(each, now_ms=now_ms))
        return added

    @override
    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* (1 or more) jobs in one transaction, in the order of the line.

        Raises:
            InvalidJobError: *task_types* is no sequence of texts, or *limit* is below 1.
        """
        wanted = arguments.checked_task_types(task_types)
        if not wanted:
            return []
        jobs = self._claiming.fetch(wanted, arguments.checked_limit(limit))
        for job in jobs:
            self._reporting.forget_progress(job.job_id)  # of an earlier claim of ours
        return jobs

    @override
    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would.

        Raises:
            InvalidJobError: names the position of the first update that cannot be stored; nothing
                was.
        """
        policy = self._parts.policy
        changes = validation.checked_each(
            list(updates.values()), lambda update: validation.checked_change(update, policy)
        )
        with self._batch("finish_jobs") as batch:
            outcomes = self._reporting.report_each(batch, dict(zip(updates, changes, strict=True)))
        return {
            job_id: isinstance(outcome, Applied | Unchanged) for job_id, outcome in outcomes.items()
        }

    @override
    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, the newest first, a page at a time.

        Args:
            jobs: which jobs; all by default.
            limit: how many at most, 1 or more.
            after: the `next` of the page before; None for the first page.

        Raises:
            InvalidJobError: *limit* is below 1, or *after* is no token of this filter.
        """
        conditions = paging.conditions_of(JobFilter() if jobs is None else jobs)
        place = {} if after is None else {"before_id": paging.place_of(conditions, after)}
        wanted = arguments.checked_limit(limit)
        found = self._jobs.store.find({**conditions, **place}, wanted)
        is_last = len(found) < wanted
        return JobPage(
            tuple(rows.readable(row) for row in found),
            None if is_last else paging.page_token(conditions, found[-1].id),
        )

    @override
    def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        counts: dict[str, dict[str, int]] = {}
        for status, task_type, number in self._jobs.store.count():
            counts.setdefault(status, {})[task_type] = number
        return counts

    @override
    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first, at most 100; none for unknown jobs.

        The try that succeeded is the row itself: `started_at`, `completed_at`, `retry_count`.
        """
        row = self._jobs.store.read(job_id)
        return () if row is None else logged_attempts(rows.state_of(row).attempts)

    @override
    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is `completed` or `error`, and return it.

        None: there is no job of that id, or it was removed meanwhile. A database that fails during
        the wait does not end it; closing the database does.

        Args:
            job_id: which job.
            timeout_seconds: how long, 0 or more: 0 looks once, None waits for ever.

        Raises:
            InvalidJobError: *timeout_seconds* is something else.
            TimeoutError: the job was not final in time.
        """
        return waits.wait_for_job(self, job_id, timeout_seconds)

    @override
    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        """Yield the job as it is now, then at each change, until it is final or removed.

        What changes faster than it is read is merged: each record is the latest. An unknown job
        yields nothing. *timeout_seconds* counts for the whole, from this call.

        Raises:
            InvalidJobError: *timeout_seconds* is neither 0 or more nor None.
            TimeoutError: the job was not final in time.
        """
        return waits.watch_job(self, job_id, timeout_seconds)

    @override
    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        """Wait until a job of these types can be claimed; False: none came in time.

        True promises nothing: another worker may be faster. Delayed jobs and jobs of lost workers
        become claimable when they are due, as by `fetch_next_job`.

        Args:
            task_types: of which types.
            timeout_seconds: how long, 0 or more: 0 looks once, None waits for ever.

        Raises:
            InvalidJobError: *task_types* is no sequence of texts, or *timeout_seconds* no such
                number.
        """
        return waits.wait_for_work(self, task_types, timeout_seconds)

    @override
    def look_out_for_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Watch[JobSnapshot]:
        """Look out for a job: what the waits are made of."""
        return JobWatch(self._jobs, job_id, wake, only_final=only_final)

    @override
    def look_out_for_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Watch[Literal[True]]:
        """Look out for jobs of these types that can be claimed.

        Raises:
            InvalidJobError: *task_types* is no sequence of texts.
        """
        return WorkWatch(
            self._jobs,
            arguments.checked_task_types(task_types),
            wake,
            sweep=self._claiming.sweep,
            clock=self._parts.clock,
        )

    @property
    def late_reports(self) -> int:
        """How many reports came under a claim that was lost, and changed nothing."""
        return self._claims.late_reports

    @override
    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        """Remove jobs that ended before a time, each row together with its files.

        The row is locked, found to be finished still, and gone for good only when its files are: a
        job that was retried meanwhile keeps both. Returns the ids of the jobs removed.

        Args:
            before_ms: the time, in milliseconds since the epoch.
            limit: how many jobs at most, 1 or more; the oldest first.
            remove_files: removes a job's files, such as `storage.remove`; what it raises leaves
                that job's row and ends the purge.

        Raises:
            InvalidJobError: *limit* is below 1.
        """
        ids = self._jobs.store.finished(before_ms, arguments.checked_limit(limit))
        return [job_id for job_id in ids if self._purge(job_id, before_ms, remove_files)]

    def _purge(self, job_id: str, before_ms: int, remove_files: Callable[[str], object]) -> bool:
        with self._jobs.batch("purge_finished") as store:
            if not store.delete_finished(job_id, before_ms):
                return False
            remove_files(job_id)
        self._claims.end(job_id)
        return True

    def _add_in(self, session: Session, row: dict[str, object], event: JobEvent) -> bool:
        if not self._jobs.in_session(session).add(row):
            return False
        after_commit(session, lambda: self._announcer.added(event))
        after_commit(session, self._jobs.database.hub.note_change)
        return True

    def _first_claim_number(self) -> int:
        """Begin anywhere: whoever claimed a removed job of the same id must not match this one."""
        return int(self._parts.jitter() * _CLAIM_NUMBERS)

    @contextmanager
    def _batch(self, name: str) -> Generator[Transitions]:
        """Change several jobs in one transaction; what was changed is announced after it."""
        changed: list[tuple[KnownJob, int]] = []
        with self._jobs.batch(name) as store:
            yield Transitions(
                store,
                self._claims,
                self._parts.clock,
                lambda seen, now_ms: changed.append((seen, now_ms)),
            )
        for seen, now_ms in changed:
            self._announcer.changed(seen, now_ms)

    def _decided(self, job_id: str, decide: Callable[[JobState], Decision]) -> bool:
        return isinstance(self._changes().change(job_id, decide), Applied | Unchanged)


def _changes_at_once(
    jobs: JobDatabase, claims: Claims, announcer: Announcer, clock: Clock
) -> Transitions:
    """Change jobs one by one, each announced as soon as it is committed.

    A function, for a method would tie the repository into a circle with its parts: one that was
    dropped must not go on renewing its claims until the garbage collector comes by.
    """
    return Transitions(jobs.store, claims, clock, announcer.changed)
