"""Finding jobs by the time they were made, on every database."""

import pytest
from sqlalchemy import Engine

from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobFilter
from tests.support.repositories import SettableClock, job, repository_on

pytest_plugins = ["tests.support.databases"]


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def jobs(engine: Engine, clock: SettableClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock)


def ids(jobs: SqlJobRepository, wanted: JobFilter | None = None) -> list[str]:
    return [found.job_id for found in jobs.find_jobs(wanted).jobs]


def test_jobs_are_found_by_when_they_were_made(
    jobs: SqlJobRepository, clock: SettableClock
) -> None:
    began_at = clock.now_ms()
    jobs.add_job(job("old"), "ada")
    clock.advance(1)
    jobs.add_job(job("new", "transcode"), "bob")
    jobs.add_job(job("done", status="completed"), "ada")

    assert ids(jobs, JobFilter(created_from=began_at + 1)) == ["done", "new"]
    assert ids(jobs, JobFilter(created_before=began_at + 1000)) == ["old"]
    assert ids(jobs, JobFilter(created_from=began_at, created_before=began_at + 1)) == ["old"]
