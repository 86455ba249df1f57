"""Every SQL statement of the repository, one name each; built by SQLAlchemy Core for both dialects.

A statement never decides: what a job becomes is decided in `lifecycle`, and the conditions here
only make sure that the job still is what the decision was about.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from sqlalchemy import (
    JSON,
    ClauseElement,
    ColumnElement,
    FromClause,
    String,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import TypeEngine

from cl_server_shared.database import JOBS, Statement
from cl_server_shared.jobs.rows import JobVersion
from cl_server_shared.jobs.sql.columns import (
    BEFORE,
    ID,
    JSON_COLUMNS,
    LIMIT,
    NOW,
    ONE,
    ZERO,
    job_columns,
    json_texts,
    parameter,
    parameters,
    still_unannounced,
)

_COMPLETED: Final[ColumnElement[str]] = literal_column("'completed'", String())
_ERROR: Final[ColumnElement[str]] = literal_column("'error'", String())
_NOTHING: Final[ColumnElement[str]] = literal_column("''", String())
_NEW: Final = {"retry_count": ZERO, "event_seq": ONE}
AS_READ: Final = {
    "row_id": "id",
    "read_seq": "event_seq",
    "read_claim": "claim_number",
    "read_status": "status",
}
"""What tells a row that was read, by the parameters' names: the columns that must be equal."""
_ADDED_COLUMNS: Final = (
    "job_id",
    "task_type",
    "params",
    "status",
    "progress",
    "output",
    "error_message",
    "priority",
    "created_at",
    "completed_at",
    "created_by",
    "max_retries",
    "claim_number",
    "unannounced_at",
)


def _as_read(jobs: FromClause, read: Mapping[str, ColumnElement[object]]) -> ColumnElement[bool]:
    """Match only the very row that was read: every visible change raises `event_seq`.

    A job that was removed and added again is known by its claim number, and code that knows nothing
    of these columns by the status.
    """
    return and_(
        jobs.c.id == read["row_id"],
        jobs.c.event_seq == read["read_seq"],
        jobs.c.claim_number == read["read_claim"],
        # Written so that no index on the status serves: PostgreSQL knows nothing of a new table,
        # and may think that few jobs are processing, and so read them all.
        func.coalesce(jobs.c.status, _NOTHING) == read["read_status"],
    )


def _arrays(names: tuple[str, ...]) -> FromClause:
    """Read PostgreSQL arrays, one a column and each the text of its parameter, as rows.

    As texts they cost the driver a quarter of what lists do, and the server less than JSON.
    """
    types = [_array_type(name) for name in names]
    arrays = [
        cast(bindparam(name, type_=Text()), postgresql.ARRAY(each))
        for name, each in zip(names, types, strict=True)
    ]
    elements = Function("unnest", *arrays, type_=Text())
    return elements.table_valued(*map(column, names, types)).render_derived(name="given")


def _array_type(name: str) -> TypeEngine[object]:
    return Text() if name in JSON_COLUMNS else JOBS.c[AS_READ.get(name, name)].type


def _of_each(
    names: tuple[str, ...], own: Mapping[str, ColumnElement[object]]
) -> dict[str, ColumnElement[object]]:
    """Take a column from the rows that are given where each has its *own*, else a parameter."""
    return {
        name: _as_stored(name, own[name]) if name in own else parameter(name, "postgresql")
        for name in names
    }


def _as_stored(name: str, value: ColumnElement[object]) -> ColumnElement[object]:
    return cast(value, JSON()) if name in JSON_COLUMNS else value


def _add(dialect: str) -> ClauseElement:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    row = {**parameters(_ADDED_COLUMNS, dialect), **_NEW}
    return insert(JOBS).values(row).on_conflict_do_nothing(index_elements=["job_id"])


@cache
def add_each(own: tuple[str, ...]) -> Statement:
    """Build PostgreSQL's statement that inserts several rows and tells whose `job_id` was new.

    Args:
        own: the columns of which each row has a value of its own, in an array; the others are one
            parameter for all.
    """

    def build(_dialect: str) -> ClauseElement:
        given = _arrays(own)
        row = {**_of_each(_ADDED_COLUMNS, dict(given.c)), **_NEW}
        rows = select(*row.values()).select_from(given)
        insert = postgresql.insert(JOBS).from_select([*row], rows, include_defaults=False)
        return insert.on_conflict_do_nothing(index_elements=["job_id"]).returning(JOBS.c.job_id)

    return Statement("add_jobs", build)


