"""Reporting: what workers and others tell of a job, and what became of it."""

import logging
from collections.abc import Callable, Mapping
from typing import Final, final
from weakref import ref

from cl_server_shared.errors import JobCancelled, JobLost
from cl_server_shared.jobs import lifecycle
from cl_server_shared.jobs.job_state import Change, Decision, JobState, Refusal, Refused, Report
from cl_server_shared.jobs.leases import Claims
from cl_server_shared.jobs.parts import RepositoryParts
from cl_server_shared.jobs.progress_throttle import ProgressThrottle
from cl_server_shared.jobs.transitions import Deferred, NotFound, Outcome, Transitions
from cl_server_shared.models import JobStatus

_LOG: Final = logging.getLogger(__name__)


@final
class Reporting:
    """Takes reports for one repository.

    Args:
        changes: gives what carries a decision out at once.
        claims: the claims under which this repository reports.
        parts: the repository's collaborators.
    """

    def __init__(
        self, changes: Callable[[], Transitions], claims: Claims, parts: RepositoryParts
    ) -> None:
        self._changes: Final = changes
        self._claims: Final = claims
        self._parts: Final = parts
        self._throttle: Final = ProgressThrottle(
            parts.policy.progress_max_per_second, parts.clock, _writer_of_late_progress(self)
        )

    def report(self, job_id: str, change: Change) -> Outcome:
        """Change a job; progress that comes too fast is kept and written later."""
        if self._is_kept(job_id, change):
            return Deferred()
        return self.report_on(self._changes(), job_id, change)

    def report_on(self, changes: Transitions, job_id: str, change: Change) -> Outcome:
        """Change a job as part of *changes*."""
        report = self._report_on(job_id)
        outcome = changes.change(job_id, self._decision_on(job_id, change, report))
        return self._noted(job_id, outcome, report)

    def report_each(self, changes: Transitions, asked: Mapping[str, Change]) -> dict[str, Outcome]:
        """Change several jobs, by job id, as all that *changes* does."""
        reports = {job_id: self._report_on(job_id) for job_id in asked}
        decisions = {
            job_id: self._decision_on(job_id, change, reports[job_id])
            for job_id, change in asked.items()
        }
        outcomes = changes.change_each(decisions)
        return {
            job_id: self._noted(job_id, outcome, report)
            for (job_id, report), outcome in zip(reports.items(), outcomes, strict=True)
        }

    def forget_progress(self, job_id: str) -> None:
        """Drop progress of an attempt that is over."""
        self._throttle.take(job_id)

    def write_late_progress(self, job_id: str, progress: int) -> None:
        """Write what was kept; what the worker must know, its next report tells it."""
        self.report_on(self._changes(), job_id, Change(progress=progress))

    def _report_on(self, job_id: str) -> Report:
        return Report(
            held_claim=self._claims.number(job_id),
            now_ms=self._parts.clock.now_ms(),
            retry=self._parts.policy.retry,
            jitter=self._parts.jitter(),
        )

    def _decision_on(
        self, job_id: str, change: Change, report: Report
    ) -> Callable[[JobState], Decision]:
        whole = change if goes_on(change.status) else self._with_kept_progress(job_id, change)
        return lambda state: lifecycle.update(state, whole, report)

    def _noted(self, job_id: str, outcome: Outcome, report: Report) -> Outcome:
        if isinstance(outcome, NotFound) and report.held_claim is not None:
            self._claims.lose(job_id, report.held_claim)
            reason = f"claim {report.held_claim} was lost: the job was removed"
            outcome = Refused(Refusal.lost, reason)
        if isinstance(outcome, Refused):
            self._note(job_id, outcome)
        return outcome

    def _is_kept(self, job_id: str, change: Change) -> bool:
        progress = change.progress
        if progress is None or change.status is not None or change != Change(progress=progress):
            return False
        seen = self._claims.get(job_id)
        return (
            seen is not None
            and seen.state.progress < progress
            and not self._throttle.admits(job_id, progress)
        )

    def _with_kept_progress(self, job_id: str, change: Change) -> Change:
        kept = self._throttle.take(job_id)
        return change._replace(progress=max(change.progress or 0, kept)) if kept else change

    def _note(self, job_id: str, refused: Refused) -> None:
        if refused.refusal is Refusal.lost:
            self._claims.count_late_report()
        if refused.refusal is not Refusal.behind:
            self._throttle.take(job_id)
        _LOG.warning("job %s: an update was refused: %s", job_id, refused.reason)


def goes_on(status: str | None) -> bool:
    """Tell whether a report with this status leaves the job running."""
    return status is None or status == JobStatus.processing


def stop_the_worker(job_id: str, outcome: Outcome) -> None:
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
    living = ref(reporting)

    def write(job_id: str, progress: int) -> None:
        found = living()
        if found is not None:
            found.write_late_progress(job_id, progress)

    return write
