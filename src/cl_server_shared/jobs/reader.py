"""Reading and waiting: what services and pages ask of the jobs."""

from collections.abc import Iterator, Sequence
from typing import Final, override

from cl_server_shared.jobs import arguments, paging, rows
from cl_server_shared.jobs.attempt_log import logged_attempts
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.waiting import waits
from cl_server_shared.jobs.waiting.watches import JobWatches
from cl_server_shared.models import Attempt, JobDetails, JobFilter, JobPage, JobRecord
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.protocols.jobs import JobReader
from cl_server_shared.protocols.waiting import WatchSource


class SqlJobReader(JobReader):
    """Jobs in a SQL database, read and waited for.

    Args:
        jobs: where the jobs are.
        watches: what waits are made of.
    """

    def __init__(self, jobs: JobDatabase, watches: JobWatches) -> None:
        self._jobs: Final = jobs
        self._watches: Final = watches

    @property
    def watches(self) -> WatchSource:
        """What waits are made of, in threads and on event loops."""
        return self._watches

    @override
    def get_details(self, job_id: str) -> JobDetails | None:
        row = self._jobs.table.read(arguments.checked_job_id(job_id))
        return None if row is None else rows.details_of(row)

    @override
    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        asked = JobFilter() if jobs is None else arguments.checked_filter(jobs)
        wanted = arguments.checked_limit(limit)
        conditions = paging.conditions_of(asked) | paging.position_of(asked, after)
        found = self._jobs.table.find(conditions, wanted, asked.order)
        is_last = len(found) < wanted
        return JobPage(
            tuple(rows.details_of(row) for row in found),
            None if is_last else paging.page_token(asked, found[-1].id),
        )

    @override
    def count_jobs(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for status, task_type, number in self._jobs.table.count():
            counts.setdefault(status, {})[task_type] = number
        return counts

    @override
    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        row = self._jobs.table.read(arguments.checked_job_id(job_id))
        return () if row is None else logged_attempts(rows.state_of(row).attempts)

    @override
    def checkpoint(self, job_id: str) -> JsonObject | None:
        return rows.checkpoint_of(self._jobs.table.checkpoint(arguments.checked_job_id(job_id)))

    @override
    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        return waits.wait_for_job(self.watches, job_id, timeout_seconds)

    @override
    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        return waits.watch_job(self.watches, job_id, timeout_seconds)

    @override
    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        return waits.wait_for_work(self.watches, task_types, timeout_seconds)
