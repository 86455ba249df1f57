"""The table of the jobs: what many jobs have in common, checkpoints, delays; on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from cl_server_shared.jobs.claim_table import Lease
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_table import JobTable
from cl_server_shared.jobs.new_jobs import Terms, new_row
from cl_server_shared.jobs.paging import conditions_of
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.rows import state_of
from cl_server_shared.jobs.sql.search import Eligible
from cl_server_shared.models import JobFilter, JobStatus
from tests.support.repositories import container_on, job, row_of

pytest_plugins = ["tests.support.databases"]


@pytest.fixture
def jobs(engine: Engine) -> JobDatabase:
    container = container_on(engine)
    parts = container.repository_parts()
    return JobDatabase(container.session_factory(), parts.options, parts.outbox)


def add(
    table: JobTable,
    job_id: str,
    status: JobStatus = JobStatus.queued,
    run_at: int | None = None,
) -> None:
    terms = Terms("ada", run_at=run_at)
    record = job(job_id, status=status)
    row, _ = new_row(record, terms, JobPolicy(), claim_number=0, now_ms=5)
    assert table.add(row)


def ids_to(jobs: JobDatabase, eligible: Eligible, wanted: JobFilter, limit: int = 9) -> list[str]:
    with jobs.batch("test") as table:
        found = table.matching(conditions_of(wanted), eligible, limit, wanted.order)
        return [row.job_id for row in found]


def test_a_delayed_job_is_claimed_when_its_time_has_come(jobs: JobDatabase) -> None:
    add(jobs.table, "later", run_at=50)
    lease = Lease(50, 80, "w")

    assert jobs.table.next_due_at() == 50
    assert jobs.table.claim(["resize"], lease) is None
    assert jobs.table.promote(50) == 1
    claimed = jobs.table.claim(["resize"], lease)
    assert claimed is not None
    assert claimed.job_id == "later"


def test_many_jobs_are_added_each_with_its_own_delay(jobs: JobDatabase) -> None:
    new = [
        new_row(job(f"{at}"), Terms(None, at, run_at=at), JobPolicy(), claim_number=at, now_ms=5)
        for at in (0, 50, 60)
    ]
    with jobs.batch("test") as table:
        assert table.add_each([row for row, _ in new]) == [True] * 3

    found = jobs.table.find({}, 9, "oldest")
    assert [(state_of(row).available_at, row.priority) for row in found] == [
        (None, 0),
        (50, 50),
        (60, 60),
    ]


def test_only_jobs_on_which_something_can_be_done_match(jobs: JobDatabase) -> None:
    for status in JobStatus:
        add(jobs.table, str(status), status)
    add(jobs.table, "delayed", run_at=50)
    add(jobs.table, "claimed")
    (claimed,) = jobs.table.find({"job_ids": '["claimed"]'}, 1)
    cancelled = state_of(claimed)._replace(status=JobStatus.processing, cancel_reason="no")
    assert jobs.table.save_state(claimed.id, state_of(claimed), cancelled, 6, None)
    oldest = JobFilter(order="oldest")

    assert ids_to(jobs, "retry", oldest) == ["completed", "error", "delayed"]
    assert ids_to(jobs, "cancel", oldest) == ["queued", "processing", "delayed"]
    assert ids_to(jobs, "delete", JobFilter(), 2) == ["claimed", "delayed"]
    named = JobFilter(job_ids=["error", "queued"], statuses=[JobStatus.error, JobStatus.completed])
    assert ids_to(jobs, "retry", named) == ["error"]


def test_what_somebody_is_changing_is_passed_over(postgres_engine: Engine) -> None:
    """On SQLite nobody else changes anything meanwhile."""
    container = container_on(postgres_engine)
    parts = container.repository_parts()
    jobs = JobDatabase(container.session_factory(), parts.options, parts.outbox)
    for number in range(4):
        add(jobs.table, f"{number}")
    oldest = JobFilter(order="oldest")
    with ThreadPoolExecutor(1) as thread, jobs.batch("test") as table:
        assert len(table.matching({}, "cancel", 2, "oldest")) == 2

        assert thread.submit(ids_to, jobs, "cancel", oldest).result() == ["2", "3"]
        assert thread.submit(ids_to, jobs, "delete", oldest).result() == ["2", "3"]


def test_rows_that_are_removed_together_are_told(jobs: JobDatabase) -> None:
    for number in range(3):
        add(jobs.table, f"{number}")
    with jobs.batch("test") as table:
        ids = [row.id for row in table.matching({}, "delete", 2)]
        assert sorted(table.delete_each([*ids, 99])) == ["1", "2"]
        assert table.delete_each([]) == []

    assert [row.job_id for row in jobs.table.find({}, 9)] == ["0"]


def test_a_checkpoint_is_saved_while_the_job_runs_and_read_at_any_time(
    jobs: JobDatabase, engine: Engine
) -> None:
    add(jobs.table, "job")
    assert not jobs.table.save_checkpoint("job", "{}", None)
    claimed = jobs.table.claim(["resize"], Lease(5, 9, "w"))
    assert claimed is not None
    claim = claimed.state.claim_number
    before = row_of(engine, "job")

    assert jobs.table.checkpoint("job") is None
    assert jobs.table.save_checkpoint("job", '{"step":1}', claim)
    assert not jobs.table.save_checkpoint("job", '{"step":2}', claim + 1)
    assert jobs.table.checkpoint("job") == '{"step":1}'
    assert row_of(engine, "job") == {**before, "checkpoint": '{"step":1}'}
    assert jobs.table.save_checkpoint("job", '{"step":3}', None)
    assert jobs.table.checkpoint("job") == '{"step":3}'


@pytest.mark.parametrize("job_id", ["none", "a\0b", "\ud800"], ids=ascii)
def test_a_job_that_is_not_there_has_no_checkpoint(jobs: JobDatabase, job_id: str) -> None:
    assert not jobs.table.save_checkpoint(job_id, "{}", None)
    assert jobs.table.checkpoint(job_id) is None
