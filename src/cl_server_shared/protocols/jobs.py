"""The repository's port: what keeps jobs, and what it takes in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, override

from sqlalchemy.orm import Session

from cl_server_shared.models import (
    Attempt,
    JobDetails,
    JobFilter,
    JobPage,
    JobRecord,
    NewJob,
)
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.models.outcome import Outcome


class JobRecordLike(Protocol):
    """What `add_job` reads of a record: ours, or one of the same shape from cl_ml_tools."""

    @property
    def job_id(self) -> str: ...
    @property
    def task_type(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def status(self) -> str: ...
    @property
    def progress(self) -> int: ...
    @property
    def output(self) -> Mapping[str, object] | None: ...
    @property
    def error_message(self) -> str | None: ...


class JobRecordUpdateLike(Protocol):
    """What `update_job` reads of an update; None means "leave as it is"."""

    @property
    def status(self) -> str | None: ...
    @property
    def progress(self) -> int | None: ...
    @property
    def output(self) -> Mapping[str, object] | None: ...
    @property
    def error_message(self) -> str | None: ...


class JobRepository(Protocol):
    """The five verbs of the original library; every call is one committed change or none.

    Every method raises InvalidJobError for an argument that cannot be stored or is of another kind
    than wanted, and DatabaseError when the database fails; repeating the same call is then safe.
    """

    def add_job(
        self, job: JobRecordLike, created_by: str | None = None, priority: int | None = None
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed.

        Args:
            job: the job; with status `queued` it waits to be claimed.
            created_by: whose job it is.
            priority: a signed 64-bit integer, 0 by default; the highest is served first.
        """
        ...

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id.

        A row that other code wrote and no record can hold comes back with status `error`, empty
        params and the reason as its message; the row itself stays as it is.
        """
        ...

    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for.

        False: there is no such job, it is final, its progress is further, or this repository's
        claim on it was lost; nothing was changed. `JobManagement.apply_update` tells which.
        Progress beyond `PROGRESS_MAX_PER_SECOND` is merged and stored within a second.

        Raises:
            JobLost: progress was reported under a claim that was lost.
            JobCancelled: progress was reported on a job that was cancelled.
        """
        ...

    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first.

        Jobs whose worker stopped renewing its lease are taken over by the same call. None: no job
        of these types can be claimed now; so too where *task_types* is empty.
        """
        ...

    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id. Its files stay."""
        ...


