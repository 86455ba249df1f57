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
    FromClause,
    Integer,
    ScalarSelect,
    Select,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    null,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.functions import Function

from cl_server_shared.database import JOBS, PROCESSING, QUEUED, Statement
from cl_server_shared.jobs.rows import JobRow

_ID: Final[ColumnElement[str]] = bindparam("job_id", type_=String())
_NOW: Final[ColumnElement[int]] = bindparam("now", type_=BigInteger())
_BEFORE: Final[ColumnElement[int]] = bindparam("before", type_=BigInteger())
_COMPLETED: Final[ColumnElement[str]] = literal_column("'completed'", String())
_ERROR: Final[ColumnElement[str]] = literal_column("'error'", String())
_ONE: Final[ColumnElement[int]] = literal_column("1", Integer())
_ZERO: Final[ColumnElement[int]] = literal_column("0", Integer())
_JSON_COLUMNS: Final = frozenset({"params", "output"})
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
)
_STATE_COLUMNS: Final = (
    "status",
    "progress",
    "error_message",
    "started_at",
    "completed_at",
    "available_at",
    "lease_expires_at",
    "worker_id",
    "claim_number",
    "retry_count",
    "last_error",
    "cancel_reason",
    "attempts",
    "output",
    "updated_at",
)


def _parameter(column: str, dialect: str) -> ColumnElement[object]:
    """Bind a value of a column's type; JSON comes as text, so that a row is encoded once."""
    if column not in _JSON_COLUMNS:
        return bindparam(column, type_=JOBS.c[column].type)
    text: ColumnElement[object] = bindparam(column, type_=Text())
    # Differs because SQLite has no such type: its CAST would make a number of the text.
    return text if dialect == "sqlite" else cast(text, JSON())


def _parameters(columns: tuple[str, ...], dialect: str) -> dict[str, ColumnElement[object]]:
    return {name: _parameter(name, dialect) for name in columns}


def job_columns(jobs: FromClause) -> list[ColumnElement[object]]:
    """Select what a `JobRow` holds, in its order."""
    return [_readable(jobs.c[name]) for name in JobRow._fields]


def _readable(column: ColumnElement[object]) -> ColumnElement[object]:
    return cast(column, Text()) if column.key in _JSON_COLUMNS else column


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


def _waiting(jobs: FromClause) -> ColumnElement[bool]:
    """Match the partial index `ix_jobs_waiting`."""
    return and_(jobs.c.status == QUEUED, jobs.c.available_at.is_(None))


def _line(jobs: FromClause) -> tuple[ColumnElement[object], ColumnElement[object]]:
    """Order by who is served first: the highest priority, then the oldest."""
    return (jobs.c.priority.desc(), jobs.c.id)


def _as_it_was() -> ColumnElement[bool]:
    """Match only the very row that was read: every visible change raises `event_seq`.

    A job that was removed and added again is known by its claim number, and code that knows nothing
    of these columns by the status.
    """
    return and_(
        JOBS.c.id == bindparam("row_id", type_=BigInteger()),
        JOBS.c.event_seq == bindparam("seen_seq", type_=BigInteger()),
        JOBS.c.claim_number == bindparam("seen_claim", type_=BigInteger()),
        JOBS.c.status == bindparam("seen_status", type_=String()),
    )


def _add(dialect: str) -> ClauseElement:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    row = {**_parameters(_ADDED_COLUMNS, dialect), "retry_count": _ZERO, "event_seq": _ONE}
    new = insert(JOBS).values(row).on_conflict_do_nothing(index_elements=["job_id"])
    return new.returning(JOBS.c.id)


def _read(_dialect: str) -> ClauseElement:
    return select(*job_columns(JOBS)).where(JOBS.c.job_id == _ID)


def _delete(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == _ID).returning(JOBS.c.job_id)


