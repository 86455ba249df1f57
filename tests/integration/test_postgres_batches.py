"""Batches beside each other, and beside a service's own rows, on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine, text

from cl_server_shared.models import JobRecordUpdate
from cl_server_shared.protocols.jobs import JobManagement
from tests.support.repositories import at, completed, container_on, job, repository_on

pytest_plugins = ["tests.support.databases"]


def finish(jobs: JobManagement, updates: dict[str, JobRecordUpdate]) -> bool:
    return all(jobs.finish_jobs(updates).values())


def test_two_batches_of_the_same_jobs_do_not_wait_for_each_other_in_a_circle(
    postgres_engine: Engine,
) -> None:
    """A circle ends by an error, after PostgreSQL's deadlock_timeout of a second."""
    jobs = repository_on(postgres_engine)
    with ThreadPoolExecutor(2) as threads:
        for number in range(10):
            names = [f"{number} {place}" for place in range(200)]
            jobs.add_jobs([job(name) for name in names])
            assert len(jobs.fetch_next_jobs(["resize"], 200)) == 200
            updates = {name: completed() for name in names}
            turned = dict(reversed(updates.items()))

            assert all(threads.map(partial(finish, jobs), [updates, turned]))
    assert jobs.count_jobs() == {"completed": {"resize": 2_000}}


def test_a_batch_of_reports_and_the_renewal_of_its_leases_do_not_wait_in_a_circle(
    postgres_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    container = container_on(postgres_engine)
    jobs, leases = container.job_repository(), container.leases()
    names = [f"{place}" for place in range(200)]
    for place, name in enumerate(names):
        jobs.add_job(job(name), priority=place)  # so that they are not claimed in their ids' order
    assert len(jobs.fetch_next_jobs(["resize"], 200)) == 200
    with ThreadPoolExecutor(1) as thread:
        reported = [
            thread.submit(finish, jobs, {name: at(progress) for name in names})
            for progress in range(1, 101)
        ]
        while not reported[-1].done():
            leases.renew()
    assert all(each.result() for each in reported)
    assert "deadlock" not in caplog.text


def test_rows_that_refer_to_jobs_hide_none_and_hold_up_none(postgres_engine: Engine) -> None:
    """A service inserts rows with a foreign key to jobs, and has not committed yet."""
    jobs = repository_on(postgres_engine, DATABASE_LOCK_TIMEOUT_SECONDS=1)
    names = ["one", "two", "three", "four"]
    jobs.add_jobs([job(name) for name in names])
    with postgres_engine.begin() as connection:
        connection.execute(text("CREATE TABLE notes (job_id varchar REFERENCES jobs (job_id))"))
    with postgres_engine.connect() as service:
        service.execute(text("INSERT INTO notes SELECT job_id FROM jobs"))

        one = jobs.fetch_next_job(["resize", "other"])
        two = jobs.fetch_next_job(["resize"])
        assert one is not None
        assert two is not None
        three = jobs.fetch_next_jobs(["resize", "other"], 2)
        assert [one.job_id, two.job_id, *[each.job_id for each in three]] == names
        assert finish(jobs, {name: completed() for name in names})
