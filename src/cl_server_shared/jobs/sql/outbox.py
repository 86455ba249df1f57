"""Every SQL statement of the repository, one name each; built by SQLAlchemy Core for both dialects.

A statement never decides: what a job becomes is decided in `lifecycle`, and the conditions here
only make sure that the job still is what the decision was about.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    String,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql.functions import Function

from cl_server_shared.database import JOBS, Statement
from cl_server_shared.jobs.rows import UnannouncedRow
from cl_server_shared.jobs.sql.columns import BEFORE, LIMIT, NOW, ZERO, returning


def _record_announced(dialect: str) -> ClauseElement:
    """Record the announcement of every job that still is as it was announced.

    `announced` is a JSON array of [job_id, created_at, event_seq]. A job that somebody is changing
    at this moment is passed over: waiting for several rows in any order would invite deadlocks, and
    at worst its state is announced twice.
    """
    job, given = JOBS.alias("job"), _json_rows(dialect, "announced")
    found = select(job.c.id).where(
        job.c.job_id == given[0],
        job.c.event_seq <= cast(given[2], BigInteger()),
        # Written so that only the index on job_id serves: of these two one may hold the jobs of a
        # long outage, the other those of a large batch.
        job.c.created_at + ZERO == cast(given[1], BigInteger()),
        func.coalesce(job.c.unannounced_at, ZERO) > ZERO,
    )
    if dialect == "postgresql":
        found = found.with_for_update(skip_locked=True, of=job)
    return update(JOBS).where(JOBS.c.id.in_(found)).values(unannounced_at=null())


def _json_rows(dialect: str, name: str) -> list[ColumnElement[str]]:
    """Read the first three elements of each array in a JSON array parameter."""
    text: ColumnElement[object] = bindparam(name, type_=Text())
    if dialect == "sqlite":
        entries = Function("json_each", text, type_=Text()).table_valued("value", name=name)
        paths = [literal_column(f"'$[{place}]'", Text()) for place in range(3)]
        return [Function("json_extract", entries.c.value, path, type_=String()) for path in paths]
    entries = Function("json_array_elements", cast(text, JSON()), type_=JSON())
    value = entries.table_valued("value", name=name).c.value
    places = [literal_column(f"'{place}'", Text()) for place in range(3)]
    return [Function("json_extract_path_text", value, at, type_=String()) for at in places]


def _take_over(dialect: str) -> ClauseElement:
    """Take over jobs whose state should have been announced before a time.

    They count as unannounced since now, so that nobody else takes them over so soon. The longest
    unannounced come first.
    """
    left = JOBS.alias("left_behind")
    old = select(left.c.id).where(left.c.unannounced_at < BEFORE).order_by(left.c.unannounced_at)
    old = old.limit(LIMIT).offset(ZERO)
    if dialect == "postgresql":
        old = old.with_for_update(skip_locked=True)
    taken_over = update(JOBS).where(JOBS.c.id.in_(old)).values(unannounced_at=NOW)
    return returning(taken_over, UnannouncedRow._fields)


def _first_unannounced(_dialect: str) -> ClauseElement:
    return select(func.min(JOBS.c.unannounced_at)).where(JOBS.c.unannounced_at.is_not(None))


RECORD_ANNOUNCED: Final = Statement(
    "record what was announced", _record_announced, is_visible=False
)
TAKE_OVER_UNANNOUNCED: Final = Statement("take over unannounced jobs", _take_over, is_visible=False)
FIRST_UNANNOUNCED: Final = Statement("find unannounced jobs", _first_unannounced)
