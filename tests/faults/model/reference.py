"""A job's life as README ("Jobs") tells it, in memory: what the repository is held against.

Written from that page; it shares no code with `jobs/lifecycle.py`. A claim here is a number that is
never given out twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple, final

from cl_server_shared.errors import JobCancelled, JobLost
from cl_server_shared.models.json_object import JsonObject

LEASE_MS: Final = 30_000
RETRY_BASE_MS: Final = 1_000
RETRY_MAX_MS: Final = 300_000
JITTER: Final = 0.5

type Output = JsonObject | None
type Answer = bool | type[JobLost | JobCancelled]
"""What `update_job` returns, or the error that it raises."""


class Visible(NamedTuple):
    """What every reader sees of a job."""

    status: str
    progress: int
    output: Output
    error_message: str | None
    retry_count: int


class Told(NamedTuple):
    """What subscribers are told of a change."""

    job_id: str
    status: str
    progress: int


class Report(NamedTuple):
    """An update; None means "leave as it is"."""

    status: str | None = None
    progress: int | None = None
    output: Output = None
    error_message: str | None = None

    @property
    def goes_on(self) -> bool:
        return self.status in {None, "processing"}


@dataclass(slots=True, kw_only=True)
class ModelJob:
    """One job; `position` is where it stands among jobs of its priority."""

    job_id: str
    task_type: str
    priority: int
    max_retries: int
    status: str
    progress: int
    output: Output
    error_message: str | None
    ended_at: int | None
    position: int = field(default=0, repr=False)
    claim: int = field(default=0, repr=False)
    retry_count: int = field(default=0, repr=False)
    available_at: int = field(default=0, repr=False)
    lease_ends_at: int | None = field(default=None, repr=False)
    cancel_reason: str | None = field(default=None, repr=False)

    @property
    def is_final(self) -> bool:
        return self.status in {"completed", "error"}

    @property
    def is_cancelled(self) -> bool:
        """Tell whether it ended for a reason that no worker's message replaces."""
        return self.status == "error" and self.cancel_reason is not None

    @property
    def visible(self) -> Visible:
        return Visible(
            self.status, self.progress, self.output, self.error_message, self.retry_count
        )

    def merge(self, report: Report) -> None:
        self.progress = max(self.progress, report.progress or 0)
        self.output = self.output if report.output is None else report.output
        self.error_message = report.error_message or self.error_message

    def repeats(self, report: Report) -> bool:
        """Tell whether a report says of a final job only what is so already."""
        return (
            report.status in {None, self.status}
            and (report.progress is None or report.progress <= self.progress)
            and report.output in (None, self.output)
            and (report.error_message in {None, self.error_message} or self.is_cancelled)
        )


