"""Finding and counting jobs, on every database."""

from typing import Final

import pytest
from sqlalchemy import Engine

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobFilter, JobStatus
from tests.support.repositories import SettableClock, job, repository_on

pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def jobs(engine: Engine, clock: SettableClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock)


def ids(jobs: SqlJobRepository, wanted: JobFilter | None = None) -> list[str]:
    return [found.job_id for found in jobs.find_jobs(wanted).jobs]


def test_jobs_are_found_by_each_condition_the_newest_first(
    jobs: SqlJobRepository, clock: SettableClock
) -> None:
    began_at = clock.now_ms()
    jobs.add_job(job("old"), "ada")
    clock.advance(1)
    jobs.add_job(job("new", "transcode"), "bob")
    jobs.add_job(job("done", status="completed"), "ada")

    assert ids(jobs) == ["done", "new", "old"]
    assert ids(jobs, JobFilter(statuses=[JobStatus.queued])) == ["new", "old"]
    assert ids(jobs, JobFilter(statuses=[])) == []
    assert ids(jobs, JobFilter(task_types=["resize"], created_by="ada")) == ["done", "old"]
    assert ids(jobs, JobFilter(created_from=began_at + 1)) == ["done", "new"]
    assert ids(jobs, JobFilter(created_before=began_at + 1000)) == ["old"]


def test_pages_show_each_old_job_once_while_jobs_come_and_go(jobs: SqlJobRepository) -> None:
    jobs.add_jobs([job(f"job-{number}") for number in range(6)])
    first = jobs.find_jobs(limit=2)
    jobs.add_job(job("newcomer"))
    jobs.delete_job("job-5")
    jobs.delete_job("job-3")
    second = jobs.find_jobs(limit=2, after=first.next)
    third = jobs.find_jobs(limit=2, after=second.next)

    pages = [[found.job_id for found in page.jobs] for page in (first, second, third)]
    assert pages == [["job-5", "job-4"], ["job-2", "job-1"], ["job-0"]]
    assert third.next is None


def test_a_page_token_serves_its_own_filter_alone(jobs: SqlJobRepository) -> None:
    jobs.add_jobs([job("a"), job("b")])
    token = jobs.find_jobs(limit=1).next
    assert token is not None

    for wanted, after in (
        (JobFilter(created_by="ada"), token),
        (None, ""),
        (None, "made up"),
        (None, token[:-4] + "AAAA"),
        (None, "\ud800"),
    ):
        with pytest.raises(InvalidJobError, match="token"):
            jobs.find_jobs(wanted, after=after)


def test_jobs_are_counted_by_status_and_type(jobs: SqlJobRepository) -> None:
    assert jobs.count_jobs() == {}

    jobs.add_jobs([job("a"), job("b"), job("c", "transcode")])
    jobs.fetch_next_job(RESIZE)

    expected = {"processing": {"resize": 1}, "queued": {"resize": 1, "transcode": 1}}
    assert jobs.count_jobs() == expected
