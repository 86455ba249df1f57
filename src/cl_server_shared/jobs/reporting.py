"""Reporting: what workers and others tell of a job, and what became of it."""

import logging
from collections.abc import Callable, Container, Mapping
from typing import Final, final
from weakref import ref

from cl_server_shared.errors import JobCancelled, JobLost
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Change, Report, Update
from cl_server_shared.jobs.leases import Claims, LeaseKeeper
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.progress_throttle import ProgressThrottle
from cl_server_shared.jobs.transitions import Transitions
from cl_server_shared.models import JobStatus
from cl_server_shared.models.outcome import (
    Applied,
    Deferred,
    NotFound,
    Outcome,
    Refusal,
    Refused,
    Unchanged,
)
from cl_server_shared.process.clock import Clock

_LOG: Final = logging.getLogger(__name__)


@final
class Reporting:
    """Takes reports for one repository.

    Args:
        jobs: where the jobs are.
        claims: the claims under which this repository reports.
        transitions: carry out what is decided, and announce it.
        leases: keeps the claims alive.
        policy: what is allowed.
        clock: tells when late progress is written.
        jitter: gives random numbers, 0 <= x < 1.
    """

    def __init__(  # noqa: PLR0913  # what a report needs; each is used here
        self,
        jobs: JobDatabase,
        claims: Claims,
        transitions: Transitions,
        leases: LeaseKeeper,
        *,
        policy: JobPolicy,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._transitions: Final = transitions
        self._leases: Final = leases
        self._policy: Final = policy
        self._clock: Final = clock
        self._jitter: Final = jitter
        self._throttle: Final = ProgressThrottle(
            policy.progress_max_per_second, clock, _writer_of_late_progress(self)
        )
        self.throttled: Final[Container[str]] = self._throttle.jobs
        """The ids of the jobs whose progress was reported lately."""

    def report(self, job_id: str, change: Change, now_ms: int) -> Outcome:
        """Change a job; progress that comes too fast is kept, and written within a second."""
        known = self._claims.get(job_id)
        if known is not None:
            if not self._leases.is_keeping:  # it had no thread
                self._leases.keep(self._claims, self._jobs.database)
            if self._is_deferred(job_id, change, known.state.progress, now_ms):
                return Deferred()
        return self._apply(job_id, change, now_ms)

    def report_each(self, changes: Mapping[str, Change], now_ms: int) -> dict[str, Outcome]:
        """Change several jobs, by job id, in one transaction."""
        updates = {
            job_id: self._update(job_id, change, now_ms) for job_id, change in changes.items()
        }
        with self._transitions.batch("finish_jobs") as batch:
            outcomes = batch.apply_each(updates)
        return {
            job_id: self._noted(job_id, outcome, update.report)
            for (job_id, update), outcome in zip(updates.items(), outcomes, strict=True)
        }

    def forget_progress(self, job_id: str) -> None:
        """Drop progress of an attempt that is over."""
        self._throttle.take(job_id)

    def write_late_progress(self, job_id: str, progress: int) -> None:
        """Write what was kept; what the worker must know, its next report tells it."""
        self._apply(job_id, Change(progress=progress), self._clock.now_ms())

    def _is_deferred(self, job_id: str, change: Change, known_progress: int, now_ms: int) -> bool:
        """Tell whether a report of nothing but further progress is kept for later."""
        progress = change.progress
        return (
            progress is not None
            and change.status is None
            and known_progress < progress
            and change == Change(progress=progress)
            and not self._jobs.database.is_for_one_thread  # another thread would write it
            and not self._throttle.admits(job_id, progress, now_ms)
        )

    def _apply(self, job_id: str, change: Change, now_ms: int) -> Outcome:
        update = self._update(job_id, change, now_ms)
        outcome = self._transitions.apply(job_id, update)
        if isinstance(outcome, Applied | Unchanged):
            return outcome
        return self._noted(job_id, outcome, update.report)

    def _update(self, job_id: str, change: Change, now_ms: int) -> Update:
        report = Report(self._claims.number(job_id), now_ms, self._policy.retry, self._jitter())
        if job_id in self.throttled and not goes_on(change.status):
            kept = self._throttle.take(job_id)
            if kept:
                change = change._replace(progress=max(change.progress or 0, kept))
        return Update(change, report, now_ms)

    def _noted(self, job_id: str, outcome: Outcome, report: Report) -> Outcome:
        if isinstance(outcome, NotFound) and report.held_claim is not None:
            self._claims.lose(job_id, report.held_claim)
            reason = f"claim {report.held_claim} was lost: the job was removed"
            outcome = Refused(Refusal.lost, reason)
        if isinstance(outcome, Refused):
            self._note(job_id, outcome)
        return outcome

    def _note(self, job_id: str, refused: Refused) -> None:
        if refused.refusal is Refusal.lost:
            self._claims.count_late_report()
        if refused.refusal is not Refusal.behind:
            self._throttle.take(job_id)
        _LOG.warning("job %s: an update was refused: %s", job_id, refused.reason)


def goes_on(status: str | None) -> bool:
    """Tell whether a report with this status leaves the job running."""
    return status is None or status == JobStatus.processing


def raise_if_over(job_id: str, outcome: Outcome) -> None:
    """Tell a worker that reported progress in vain.

    Raises:
        JobLost: its claim was lost.
        JobCancelled: the job was cancelled.
    """
    if not isinstance(outcome, Refused):
        return
    if outcome.refusal is Refusal.lost:
        raise JobLost(f"job {job_id!r}: {outcome.reason}; stop working on it")
    if outcome.refusal is Refusal.cancelled:
        raise JobCancelled(f"job {job_id!r} was {outcome.reason}; stop working on it")


def _writer_of_late_progress(reporting: Reporting) -> Callable[[str, int], None]:
    """Hold it weakly: a repository that was dropped must not go on renewing its claims."""
    reference = ref(reporting)

    def write(job_id: str, progress: int) -> None:
        found = reference()
        if found is not None:
            found.write_late_progress(job_id, progress)

    return write