def _claim(dialect: str) -> ClauseElement:
    """Claim the first waiting job of the wanted types, in one statement."""
    first = _first_waiting_sqlite() if dialect == "sqlite" else _first_waiting_postgresql()
    claimed: dict[str, object] = {
        "status": PROCESSING,
        "progress": _ZERO,
        "started_at": _NOW,
        "updated_at": _NOW,
        "lease_expires_at": _parameter("lease_expires_at", dialect),
        "worker_id": _parameter("worker_id", dialect),
        "claim_number": JOBS.c.claim_number + _ONE,
        "event_seq": JOBS.c.event_seq + _ONE,
    }
    claim = update(JOBS).where(JOBS.c.id == first).values(claimed)
    return claim.returning(*job_columns(JOBS))  # pyright: ignore[reportUnknownVariableType]  # 18 columns are more than its overloads name


def _head(types: FromClause) -> Select[*tuple[object, ...]]:
    """Find the first waiting job of one type: one probe of the partial index."""
    jobs = JOBS.alias("head")
    of_type = select(jobs.c.id, jobs.c.priority).where(
        _waiting(jobs), jobs.c.task_type == types.c.value
    )
    return of_type.order_by(*_line(jobs)).limit(_ONE).offset(_ZERO)


def _first_waiting_sqlite() -> ScalarSelect[int]:
    types = json_texts("sqlite", "task_types")
    head = _head(types)
    head_id = head.with_only_columns(head.selected_columns.id).scalar_subquery()
    heads = select(head_id.label("id")).select_from(types).subquery("heads")
    jobs = JOBS.alias("waiting")
    first = select(jobs.c.id).join(heads, heads.c.id == jobs.c.id)
    return first.order_by(*_line(jobs)).limit(_ONE).offset(_ZERO).scalar_subquery()


def _types_in_line(types: FromClause) -> Select[str]:
    """Order the wanted types by the jobs at their heads."""
    heads = _head(types).lateral("heads")
    of_types: Select[str] = select(types.c.value).join_from(types, heads, true())
    return of_types.order_by(*_line(heads))