class JobReader(Protocol):
    """What tells of jobs and waits for them, and changes none; errors as `JobRepository`.

    Times are milliseconds since the epoch (UTC), *limit* is 1 or more.
    """

    def checkpoint(self, job_id: str) -> JsonObject | None:
        """Return what `save_checkpoint` kept last; None: nothing, or no such job."""
        ...

    def get_details(self, job_id: str) -> JobDetails | None:
        """Return the job with all that is known of it, or None if there is none of that id.

        A row that no record can hold comes back as `get_job` says.
        """
        ...

    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, a page at a time.

        Args:
            jobs: which jobs, and in which order; all, the newest first, by default.
            limit: how many at most.
            after: the `next` of the page before; None for the first page.

        Raises:
            InvalidJobError: *after* is no token of this filter.
        """
        ...

    def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        ...

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first, at most 100; none for unknown jobs.

        The try that succeeded is the job itself: `started_at`, `completed_at`, `retry_count`.
        """
        ...

    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is `completed` or `error`, and return it.

        None: there is no job of that id, or it was removed meanwhile. A database that fails during
        the wait does not end it; closing the database does.

        Args:
            job_id: which job.
            timeout_seconds: how long, 0 or more: 0 reads once, None waits for ever.

        Raises:
            TimeoutError: the job was not final in time.
        """
        ...

    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        """Yield the job as it is now, then at each change, until it is final or removed.

        What changes faster than it is read is merged: each record is the latest. An unknown job
        yields nothing. *timeout_seconds* counts for the whole, from this call.

        Raises:
            TimeoutError: the job was not final in time.
        """
        ...

    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        """Wait until a job of these types can be claimed; False: none came in time.

        True promises nothing: another worker may be faster. Delayed jobs and jobs of lost workers
        become claimable when they are due, as by `fetch_next_job`.

        Args:
            task_types: of which types; with none of them nothing ever comes.
            timeout_seconds: how long, 0 or more: 0 reads once, None waits for ever.
        """
        ...


class JobManagement(JobRepository, JobReader, Protocol):
    """A repository with all that stores, workers and operators need; errors as `JobRepository`.

    Times are milliseconds since the epoch (UTC), *limit* is 1 or more.
    """

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
        """Store a new job; False: that job_id exists and nothing was changed.

        Args:
            job: the job; with status `queued` it waits to be claimed.
            created_by: whose job it is.
            priority: a signed 64-bit integer, 0 by default; the highest is served first.
            max_retries: tries after the first, 0 or more; `JOB_MAX_RETRIES` by default.
            run_at: the job is not claimed before this time (ms); only for status `queued`.
            session: a session of the same database: the job exists, and is announced, exactly if
                its transaction commits. Without it the job is committed at once.
        """
        ...

    def add_jobs(
        self, jobs: Sequence[JobRecordLike | NewJob], created_by: str | None = None
    ) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new.

        Args:
            jobs: records; a `NewJob` adds priority, tries, time and creator to one.
            created_by: whose jobs they are, where a `NewJob` does not say otherwise.

        Raises:
            InvalidJobError: names the position of the first that cannot be stored; nothing was.
        """
        ...

    def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        """Change a live job as `update_job` does, and tell what became of it."""
        ...

    def fail_job(
        self,
        job_id: str,
        message: str,
        *,
        is_permanent: bool = False,
        retry_after_seconds: float | None = None,
    ) -> bool:
        """Report that a job failed; True if that was stored.

        Of a job that this repository claimed it counts as a try: it is tried again after a backoff
        while tries are left, else it ends as `error`. Of any other job it is the end.

        Args:
            job_id: which job.
            message: why, for people to read.
            is_permanent: no other try would help: the job ends as `error` now.
            retry_after_seconds: the delay of the next try, 0 or more, instead of the backoff.
        """
        ...

    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* jobs in one transaction, in claim order; see `fetch_next_job`."""
        ...

    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would.

        Raises:
            InvalidJobError: names the position of the first update that cannot be stored; nothing
                was.
        """
        ...

    def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id.

        A waiting job ends at once; a claimed one when its worker next reports progress, which
        raises JobCancelled: at once, or within a second where reports are being merged. A
        cancelled job is not tried again.
        """
        ...

    def release_job(self, job_id: str) -> bool:
        """Let a running job wait again, without counting a try; False if it is not running.

        For a worker that shuts down, or an operator: whoever works on it loses its claim. A worker
        whose claim was lost changes nothing, and gets False.
        """
        ...

    def retry_job(self, job_id: str) -> bool:
        """Let a job that ended, or waits for its time, run now, with all its tries.

        False: it is running, or there is none of that id.
        """
        ...

    def retry_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        """Do what `retry_job` does to up to *limit* jobs that the filter shows at this moment.

        In one transaction; what others are changing is left out. Returns the ids of those that
        were changed, in the order of the filter: fewer than *limit* were all there are.
        """
        ...

    def cancel_jobs(self, jobs: JobFilter, reason: str, limit: int) -> list[str]:
        """Do what `cancel_job` does to jobs that the filter shows; see `retry_jobs`."""
        ...

    def delete_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        """Do what `delete_job` does to jobs that the filter shows; see `retry_jobs`."""
        ...

    def recover_expired(self) -> int:
        """Let jobs whose lease has ended wait again, or end those whose tries are used up.

        `fetch_next_job` does so by itself; this is for a process that never claims. Returns how
        many jobs changed.
        """
        ...

    def save_checkpoint(self, job_id: str, data: Mapping[str, object]) -> bool:
        """Keep a JSON object with a running job, for its next attempts; it replaces the last one.

        It stays until the job is removed. False: there is no running job of that id.

        Raises:
            InvalidJobError: *data* is no JSON object, or longer than `JOB_JSON_MAX_BYTES`.
            JobLost: this repository's claim on the job was lost.
            JobCancelled: the job was cancelled.
        """
        ...

    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        """Remove jobs that ended before a time, each row together with its files.

        The row is locked, found to be finished still, and gone for good only when its files are: a
        job that was retried meanwhile keeps both. Returns the ids of the jobs removed.

        Args:
            before_ms: the time (ms).
            limit: how many jobs at most; the oldest first.
            remove_files: removes a job's files, such as `storage.remove`; what it raises leaves
                that job's row and ends the purge.
        """
        ...
