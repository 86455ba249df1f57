"""The ports: what each part of the house may be replaced by.

An implementation inherits its port explicitly, so that the type checker proves it complete.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

from cl_server_shared.models import (
    Attempt,
    JobFilter,
    JobPage,
    JobRecord,
)
from cl_server_shared.protocols.waiting import JobSnapshot, Watch


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
    """Keeps jobs; every call is one committed change or none."""

    def add_job(
        self, job: JobRecordLike, created_by: str | None = None, priority: int | None = None
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed.

        Raises:
            InvalidJobError: the record or *priority* (a signed 64-bit integer) cannot be stored.
        """
        ...

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id."""
        ...

    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for.

        Raises:
            InvalidJobError: the update cannot be stored.
        """
        ...

    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first."""
        ...

    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id."""
        ...


class JobManagement(JobRepository, Protocol):
    """A repository with all that stores, workers and operators need beside the five verbs."""

    def add_jobs(self, jobs: Sequence[JobRecordLike], created_by: str | None = None) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new."""
        ...

    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* (1 or more) jobs in one transaction, in the order of the line."""
        ...

    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would."""
        ...

    def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id."""
        ...

    def release_job(self, job_id: str) -> bool:
        """Put a running job back into the line, without counting a try."""
        ...

    def retry_job(self, job_id: str) -> bool:
        """Put a job that ended, or waits for its next try, into the line with all its tries."""
        ...

    def recover_expired(self) -> int:
        """Recover jobs whose lease has ended; returns how many."""
        ...

    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, the newest first, a page of *limit* (1 or more) at a time."""
        ...

    def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        ...

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first; none for an unknown job."""
        ...

    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        """Remove up to *limit* jobs that ended before a time (ms), with their files."""
        ...

    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is final; None: there is none of that id, or no longer.

        Raises:
            TimeoutError: it was not final in time.
        """
        ...

    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        """Yield a job as it is and at each change that is seen, until it is final or removed.

        Raises:
            TimeoutError: it was not final in time.
        """
        ...

    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        """Wait until a job of these types can be claimed; False: none came in time."""
        ...

    def look_out_for_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Watch[JobSnapshot]:
        """Look out for a job: what the waits are made of, on threads and on event loops.

        *wake* is called from any thread, and returns at once. With *only_final*, what changes
        before the job's end is nothing to tell.
        """
        ...

    def look_out_for_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Watch[Literal[True]]:
        """Look out for jobs of these types that can be claimed; see `look_out_for_job`."""
        ...
