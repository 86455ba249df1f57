"""Many jobs at once: each call is one transaction, whose changes are announced after it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, final

from cl_server_shared.jobs import arguments, paging, validation
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Cancel, Change, Request, RetryByHand
from cl_server_shared.jobs.leases import Claims
from cl_server_shared.jobs.new_jobs import NewRow, first_claim_number, new_row, one_of_many
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.reporting import Reporting
from cl_server_shared.jobs.sql.search import Eligible
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.models import JobFilter, NewJob
from cl_server_shared.models.outcome import Applied, Unchanged
from cl_server_shared.protocols.jobs import JobRecordLike, JobRecordUpdateLike


@final
class Batches:
    """What a repository does to many jobs; see the methods of the same names of its port.

    Args:
        jobs: where the jobs are.
        claims: the claims of the repository.
        transitions: carry out what is decided, and announce it.
        reporting: takes reports.
        policy: what is allowed.
        jitter: gives random numbers, 0 <= x < 1.
    """

    def __init__(  # noqa: PLR0913  # what batches need; each is used here
        self,
        jobs: JobDatabase,
        claims: Claims,
        transitions: Transitions,
        reporting: Reporting,
        *,
        policy: JobPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._transitions: Final = transitions
        self._reporting: Final = reporting
        self._policy: Final = policy
        self._jitter: Final = jitter

    def add(
        self, jobs: Sequence[JobRecordLike | NewJob], created_by: str | None, now_ms: int
    ) -> list[bool]:
        """Do what `add_jobs` does."""
        new = validation.checked_each(jobs, partial(self._new_row, created_by, now_ms))
        with self._jobs.batch("add_jobs") as table:
            added = table.add_each([row for row, _ in new])
        for (_, event), is_new in zip(new, added, strict=True):
            if is_new:
                self._transitions.added(event)
        return added

    def finish(self, updates: Mapping[str, JobRecordUpdateLike], now_ms: int) -> dict[str, bool]:
        """Do what `finish_jobs` does."""
        changes = validation.checked_each(list(updates.items()), self._checked_change)
        outcomes = self._reporting.report_each(dict(changes), now_ms)
        return {
            job_id: isinstance(outcome, Applied | Unchanged) for job_id, outcome in outcomes.items()
        }

    def retry(self, jobs: JobFilter, limit: int, now_ms: int) -> list[str]:
        """Do what `retry_jobs` does."""
        return self._apply_to_each("retry_jobs", jobs, limit, "retry", RetryByHand(now_ms))

    def cancel(self, jobs: JobFilter, reason: str, limit: int, now_ms: int) -> list[str]:
        """Do what `cancel_jobs` does."""
        request = Cancel(arguments.checked_reason(reason), now_ms)
        return self._apply_to_each("cancel_jobs", jobs, limit, "cancel", request)

    def delete(self, jobs: JobFilter, limit: int) -> list[str]:
        """Do what `delete_jobs` does."""
        conditions = paging.conditions_of(arguments.checked_filter(jobs))
        wanted = arguments.checked_limit(limit)
        with self._jobs.batch("delete_jobs") as table:
            found = table.matching(conditions, "delete", wanted, jobs.order)
            deleted = set(table.delete_each([row.id for row in found]))
        for job_id in deleted:
            self._reporting.forget_progress(job_id)
            self._claims.end(job_id)
        return [row.job_id for row in found if row.job_id in deleted]

    def purge(self, before_ms: int, limit: int, remove_files: Callable[[str], object]) -> list[str]:
        """Do what `purge_finished` does, a transaction for each job."""
        ids = self._jobs.table.finished(before_ms, arguments.checked_limit(limit))
        return [job_id for job_id in ids if self._purge(job_id, before_ms, remove_files)]

    def _purge(self, job_id: str, before_ms: int, remove_files: Callable[[str], object]) -> bool:
        with self._jobs.batch("purge_finished") as table:
            if not table.delete_finished(job_id, before_ms):
                return False
            remove_files(job_id)
        self._claims.end(job_id)
        return True

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

    def _new_row(self, created_by: str | None, now_ms: int, job: JobRecordLike | NewJob) -> NewRow:
        record, terms = one_of_many(job, created_by)
        claim_number = first_claim_number(self._jitter())
        return new_row(record, terms, self._policy, claim_number=claim_number, now_ms=now_ms)
