"""How every repository purges, row and files; part of `JobManagementConformance`."""

import pytest

from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.records import job

_RESIZE = ["resize"]
_AFTER_ALL_MS = 2**53
"""A time by which every job has ended."""


class JobPurgeConformance:
    """Removing what ended long ago, row and files as one."""

    def test_a_purge_removes_ended_jobs_with_their_files_the_oldest_first(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job("running"))
        repository.fetch_next_job(_RESIZE)
        for job_id in ("first", "second", "third"):
            repository.add_job(job(job_id, status="completed"))
        removed: list[str] = []

        assert repository.purge_finished(1, 2, removed.append) == []
        assert repository.purge_finished(_AFTER_ALL_MS, 2, removed.append) == ["first", "second"]
        assert removed == ["first", "second"]
        assert {each.job_id for each in repository.find_jobs().jobs} == {"running", "third"}

    def test_files_that_cannot_be_removed_keep_their_row(self, repository: JobManagement) -> None:
        repository.add_job(job(status="completed"))

        def fail(_job_id: str) -> None:
            raise PermissionError("not yours")

        with pytest.raises(PermissionError):
            repository.purge_finished(_AFTER_ALL_MS, 10, fail)
        assert repository.get_job("job") is not None

    def test_a_job_that_was_retried_keeps_row_and_files(self, repository: JobManagement) -> None:
        repository.add_jobs([job("first", status="error"), job("second", status="error")])
        removed: list[str] = []

        repository.retry_job("second")
        assert repository.purge_finished(_AFTER_ALL_MS, 10, removed.append) == ["first"]
        assert removed == ["first"]
        assert repository.get_job("first") is None
        assert repository.get_job("second") is not None
