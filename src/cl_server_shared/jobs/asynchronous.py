"""The repository for event loops: the same calls, each in a worker thread."""

from collections.abc import Sequence
from functools import partial
from typing import Final, final

import anyio.to_thread

from cl_server_shared.models import JobRecord
from cl_server_shared.protocols import JobRecordLike, JobRecordUpdateLike, JobRepository


@final
class AsyncJobRepository:
    """A `JobRepository` whose calls never hold the event loop (asyncio or trio).

    Each method does, returns and raises what the method of the same name in `JobRepository` does.
    A call that was cancelled still runs to its end before the cancellation goes on.
    """

    def __init__(self, repository: JobRepository) -> None:
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
