"""A table with a past: finished jobs, jobs that wait for others, and delayed ones.

It is filled by SQL without indexes, which are made again afterwards: row by row it would take
hours.
"""

from typing import Final, cast

from sqlalchemy import Connection, Engine, text

from cl_server_shared.database import upgrade
from tests.benchmarks.queues import TASK_TYPE

_FILL: Final = """
INSERT INTO jobs (job_id, task_type, params, status, progress, priority, created_at, completed_at,
                  retry_count, max_retries, available_at, claim_number, event_seq)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})
SELECT '{kind}-' || n, {task_type}, '{{"width": 1280}}', '{status}', 0, 0, n, {completed_at}, 0, 3,
       {available_at}, 0, 1
FROM numbers
"""
_FAR_MS: Final = 9_000_000_000_000
_INDEXES: Final = {
    "sqlite": (
        "SELECT name, sql FROM sqlite_master "
        "WHERE type = 'index' AND tbl_name = 'jobs' AND sql IS NOT NULL"
    ),
    "postgresql": (
        "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE tablename = 'jobs' AND indexname <> 'jobs_pkey'"
    ),
}


def fill(engine: Engine, finished: int) -> None:
    """Make the tables and fill them.

    Args:
        engine: of an empty database.
        finished: how many jobs have ended; a tenth as many wait, of 50 other task types, and a
            hundredth, of the type that is asked for, are delayed.
    """
    upgrade(engine)
    if not finished:
        return
    with engine.begin() as connection:
        indexes = _drop_indexes(connection)
        _add(connection, finished, "finished", "completed")
        _add(connection, finished // 10, "other", "queued", task_type="'other ' || n % 50")
        _add(connection, finished // 100, "delayed", "queued", available_at=str(_FAR_MS))
        for definition in indexes:
            connection.exec_driver_sql(definition)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _drop_indexes(connection: Connection) -> list[str]:
    rows = connection.execute(text(_INDEXES[connection.dialect.name])).all()
    indexes = cast("list[tuple[str, str]]", rows)  # a text's columns have no types
    for name, _ in indexes:
        connection.exec_driver_sql(f"DROP INDEX {name}")
    return [definition for _, definition in indexes]


def _add(  # noqa: PLR0913  # the columns that differ
    connection: Connection,
    number: int,
    kind: str,
    status: str,
    *,
    task_type: str = f"'{TASK_TYPE}'",
    available_at: str = "NULL",
) -> None:
    if number:
        statement = _FILL.format(
            number=number,
            kind=kind,
            status=status,
            task_type=task_type,
            completed_at="n" if status == "completed" else "NULL",
            available_at=available_at,
        )
        connection.execute(text(statement))
