"""Databases of deployed services open in place, and the code that made them goes on working."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from pathlib import Path
from typing import Final, Protocol, cast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session
from sqlmodel import col

from cl_server_shared.database import include_object, make_engine, upgrade
from cl_server_shared.errors import SchemaError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Base, Job, JobRecord, JobStatus
from cl_server_shared.models.json_object import JsonObject
from tests.support.processes import Child
from tests.support.repositories import ManualClock, completed, job, repository_on, row_of

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
GOOD: Final = [f"f{number}" for number in range(12)]
ABANDONED: Final = ["f4", "f5", "f6", "f7"]
WAITING: Final = ["f10", "f9", "f8", "f11"]  # by priority


class _Request(Protocol):
    @property
    def param(self) -> str: ...


@pytest.fixture(params=["create_all.db", "service_migrated.db"])
def path(request: _Request, tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / request.param, tmp_path / "jobs.db"))


@pytest.fixture
def old_rows(path: Path) -> dict[str, dict[str, object]]:
    """Every row as it was before anybody of ours opened the database."""
    return rows_of(path)


@pytest.fixture
def engine(path: Path, old_rows: dict[str, dict[str, object]]) -> Iterator[Engine]:
    assert len(old_rows) == 13
    engine = make_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def repository(engine: Engine, clock: ManualClock) -> SqlJobRepository:
    upgrade(engine, clock)
    return repository_on(engine, clock=clock)


def rows_of(path: Path) -> dict[str, dict[str, object]]:
    with sqlite3.connect(path) as connection:
        cursor = connection.execute("SELECT * FROM jobs ORDER BY id")
        names = [str(column[0]) for column in cursor.description]
        found = cast("list[tuple[object, ...]]", cursor.fetchall())
    connection.close()
    rows = [dict(zip(names, row, strict=True)) for row in found]
    return {str(row["job_id"]): row for row in rows}


def schema_of(path: Path) -> list[tuple[str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


def object_in(column: object) -> JsonObject | None:
    return cast("JsonObject | None", json.loads(str(column)))


def served(repository: SqlJobRepository, task_type: str = "t") -> list[str]:
    """Claim and complete until nothing is left."""
    jobs: list[str] = []
    while (claimed := repository.fetch_next_job([task_type])) is not None:
        jobs.append(claimed.job_id)
        assert repository.update_job(claimed.job_id, completed())
    return jobs


def test_every_good_row_reads_as_the_record_that_it_was(
    engine: Engine, old_rows: dict[str, dict[str, object]]
) -> None:
    repository = repository_on(engine)  # upgraded by its first call

    for job_id in GOOD:
        row = old_rows[job_id]
        assert repository.get_job(job_id) == JobRecord(
            job_id=job_id,
            task_type="t",
            params=object_in(row["params"]) or {},
            status=JobStatus(str(row["status"])),
            progress=int(str(row["progress"])),
            output=object_in(row["output"]),
            error_message=cast("str | None", row["error_message"]),
        )


def test_every_row_reads_through_a_session(
    repository: SqlJobRepository, engine: Engine, old_rows: dict[str, dict[str, object]]
) -> None:
    assert repository.get_job("f0")
    with Session(engine) as session:
        rows = session.scalars(select(Job).order_by(col(Job.id))).all()

    assert [(row.job_id, row.status.value, row.priority, row.created_by) for row in rows] == [
        (job_id, row["status"], row["priority"], row["created_by"])
        for job_id, row in old_rows.items()
    ]


def test_an_upgrade_changes_no_column_of_the_original(
    repository: SqlJobRepository, path: Path, old_rows: dict[str, dict[str, object]]
) -> None:
    assert repository.get_job("f0")

    new_rows = rows_of(path)
    assert {
        job_id: {name: new_rows[job_id][name] for name in row} for job_id, row in old_rows.items()
    } == old_rows


def test_abandoned_jobs_run_again_after_an_hour_and_not_before(
    repository: SqlJobRepository, clock: ManualClock, engine: Engine
) -> None:
    assert served(repository) == WAITING
    clock.advance(3599)
    assert served(repository_on(engine, clock=clock)) == []
    clock.advance(1)

    assert served(repository_on(engine, clock=clock)) == [*reversed(ABANDONED)]
    counted = {job_id: row_of(engine, job_id)["retry_count"] for job_id in ABANDONED}
    assert counted == dict.fromkeys(ABANDONED, 1)


def test_old_code_may_still_finish_its_job_within_that_hour(
    repository: SqlJobRepository, clock: ManualClock, path: Path
) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE jobs SET status = 'completed', progress = 100, completed_at = 1, "
            "output = '{\"late\": true}' WHERE job_id = 'f4'"
        )
    connection.close()
    clock.advance(4000)

    assert "f4" not in served(repository)
    found = repository.get_job("f4")
    assert found
    assert (found.status, found.output) == (JobStatus.completed, {"late": True})


def test_old_code_goes_on_adding_claiming_and_finishing(
    repository: SqlJobRepository, path: Path
) -> None:
    assert repository.get_job("f0")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO jobs (job_id, task_type, priority, params, output, status, progress, "
            "created_at, retry_count, max_retries, created_by) VALUES "
            "('old', 'old type', 3, '{\"a\": 1}', 'null', 'queued', 0, 5, 0, 3, 'me')"
        )
        claimed = connection.execute(
            "UPDATE jobs SET status = 'processing', started_at = 6 "
            "WHERE job_id = 'f11' AND status = 'queued'"
        )
        found = connection.execute("SELECT job_id, status FROM jobs WHERE id = 1").fetchall()
    connection.close()

    assert (claimed.rowcount, found) == (1, [("f0", "completed")])
    assert served(repository) == ["f10", "f9", "f8"]
    assert repository.fetch_next_job(["old type"]) == job(
        "old", "old type", params={"a": 1}, status="processing"
    )
    assert repository.update_job("old", completed())


def test_a_row_that_holds_nan_ends_as_an_error_when_its_turn_comes(
    repository: SqlJobRepository, engine: Engine
) -> None:
    reason = "this row cannot be read: params: "
    before = repository.get_job("nan")
    repository.add_job(job("behind it", "other"))

    assert served(repository, "other") == ["behind it"]

    assert before
    assert (before.status, before.params, before.progress) == (JobStatus.error, {}, 0)
    assert str(before.error_message).startswith(reason)
    assert row_of(engine, "nan")["status"] == "error"
    assert str(row_of(engine, "nan")["error_message"]).startswith(reason)
    assert repository.get_job("nan") == before


def upgraded(url: str) -> bool:
    engine = make_engine(url)
    upgrade(engine)
    found = repository_on(engine).get_job("f0")
    engine.dispose()
    return found is not None


@pytest.mark.slow  # processes
def test_upgrading_again_and_by_four_processes_at_once_changes_nothing_more(
    path: Path, tmp_path: Path, old_rows: dict[str, dict[str, object]]
) -> None:
    alone = Path(shutil.copy(path, tmp_path / "alone.db"))
    for _ in range(2):
        assert upgraded(f"sqlite:///{alone}")
    together = [Child(partial(upgraded, f"sqlite:///{path}")) for _ in range(4)]

    assert [process.result() for process in together] == [True] * 4
    assert schema_of(path) == schema_of(alone)
    assert rows_of(path).keys() == old_rows.keys()


def test_the_first_call_waits_for_a_lock_as_every_other_does(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.01})  # a service's own
    repository = repository_on(engine)
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(repository.get_job, "f0")
        with pytest.raises(FutureTimeoutError):
            first.result(0.2)  # it waits, twenty times as long as the engine would
        holder.execute("ROLLBACK")
        assert first.result(30) is not None
    holder.close()
    with engine.connect() as pooled:
        assert pooled.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10  # as it was
    engine.dispose()


def test_without_leave_to_upgrade_the_command_is_named_and_nothing_changed(
    engine: Engine, path: Path
) -> None:
    before = schema_of(path)
    repository = repository_on(engine, SCHEMA_AUTO_UPGRADE=False)

    with pytest.raises(SchemaError, match=r"lacks .*claim_number.*upgrade\(engine\)"):
        repository.get_job("f0")

    assert schema_of(path) == before
    upgrade(engine)
    assert repository.get_job("f0")


def test_a_database_that_a_migration_tool_owns_is_not_filled_before_it_did(
    tmp_path: Path,
) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/empty.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))

    with pytest.raises(SchemaError, match="lacks the table jobs: run the service's own migrations"):
        repository_on(engine).get_job("f0")
    engine.dispose()


def test_tables_of_a_newer_version_are_left_alone(repository: SqlJobRepository, path: Path) -> None:
    assert repository.get_job("f0")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE cl_server_shared_schema SET version = 1000")
    connection.close()
    engine = make_engine(f"sqlite:///{path}")

    with pytest.raises(SchemaError, match="version 1000"):
        repository_on(engine).get_job("f0")
    with pytest.raises(SchemaError, match="version 1000"):
        upgrade(engine)
    engine.dispose()


def differences(engine: Engine, **options: object) -> list[str]:
    """Return what Alembic would write into a migration, service_config apart."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, **options})
        found = cast("list[object]", compare_metadata(context, Base.metadata))
    return [str(each) for each in found if "service_config" not in str(each)]


def test_alembic_sees_no_difference_before_and_after_the_upgrade(engine: Engine) -> None:
    before = differences(engine)
    upgrade(engine)

    assert before == []
    assert differences(engine, include_object=include_object) == []
