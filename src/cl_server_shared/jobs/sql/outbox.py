"""The outbox: which jobs' states no acknowledged event has announced."""

from typing import Final

from cl_server_shared.database import Statement
from cl_server_shared.jobs.rows import UnannouncedRow
from cl_server_shared.jobs.sql.columns import locked, readable


def _record_announced(dialect: str) -> str:
    """Record the announcement of every job that still is as it was announced.

    `announced` is a JSON array of [job_id, created_at, event_seq]. A job that somebody is changing
    at this moment is passed over: waiting for several rows in any order would invite deadlocks, and
    at worst its state is announced twice.
    """
    # Differs because each has functions of its own for JSON.
    if dialect == "sqlite":
        announced = "json_each(:announced) AS announced"
        job_id, added, seq = (f"json_extract(announced.value, '$[{n}]')" for n in range(3))
    else:
        announced = "json_array_elements(CAST(:announced AS JSON)) AS announced(value)"
        job_id, added, seq = (f"announced.value ->> {n}" for n in range(3))
    # Written so that only the index on job_id serves: of the other two one may hold the jobs of a
    # long outage, the other those of a large batch.
    return f"""
        UPDATE jobs SET unannounced_at = NULL WHERE id IN (
            SELECT job.id FROM jobs AS job, {announced}
            WHERE job_id = {job_id} AND event_seq <= CAST({seq} AS BIGINT)
            AND created_at + 0 = CAST({added} AS BIGINT) AND coalesce(unannounced_at, 0) > 0
            {"FOR UPDATE OF job SKIP LOCKED" if dialect == "postgresql" else ""}
        )
    """


def _take_over(dialect: str) -> str:
    """Take over jobs whose state should have been announced before a time, the oldest first.

    They count as unannounced since now, so that nobody else takes them over so soon.
    """
    return f"""
        UPDATE jobs SET unannounced_at = :now WHERE id IN (
            SELECT id FROM jobs AS overdue WHERE unannounced_at < :before
            ORDER BY unannounced_at LIMIT :limit {locked(dialect, key=True)}
        ) RETURNING {readable(UnannouncedRow._fields)}
    """


def _first_unannounced(_dialect: str) -> str:
    return "SELECT min(unannounced_at) FROM jobs WHERE unannounced_at IS NOT NULL"


RECORD_ANNOUNCED: Final = Statement(
    "record what was announced", _record_announced, is_visible=False
)
TAKE_OVER_UNANNOUNCED: Final = Statement("take over unannounced jobs", _take_over, is_visible=False)
FIRST_UNANNOUNCED: Final = Statement("find unannounced jobs", _first_unannounced)
