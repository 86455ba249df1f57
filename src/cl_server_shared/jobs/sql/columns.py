"""Every SQL statement of the repository, one name each; built by SQLAlchemy Core for both dialects.

A statement never decides: what a job becomes is decided in `lifecycle`, and the conditions here
only make sure that the job still is what the decision was about.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    FromClause,
    Integer,
    String,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
)
from sqlalchemy.sql.functions import Function

from cl_server_shared.database import JOBS, QUEUED
from cl_server_shared.jobs.rows import ROW_COLUMNS

LIMIT: Final[ColumnElement[int]] = bindparam("limit", type_=Integer())
ID: Final[ColumnElement[str]] = bindparam("job_id", type_=String())
NOW: Final[ColumnElement[int]] = bindparam("now", type_=BigInteger())
BEFORE: Final[ColumnElement[int]] = bindparam("before", type_=BigInteger())
ONE: Final[ColumnElement[int]] = literal_column("1", Integer())
ZERO: Final[ColumnElement[int]] = literal_column("0", Integer())
JSON_COLUMNS: Final = frozenset({"params", "output"})


def parameter(column: str, dialect: str) -> ColumnElement[object]:
    """Bind a value of a column's type; JSON comes as text, so that a row is encoded once."""
    if column not in JSON_COLUMNS:
        return bindparam(column, type_=JOBS.c[column].type)
    text: ColumnElement[object] = bindparam(column, type_=Text())
    # Differs because SQLite has no such type: its CAST would make a number of the text.
    return text if dialect == "sqlite" else cast(text, JSON())


def parameters(columns: tuple[str, ...], dialect: str) -> dict[str, ColumnElement[object]]:
    """Bind a value of each column."""
    return {name: parameter(name, dialect) for name in columns}


def job_columns(jobs: FromClause) -> list[ColumnElement[object]]:
    """Select what a `JobRow` holds, in its order."""
    return readable_each(jobs, ROW_COLUMNS)


def readable_each(jobs: FromClause, names: Iterable[str]) -> list[ColumnElement[object]]:
    """Select columns, JSON as text."""
    return [_readable(jobs.c[name]) for name in names]


def _readable(column: ColumnElement[object]) -> ColumnElement[object]:
    return cast(column, Text()) if column.key in JSON_COLUMNS else column


def json_texts(dialect: str, name: str) -> FromClause:
    """Read the texts of a JSON array parameter as rows with one column, `value`.

    The same SQL text serves any number of values, which a list of parameters would not.
    """
    text: ColumnElement[object] = bindparam(name, type_=Text())
    if dialect == "sqlite":
        elements = Function("json_each", text, type_=String())
    else:
        elements = Function("json_array_elements_text", cast(text, JSON()), type_=String())
    return elements.table_valued("value", name=name)


def is_waiting(jobs: FromClause) -> ColumnElement[bool]:
    """Match the partial index `ix_jobs_waiting`."""
    return and_(jobs.c.status == QUEUED, jobs.c.available_at.is_(None))


def claim_order(jobs: FromClause) -> tuple[ColumnElement[object], ColumnElement[object]]:
    """Order by who is served first: the highest priority, then the oldest."""
    return (jobs.c.priority.desc(), jobs.c.id)


def returning(changed: Update, names: Iterable[str]) -> ClauseElement:
    """Give columns of the rows that were changed, JSON as text."""
    columns = readable_each(JOBS, names)
    return changed.returning(*columns)  # pyright: ignore[reportUnknownVariableType]  # its overloads name up to 8


def still_unannounced(dialect: str) -> ColumnElement[object]:
    """Mark a job whose new state the world is to be told; the oldest such mark stays."""
    return func.coalesce(JOBS.c.unannounced_at, parameter("unannounced_at", dialect))