@final
@dataclass(slots=True)
class ModelJobs:
    """All jobs, what each worker believes to have claimed (`held`), and what was published."""

    now_ms: int
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    recovered: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def add(self, who: str, job: ModelJob) -> bool:
        if job.job_id in self.jobs:
            return False
        job.position, job.claim = next(self._numbers), next(self._numbers)
        self.jobs[job.job_id] = job
        self.held[who].pop(job.job_id, None)
        return self._tell(job)

    def fetch(self, who: str, task_types: Sequence[str], limit: int) -> list[ModelJob]:
        if task_types:
            self.recover()
        queued = [job for job in self.jobs.values() if job.status == "queued"]
        queue = [job for job in queued if job.available_at <= self.now_ms]
        wanted = [job for job in queue if job.task_type in task_types]
        taken = sorted(wanted, key=lambda job: (-job.priority, job.position))[:limit]
        for job in taken:
            job.status, job.progress, job.claim = "processing", 0, next(self._numbers)
            job.lease_ends_at = self.now_ms + LEASE_MS
            self.held[who][job.job_id] = job.claim
            self._tell(job)
        return taken

    def update(self, who: str, job_id: str, report: Report) -> Answer:
        held, job = self.held[who].get(job_id), self.jobs.get(job_id)
        if held is not None and (job is None or job.claim != held):
            return JobLost if report.goes_on else False
        if job is None:
            return False
        if job.is_final:
            return job.repeats(report)
        if report.goes_on or report.status == job.status == "queued":
            return self._go_on(job, report)
        if report.status == "queued":
            job.merge(report)
            return self.release(who, job_id)
        return self._finish(who, job, report)

    def release(self, who: str, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or job.status != "processing":
            return False
        if self.held[who].get(job_id, job.claim) != job.claim:
            return False
        if job.cancel_reason is None:
            self._wait_again(job)
        else:
            self._end(job, "error", f"cancelled: {job.cancel_reason}")
            self._forget(who, job)
        return self._tell(job)

    def cancel(self, job_id: str, reason: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or job.is_final:
            return False
        if job.cancel_reason is not None:
            return True
        job.cancel_reason = reason
        if job.lease_ends_at is None:
            self._end(job, "error", f"cancelled: {reason}")
        return self._tell(job)

    def retry(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or job.status == "processing":
            return False
        if not job.is_final and job.retry_count == 0:
            return True
        if job.is_final:
            self._wait_again(job)
        job.retry_count, job.available_at, job.cancel_reason = 0, 0, None
        return self._tell(job)

    def recover(self) -> int:
        leased = [job for job in self.jobs.values() if job.lease_ends_at is not None]
        lost = [job for job in leased if (job.lease_ends_at or 0) <= self.now_ms]
        for job in lost:
            job.claim = next(self._numbers)
            if job.cancel_reason is not None:
                self._end(job, "error", f"cancelled: {job.cancel_reason}")
            else:
                self._fail(job, f"lost, try {job.retry_count + 1}", delay_ms=0)
            self._tell(job)
        self.recovered += len(lost)
        return len(lost)

    def renew(self, who: str) -> None:
        for job_id, claim in self.held[who].items():
            job = self.jobs.get(job_id)
            if job is not None and job.claim == claim and job.lease_ends_at is not None:
                job.lease_ends_at = self.now_ms + LEASE_MS

    def delete(self, who: str, job_id: str) -> bool:
        self.held[who].pop(job_id, None)
        return self.jobs.pop(job_id, None) is not None

    def purge(self, who: str, before_ms: int) -> set[str]:
        ended = [job for job in self.jobs.values() if job.ended_at is not None]
        old = {job.job_id for job in ended if (job.ended_at or 0) < before_ms}
        return {job_id for job_id in old if self.delete(who, job_id)}

    def crash(self, who: str) -> None:
        self.held[who] = {}

    def _go_on(self, job: ModelJob, report: Report) -> Answer:
        if job.cancel_reason is not None:
            return JobCancelled
        if report.progress is not None and report.progress < job.progress:
            return False
        before = job.visible
        job.merge(report)
        job.status = report.status or job.status
        return job.visible == before or self._tell(job)

    def _finish(self, who: str, job: ModelJob, report: Report) -> bool:
        job.merge(report)
        error = job.error_message or "failed without a message"
        if report.status == "completed":
            job.progress = 100
            self._end(job, "completed", job.error_message)
        elif job.cancel_reason is not None:
            self._end(job, "error", f"cancelled: {job.cancel_reason}")
        elif job.job_id in self.held[who]:
            limit_ms = min(RETRY_MAX_MS, RETRY_BASE_MS << job.retry_count)
            self._fail(job, error, delay_ms=int(limit_ms * JITTER))
        else:
            self._end(job, "error", error)
        self._forget(who, job)
        return self._tell(job)

    def _fail(self, job: ModelJob, error: str, *, delay_ms: int) -> None:
        if job.retry_count == job.max_retries:
            self._end(job, "error", error)
        else:
            self._wait_again(job)
            job.retry_count += 1
            job.available_at = self.now_ms + delay_ms

    def _wait_again(self, job: ModelJob) -> None:
        job.status, job.progress, job.output, job.error_message = "queued", 0, None, None
        job.ended_at = job.lease_ends_at = None
        job.available_at, job.claim = 0, next(self._numbers)

    def _end(self, job: ModelJob, status: str, error: str | None) -> None:
        job.status, job.error_message = status, error
        job.ended_at, job.lease_ends_at = self.now_ms, None

    def _forget(self, who: str, job: ModelJob) -> None:
        """A worker's claim is over once it has ended the job under it."""
        if job.is_final and self.held[who].get(job.job_id) == job.claim:
            del self.held[who][job.job_id]

    def _tell(self, job: ModelJob) -> bool:
        self.told.append(Told(job.job_id, job.status, job.progress))
        return True
