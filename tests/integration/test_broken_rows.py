"""Rows that other code broke block nobody."""

import pytest
from sqlalchemy import Engine, text

from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobStatus
from tests.support.repositories import ManualClock, at, completed, job, repository_on, row_of

pytest_plugins = ["tests.support.databases"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fetched(repository: SqlJobRepository) -> str | None:
    claimed = repository.fetch_next_job(["resize"])
    return None if claimed is None else claimed.job_id


BROKEN = {
    "corrupt JSON": {"params": "'{'"},
    "a list": {"params": "'[1]'"},
    "NaN": {"params": """'{"x": NaN}'"""},
    "no UTF-8": {"params": "CAST(x'ff' AS TEXT)"},
    "too deep": {"params": f"""'{'{"a":' * 50_000}'"""},
    "odd name": {"job_id": "'a' || char(10) || 'b'"},
    "bytes as name": {"job_id": "x'6162'"},
}


@pytest.mark.parametrize("columns", BROKEN.values(), ids=BROKEN)
def test_a_broken_row_at_the_head_ends_as_an_error_and_the_next_job_is_served(
    sqlite_engine: Engine, clock: ManualClock, columns: dict[str, str]
) -> None:
    repository = repository_on(sqlite_engine, clock=clock, DATABASE_LOCK_TIMEOUT_SECONDS=1)
    repository.add_job(job())
    values = {"job_id": "'broken'", "params": "'{}'", "error_message": "NULL", **columns}
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO jobs (task_type, status, progress, priority, created_at, retry_count, "
            f"max_retries, {', '.join(values)}) "
            f"VALUES ('resize', 'queued', 0, 9, 0, 0, 3, {', '.join(values.values())})"
        )

    assert fetched(repository) == "job"
    assert repository.update_job("job", completed())
    clock.advance(30)  # a row that the driver cannot read is known for it only then
    assert fetched(repository) is None

    with sqlite_engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT status, instr(error_message, 'this row cannot be read: ') "
                "FROM jobs WHERE priority = 9"
            )
        ).one()
    assert tuple(found) == ("error", 1)


def test_an_unknown_status_blocks_nobody_and_reads_as_an_error(
    engine: Engine, clock: ManualClock
) -> None:
    worker = repository_on(engine, clock=clock)
    for job_id in ("paused", "next"):
        worker.add_job(job(job_id))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET status = 'paused' WHERE job_id = 'paused'"))

    assert fetched(worker) == "next"
    found = worker.get_job("paused")
    assert found
    assert (found.status, worker.update_job("paused", at(5))) == (JobStatus.error, False)
    assert row_of(engine, "paused")["status"] == "paused"