def _first_waiting_postgresql() -> ScalarSelect[int]:
    """Lock only the job that is taken.

    Differs because several processes write at once here: were the head of every type locked, a
    second worker would skip jobs that the first does not take, and answer "none" while they wait.
    """
    types = json_texts("postgresql", "task_types")
    jobs = JOBS.alias("waiting")
    first_type = _types_in_line(types).limit(_ONE).offset(_ZERO).scalar_subquery()
    return (
        select(jobs.c.id)
        .where(_waiting(jobs), jobs.c.task_type == first_type)
        .order_by(*_line(jobs))
        .limit(_ONE)
        .offset(_ZERO)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def _waiting_types(dialect: str) -> ClauseElement:
    return _types_in_line(json_texts(dialect, "task_types"))


def _store(dialect: str) -> ClauseElement:
    """Store a decision; it may end a lease, but never write back an old one.

    What was decided on knows the lease as it was then; the keeper may have renewed it since.
    """
    given = _parameter("lease_expires_at", dialect)
    lease = case((given.is_(None), null()), else_=JOBS.c.lease_expires_at)
    return _changed({**_parameters(_STATE_COLUMNS, dialect), "lease_expires_at": lease})


def _take_over(dialect: str) -> ClauseElement:
    """Store what becomes of a lost job, unless its lease was renewed since it was read."""
    return _changed(_parameters(_STATE_COLUMNS, dialect), JOBS.c.lease_expires_at <= _NOW)


def _store_progress(dialect: str) -> ClauseElement:
    """Store progress alone: it is the most frequent change, and touches no index."""
    return _changed(_parameters(("progress", "updated_at"), dialect))


def _changed(
    values: dict[str, ColumnElement[object]], *conditions: ColumnElement[bool]
) -> ClauseElement:
    next_seq = JOBS.c.event_seq + _ONE
    changed = update(JOBS).where(_as_it_was(), *conditions)
    return changed.values({**values, "event_seq": next_seq}).returning(JOBS.c.event_seq)


def _due(_dialect: str) -> ClauseElement:
    delayed = select(func.min(JOBS.c.available_at)).where(
        JOBS.c.status == QUEUED, JOBS.c.available_at.is_not(None)
    )
    leased = select(func.min(JOBS.c.lease_expires_at)).where(
        JOBS.c.status == PROCESSING, JOBS.c.lease_expires_at.is_not(None)
    )
    return select(delayed.scalar_subquery(), leased.scalar_subquery())


def _promote(_dialect: str) -> ClauseElement:
    return (
        update(JOBS)
        .where(JOBS.c.status == QUEUED, JOBS.c.available_at <= _NOW)
        .values(available_at=null())
        .returning(JOBS.c.id)
    )


def _expired(_dialect: str) -> ClauseElement:
    return (
        select(*job_columns(JOBS))
        .where(
            JOBS.c.status == PROCESSING,
            JOBS.c.lease_expires_at <= _NOW,
        )
        .order_by(JOBS.c.lease_expires_at)
        .limit(bindparam("limit", type_=Integer()))
        .offset(_ZERO)
    )


def _renew(dialect: str) -> ClauseElement:
    """Prolong every lease whose claim is still the one given; tell which were.

    Only a job that is processing has a lease; asking for the status too would lead SQLite to the
    index on it.
    """
    claimed = tuple_(JOBS.c.job_id, JOBS.c.claim_number)
    return (
        update(JOBS)
        .where(claimed.in_(_claim_pairs(dialect)), JOBS.c.lease_expires_at.is_not(None))
        .values(lease_expires_at=_parameter("lease_expires_at", dialect))
        .returning(JOBS.c.job_id)
    )


def _claim_pairs(dialect: str) -> Select[str, int]:
    """Read the JSON object parameter `claims`, claim numbers by job id, as rows."""
    text: ColumnElement[object] = bindparam("claims", type_=Text())
    if dialect == "sqlite":
        entries = Function("json_each", text, type_=String())
    else:
        entries = Function("json_each_text", cast(text, JSON()), type_=String())
    pairs = entries.table_valued("key", "value", name="claims")
    return select(cast(pairs.c.key, String()), cast(pairs.c.value, BigInteger()))


def _count(_dialect: str) -> ClauseElement:
    return select(JOBS.c.status, JOBS.c.task_type, func.count()).group_by(
        JOBS.c.status, JOBS.c.task_type
    )


def _finished(_dialect: str) -> ClauseElement:
    """Find jobs that ended before a time, along the index on `created_at`: none ended earlier."""
    return (
        select(JOBS.c.job_id)
        .where(JOBS.c.created_at < _BEFORE, _has_ended())
        .order_by(JOBS.c.created_at)
        .limit(bindparam("limit", type_=Integer()))
        .offset(_ZERO)
    )


def _delete_finished(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == _ID, _has_ended()).returning(JOBS.c.job_id)


def _has_ended() -> ColumnElement[bool]:
    ended_at = func.coalesce(JOBS.c.completed_at, JOBS.c.created_at)
    return and_(JOBS.c.status.in_((_COMPLETED, _ERROR)), ended_at < _BEFORE)


ADD: Final = Statement("add_job", _add)
READ: Final = Statement("get_job", _read)
DELETE: Final = Statement("delete_job", _delete)
CLAIM: Final = Statement("fetch_next_job", _claim)
WAITING_TYPES: Final = Statement("find waiting types", _waiting_types)
STORE: Final = Statement("update_job", _store)
TAKE_OVER: Final = Statement("recover a job", _take_over)
STORE_PROGRESS: Final = Statement("update_job (progress)", _store_progress)
DUE: Final = Statement("find what is due", _due)
PROMOTE: Final = Statement("make delayed jobs available", _promote)
RENEW: Final = Statement("renew leases", _renew)
EXPIRED: Final = Statement("find expired leases", _expired)
COUNT: Final = Statement("count_jobs", _count)
FINISHED: Final = Statement("find finished jobs", _finished)
DELETE_FINISHED: Final = Statement("purge_finished", _delete_finished)