def _read(_dialect: str) -> ClauseElement:
    return select(*job_columns(JOBS)).where(JOBS.c.job_id == ID)


def _delete(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == ID)


def _versions(dialect: str) -> ClauseElement:
    """Read what tells whether jobs have changed, for the job ids `names`."""
    names = json_texts(dialect, "names")
    columns: list[ColumnElement[object]] = [JOBS.c[name] for name in JobVersion._fields]
    return select(*columns).where(JOBS.c.job_id.in_(select(names.c.value)))


@cache
def save_state(
    names: tuple[str, ...], *, is_unannounced: bool, is_takeover: bool = False
) -> Statement:
    """Build the statement that stores a decision: what it changes of a job, and nothing else.

    So no index is touched for nothing, and no lease is written back that the keeper has renewed
    since the job was read.

    Args:
        names: the columns that change.
        is_unannounced: whether the job counts as unannounced until the world has heard of it.
        is_takeover: whether only a job is changed whose lease has ended by now.
    """

    def build(dialect: str) -> ClauseElement:
        read = {
            name: bindparam(name, type_=JOBS.c[column].type) for name, column in AS_READ.items()
        }
        values = parameters((*names, "updated_at"), dialect)
        changed = _changed(values, dialect, is_unannounced=is_unannounced).where(
            _as_read(JOBS, read)
        )
        return changed.where(JOBS.c.lease_expires_at <= NOW) if is_takeover else changed

    return Statement("recover a job" if is_takeover else "update_job", build)


@cache
def save_states(names: tuple[str, ...], own: tuple[str, ...], *, is_unannounced: bool) -> Statement:
    """Build PostgreSQL's statement that stores the decisions on several jobs, and tells on which.

    It locks them in the order of their ids, or two batches could wait for each other's rows; how
    an UPDATE alone orders its rows is left to the planner.

    Args:
        names: the columns that change.
        own: the columns of which each job has a value of its own, in an array, and what was read.
        is_unannounced: whether the jobs count as unannounced until the world has heard of them.
    """

    def build(dialect: str) -> ClauseElement:
        jobs, given = JOBS.alias("read"), _arrays(own)
        columns: list[ColumnElement[object]] = [jobs.c.id, *[given.c[name] for name in own]]
        read = select(*columns).join_from(given, jobs, _as_read(jobs, dict(given.c)))
        in_order = read.order_by(jobs.c.id).with_for_update(of=jobs, key_share=True)
        locked = in_order.subquery("locked")
        values = _of_each((*names, "updated_at"), dict(locked.c))
        changed = _changed(values, dialect, is_unannounced=is_unannounced).where(
            JOBS.c.id == locked.c.id
        )
        return changed.returning(JOBS.c.id)

    return Statement("finish_jobs", build)


def _changed(
    values: Mapping[str, ColumnElement[object]], dialect: str, *, is_unannounced: bool
) -> Update:
    unannounced = {"unannounced_at": still_unannounced(dialect)} if is_unannounced else {}
    return update(JOBS).values({**values, "event_seq": JOBS.c.event_seq + ONE, **unannounced})


def _count(_dialect: str) -> ClauseElement:
    return select(JOBS.c.status, JOBS.c.task_type, func.count()).group_by(
        JOBS.c.status, JOBS.c.task_type
    )


def _finished(_dialect: str) -> ClauseElement:
    """Find jobs that ended before a time, along the index on `created_at`: none ended earlier."""
    return (
        select(JOBS.c.job_id)
        .where(JOBS.c.created_at < BEFORE, _has_ended())
        .order_by(JOBS.c.created_at)
        .limit(LIMIT)
        .offset(ZERO)
    )


def _delete_finished(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == ID, _has_ended())


def _has_ended() -> ColumnElement[bool]:
    ended_at = func.coalesce(JOBS.c.completed_at, JOBS.c.created_at)
    return and_(JOBS.c.status.in_((_COMPLETED, _ERROR)), ended_at < BEFORE)


ADD: Final = Statement("add_job", _add)
READ: Final = Statement("get_job", _read)
DELETE: Final = Statement("delete_job", _delete)
VERSIONS: Final = Statement("find changed jobs", _versions)
COUNT: Final = Statement("count_jobs", _count)
FINISHED: Final = Statement("find finished jobs", _finished)
DELETE_FINISHED: Final = Statement("purge_finished", _delete_finished)
