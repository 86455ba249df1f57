"""The repository for event loops: the same calls, each in a worker thread."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final, final

import anyio.to_thread

from cl_server_shared.jobs.waiting import async_waits
from cl_server_shared.jobs.waiting.polling import watches_of
from cl_server_shared.models import Attempt, JobFilter, JobPage, JobRecord
from cl_server_shared.protocols.jobs import JobManagement, JobRecordLike, JobRecordUpdateLike


@final
class AsyncJobRepository:
    """A `JobManagement` whose calls never hold the event loop (asyncio or trio).

    Each method does, returns and raises what the method of the same name there does.
    A call that was cancelled still runs to its end before the cancellation goes on.
    """

    def __init__(self, repository: JobManagement) -> None:
        self._repository: Final = repository

    async def add_job(
        self, job: JobRecordLike, created_by: str | None = None, priority: int | None = None
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed."""
        call = partial(self._repository.add_job, job, created_by=created_by, priority=priority)
        return await anyio.to_thread.run_sync(call)

    async def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id."""
        return await anyio.to_thread.run_sync(self._repository.get_job, job_id)

    async def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for."""
        return await anyio.to_thread.run_sync(self._repository.update_job, job_id, updates)

    async def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first."""
        return await anyio.to_thread.run_sync(self._repository.fetch_next_job, task_types)

    async def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id."""
        return await anyio.to_thread.run_sync(self._repository.delete_job, job_id)

    async def add_jobs(
        self, jobs: Sequence[JobRecordLike], created_by: str | None = None
    ) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new."""
        return await anyio.to_thread.run_sync(self._repository.add_jobs, jobs, created_by)

    async def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* (1 or more) jobs in one transaction, in the order of the line."""
        return await anyio.to_thread.run_sync(self._repository.fetch_next_jobs, task_types, limit)

    async def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would."""
        return await anyio.to_thread.run_sync(self._repository.finish_jobs, updates)

    async def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id."""
        return await anyio.to_thread.run_sync(self._repository.cancel_job, job_id, reason)

    async def release_job(self, job_id: str) -> bool:
        """Put a running job back into the line, without counting a try."""
        return await anyio.to_thread.run_sync(self._repository.release_job, job_id)

    async def retry_job(self, job_id: str) -> bool:
        """Put a job that ended, or waits for its next try, into the line with all its tries."""
        return await anyio.to_thread.run_sync(self._repository.retry_job, job_id)

    async def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, the newest first, a page of *limit* (1 or more) at a time."""
        call = partial(self._repository.find_jobs, jobs, limit=limit, after=after)
        return await anyio.to_thread.run_sync(call)

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first; none for an unknown job."""
        return await anyio.to_thread.run_sync(self._repository.attempts, job_id)

    async def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is final; None: there is none of that id, or no longer.

        No thread is occupied meanwhile, and a cancellation ends the wait at once.

        Raises:
            TimeoutError: it was not final in time.
        """
        return await async_waits.wait_for_job(watches_of(self._repository), job_id, timeout_seconds)

    def watch_job(
        self, job_id: str, timeout_seconds: float | None = None
    ) -> AsyncIterator[JobRecord]:
        """Yield a job as it is and at each change that is seen, until it is final or removed.

        Raises:
            TimeoutError: it was not final in time.
        """
        return async_waits.JobStream(watches_of(self._repository), job_id, timeout_seconds)

    async def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        """Wait until a job of these types can be claimed; False: none came in time."""
        return await async_waits.wait_for_work(
            watches_of(self._repository), task_types, timeout_seconds
        )

    async def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        return await anyio.to_thread.run_sync(self._repository.count_jobs)
