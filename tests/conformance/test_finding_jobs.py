"""What is found by times and ids, and all that is told of it, on every database."""

from typing import Final

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Base, Job, JobFilter, JobStatus, QueueEntry
from tests.support.repositories import ManualClock, failed, job, repository_on

pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def jobs(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    return repository_on(engine, clock=clock)


def ids(jobs: SqlJobRepository, wanted: JobFilter | None = None) -> list[str]:
    return [found.job_id for found in jobs.find_jobs(wanted).jobs]


def test_jobs_are_found_by_when_they_were_made(jobs: SqlJobRepository, clock: ManualClock) -> None:
    began_at = clock.now_ms()
    jobs.add_job(job("old"), "ada")
    clock.advance(1)
    jobs.add_job(job("new", "transcode"), "bob")
    jobs.add_job(job("done", status="completed"), "ada")

    assert ids(jobs, JobFilter(created_from=began_at + 1)) == ["done", "new"]
    assert ids(jobs, JobFilter(created_before=began_at + 1000)) == ["old"]


def test_jobs_are_found_by_when_they_ended(jobs: SqlJobRepository, clock: ManualClock) -> None:
    jobs.add_jobs([job("live"), job("first", status="completed")])
    clock.advance(1)
    jobs.add_job(job("second", status="error"))
    at = clock.now_ms()

    assert ids(jobs, JobFilter(finished_from=at)) == ["second"]
    assert ids(jobs, JobFilter(finished_before=at)) == ["first"]
    assert ids(jobs, JobFilter(finished_from=at - 1000, finished_before=at + 1)) == [
        "second",
        "first",
    ]


def test_jobs_are_found_by_their_ids_whatever_was_asked_for(jobs: SqlJobRepository) -> None:
    jobs.add_jobs([job("a"), job("b"), job("c")])

    assert ids(jobs, JobFilter(job_ids=["c", "a", "none", "a\0b", "\ud800"])) == ["c", "a"]
    assert ids(jobs, JobFilter(job_ids=[])) == []
    assert ids(jobs, JobFilter(job_ids=["a"], statuses=[JobStatus.error])) == []


def test_the_oldest_come_first_where_that_is_asked_for(jobs: SqlJobRepository) -> None:
    jobs.add_jobs([job(f"{number}") for number in range(5)])
    wanted = JobFilter(order="oldest")
    first = jobs.find_jobs(wanted, limit=2)
    jobs.delete_job("1")
    second = jobs.find_jobs(wanted, limit=2, after=first.next)
    third = jobs.find_jobs(wanted, limit=2, after=second.next)

    pages = [[found.job_id for found in page.jobs] for page in (first, second, third)]
    assert pages == [["0", "1"], ["2", "3"], ["4"]]
    with pytest.raises(InvalidJobError, match="token"):
        jobs.find_jobs(after=first.next)


def test_found_jobs_show_all_that_is_known_of_them(
    jobs: SqlJobRepository, clock: ManualClock
) -> None:
    began_at = clock.now_ms()
    jobs.add_job(job("a"), "ada", 7, max_retries=1)
    jobs.fetch_next_job(RESIZE)
    clock.advance(1)
    jobs.cancel_job("a", "no longer wanted")

    (found,) = jobs.find_jobs().jobs
    told = found.model_dump()
    assert (found.worker_id, found.lease_expires_at) != (None, None)
    told.pop("worker_id")
    told.pop("lease_expires_at")
    assert told == {
        **job("a", status="processing").model_dump(),
        "created_by": "ada",
        "priority": 7,
        "created_at": began_at,
        "started_at": began_at,
        "completed_at": None,
        "updated_at": began_at + 1000,
        "retry_count": 0,
        "max_retries": 1,
        "available_at": None,
        "cancel_reason": "no longer wanted",
        "last_error": None,
    }


def test_queue_entries_are_read_before_the_repository_has_completed_the_table(
    engine: Engine, clock: ManualClock
) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Job(job_id="a", task_type="t", created_at=5))
        session.commit()
        assert [(e.job_id, e.run_at) for e in session.scalars(select(QueueEntry))] == [("a", None)]

    jobs = repository_on(engine, clock=clock, JOB_RETRY_BASE_SECONDS=1_000)
    assert jobs.fetch_next_job(["t"])
    jobs.update_job("a", failed())
    with Session(engine) as session:
        delayed = session.scalars(select(QueueEntry)).one()
        assert delayed.run_at is not None
        assert delayed.run_at > clock.now_ms()
