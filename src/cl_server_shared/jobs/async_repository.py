"""The repository for event loops: the same calls, each in a worker thread."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final, final

import anyio.to_thread
from sqlalchemy.orm import Session

from cl_server_shared.jobs.waiting import async_waits
from cl_server_shared.jobs.waiting.polling import watches_of
from cl_server_shared.models import Attempt, JobDetails, JobFilter, JobPage, JobRecord, NewJob
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.models.outcome import Outcome
from cl_server_shared.protocols.fitting import require_port
from cl_server_shared.protocols.jobs import JobManagement, JobRecordLike, JobRecordUpdateLike


@final
class AsyncJobRepository:
    """A `JobManagement` whose calls never hold the event loop (asyncio or trio).

    Each method takes, does, returns and raises what the method of the same name there does. A call
    that was cancelled still runs to its end before the cancellation goes on; waits hold no thread,
    and a cancellation ends them at once.

    Args:
        repository: does the work.

    Raises:
        ConfigError: *repository* is none.
    """

    def __init__(self, repository: JobManagement) -> None:
        require_port("repository", repository, JobManagement)
        self._repository: Final = repository

    async def add_job(  # noqa: PLR0913  # the port's
        self,
        job: JobRecordLike,
        created_by: str | None = None,
        priority: int | None = None,
        *,
        max_retries: int | None = None,
        run_at: int | None = None,
        session: Session | None = None,
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed."""
        return await _in_thread(
            self._repository.add_job,
            job,
            created_by,
            priority,
            max_retries=max_retries,
            run_at=run_at,
            session=session,
        )

    async def add_jobs(
        self, jobs: Sequence[JobRecordLike | NewJob], created_by: str | None = None
    ) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new."""
        return await _in_thread(self._repository.add_jobs, jobs, created_by)

    async def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id."""
        return await _in_thread(self._repository.get_job, job_id)

    async def get_details(self, job_id: str) -> JobDetails | None:
        """Return the job with all that is known of it, or None if there is none of that id."""
        return await _in_thread(self._repository.get_details, job_id)

    async def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for."""
        return await _in_thread(self._repository.update_job, job_id, updates)

    async def apply_update(self, job_id: str, updates: JobRecordUpdateLike) -> Outcome:
        """Change a live job as `update_job` does, and tell what became of it."""
        return await _in_thread(self._repository.apply_update, job_id, updates)

    async def fail_job(
        self,
        job_id: str,
        message: str,
        *,
        is_permanent: bool = False,
        retry_after_seconds: float | None = None,
    ) -> bool:
        """Report that a job failed; True if that was stored."""
        return await _in_thread(
            self._repository.fail_job,
            job_id,
            message,
            is_permanent=is_permanent,
            retry_after_seconds=retry_after_seconds,
        )

    async def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first."""
        return await _in_thread(self._repository.fetch_next_job, task_types)

    async def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* jobs in one transaction, in claim order."""
        return await _in_thread(self._repository.fetch_next_jobs, task_types, limit)

    async def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would."""
        return await _in_thread(self._repository.finish_jobs, updates)

    async def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id."""
        return await _in_thread(self._repository.delete_job, job_id)

    async def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id."""
        return await _in_thread(self._repository.cancel_job, job_id, reason)

    async def release_job(self, job_id: str) -> bool:
        """Let a running job wait again, without counting a try."""
        return await _in_thread(self._repository.release_job, job_id)

    async def retry_job(self, job_id: str) -> bool:
        """Let a job that ended, or waits for its time, run now, with all its tries."""
        return await _in_thread(self._repository.retry_job, job_id)

    async def retry_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        """Do what `retry_job` does to jobs that the filter shows; return their ids."""
        return await _in_thread(self._repository.retry_jobs, jobs, limit)

    async def cancel_jobs(self, jobs: JobFilter, reason: str, limit: int) -> list[str]:
        """Do what `cancel_job` does to jobs that the filter shows; return their ids."""
        return await _in_thread(self._repository.cancel_jobs, jobs, reason, limit)

    async def delete_jobs(self, jobs: JobFilter, limit: int) -> list[str]:
        """Do what `delete_job` does to jobs that the filter shows; return their ids."""
        return await _in_thread(self._repository.delete_jobs, jobs, limit)

    async def recover_expired(self) -> int:
        """Let jobs whose lease has ended wait again, or end them; return how many."""
        return await _in_thread(self._repository.recover_expired)

    async def save_checkpoint(self, job_id: str, data: Mapping[str, object]) -> bool:
        """Keep a JSON object with a running job, for its next attempts."""
        return await _in_thread(self._repository.save_checkpoint, job_id, data)

    async def checkpoint(self, job_id: str) -> JsonObject | None:
        """Return what `save_checkpoint` kept last; None: nothing, or no such job."""
        return await _in_thread(self._repository.checkpoint, job_id)

    async def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, a page at a time."""
        return await _in_thread(self._repository.find_jobs, jobs, limit=limit, after=after)

    async def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        return await _in_thread(self._repository.count_jobs)

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first; none for an unknown job."""
        return await _in_thread(self._repository.attempts, job_id)

    async def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        """Remove jobs that ended before a time, each row together with its files.

        *remove_files* is called in a worker thread.
        """
        return await _in_thread(self._repository.purge_finished, before_ms, limit, remove_files)

    async def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is final; None: there is none of that id, or no longer.

        Raises:
            TimeoutError: it was not final in time.
        """
        watches = watches_of(self._repository)
        return await async_waits.wait_for_job(watches, job_id, timeout_seconds)

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
        watches = watches_of(self._repository)
        return await async_waits.wait_for_work(watches, task_types, timeout_seconds)


async def _in_thread[**P, T](function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(partial(function, *args, **named))
