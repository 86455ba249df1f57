"""How every repository finds and counts jobs; part of `JobManagementConformance`."""

import pytest

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobFilter, JobStatus
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.testing.records import job

_AFTER_ALL_MS = 2**53


class JobSearchConformance:
    """Pages of jobs, and their counts."""

    def test_jobs_are_found_by_each_condition_the_newest_first(
        self, repository: JobManagement
    ) -> None:
        repository.add_job(job("old"), "ada")
        repository.add_job(job("new", "transcode"), "bob")
        repository.add_job(job("done", status="completed"), "ada")

        def ids(wanted: JobFilter | None = None) -> list[str]:
            return [found.job_id for found in repository.find_jobs(wanted).jobs]

        assert ids() == ["done", "new", "old"]
        assert ids(JobFilter(statuses=[JobStatus.queued])) == ["new", "old"]
        assert ids(JobFilter(statuses=[])) == []
        assert ids(JobFilter(task_types=["resize"], created_by="ada")) == ["done", "old"]
        assert ids(JobFilter(created_from=1)) == ["done", "new", "old"]
        assert ids(JobFilter(created_from=_AFTER_ALL_MS)) == ids(JobFilter(created_before=1)) == []

    def test_pages_show_each_old_job_once_while_jobs_come_and_go(
        self, repository: JobManagement
    ) -> None:
        repository.add_jobs([job(f"job-{number}") for number in range(6)])
        first = repository.find_jobs(limit=2)
        repository.add_job(job("newcomer"))
        repository.delete_job("job-5")
        repository.delete_job("job-3")
        second = repository.find_jobs(limit=2, after=first.next)
        third = repository.find_jobs(limit=2, after=second.next)

        pages = [[found.job_id for found in page.jobs] for page in (first, second, third)]
        assert pages == [["job-5", "job-4"], ["job-2", "job-1"], ["job-0"]]
        assert third.next is None

    def test_a_page_token_serves_its_own_filter_alone(self, repository: JobManagement) -> None:
        repository.add_jobs([job("a"), job("b")])
        token = repository.find_jobs(limit=1).next
        assert token is not None

        for wanted, after in (
            (JobFilter(created_by="ada"), token),
            (None, ""),
            (None, "made up"),
            (None, token[:-4] + "AAAA"),
            (None, "\ud800"),
        ):
            with pytest.raises(InvalidJobError, match="token"):
                repository.find_jobs(wanted, after=after)

    def test_jobs_are_counted_by_status_and_type(self, repository: JobManagement) -> None:
        assert repository.count_jobs() == {}

        repository.add_jobs([job("a"), job("b"), job("c", "transcode")])
        repository.fetch_next_job(["resize"])

        expected = {"processing": {"resize": 1}, "queued": {"resize": 1, "transcode": 1}}
        assert repository.count_jobs() == expected
