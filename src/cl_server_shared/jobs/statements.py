"""Every SQL statement of the repository, one name each; built by SQLAlchemy Core for both dialects.

A statement never decides: what a job becomes is decided in `lifecycle`, and the conditions here
only make sure that the job still is what the decision was about.
"""

from collections.abc import Iterable, Mapping
from functools import cache
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
    Update,
    and_,
    any_,
    bindparam,
    cast,
    column,
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
from sqlalchemy.types import TypeEngine

from cl_server_shared.database import JOBS, PROCESSING, QUEUED, Statement
from cl_server_shared.jobs.rows import JobMark, JobRow, UnannouncedRow

_LIMIT: Final[ColumnElement[int]] = bindparam("limit", type_=Integer())
_ID: Final[ColumnElement[str]] = bindparam("job_id", type_=String())
_NOW: Final[ColumnElement[int]] = bindparam("now", type_=BigInteger())
_BEFORE: Final[ColumnElement[int]] = bindparam("before", type_=BigInteger())
_COMPLETED: Final[ColumnElement[str]] = literal_column("'completed'", String())
_ERROR: Final[ColumnElement[str]] = literal_column("'error'", String())
_NOTHING: Final[ColumnElement[str]] = literal_column("''", String())
_ONE: Final[ColumnElement[int]] = literal_column("1", Integer())
_ZERO: Final[ColumnElement[int]] = literal_column("0", Integer())
_NEW: Final = {"retry_count": _ZERO, "event_seq": _ONE}
_JSON_COLUMNS: Final = frozenset({"params", "output"})
SEEN: Final = {
    "row_id": "id",
    "seen_seq": "event_seq",
    "seen_claim": "claim_number",
    "seen_status": "status",
}
"""What tells a row that was seen, by the parameters' names: the columns that must be equal."""
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
    return _readable_each(jobs, JobRow._fields)


def _readable_each(jobs: FromClause, names: Iterable[str]) -> list[ColumnElement[object]]:
    return [_readable(jobs.c[name]) for name in names]


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


def _as_seen(jobs: FromClause, seen: Mapping[str, ColumnElement[object]]) -> ColumnElement[bool]:
    """Match only the very row that was read: every visible change raises `event_seq`.

    A job that was removed and added again is known by its claim number, and code that knows nothing
    of these columns by the status.
    """
    return and_(
        jobs.c.id == seen["row_id"],
        jobs.c.event_seq == seen["seen_seq"],
        jobs.c.claim_number == seen["seen_claim"],
        # Written so that no index on the status serves: PostgreSQL knows nothing of a new table,
        # and may think that few jobs are processing, and so read them all.
        func.coalesce(jobs.c.status, _NOTHING) == seen["seen_status"],
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
    return Text() if name in _JSON_COLUMNS else JOBS.c[SEEN.get(name, name)].type


def _of_each(
    names: tuple[str, ...], own: Mapping[str, ColumnElement[object]]
) -> dict[str, ColumnElement[object]]:
    """Take a column from the rows that are given where each has its *own*, else a parameter."""
    return {
        name: _stored(name, own[name]) if name in own else _parameter(name, "postgresql")
        for name in names
    }


def _stored(name: str, value: ColumnElement[object]) -> ColumnElement[object]:
    return cast(value, JSON()) if name in _JSON_COLUMNS else value


def _add(dialect: str) -> ClauseElement:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    row = {**_parameters(_ADDED_COLUMNS, dialect), **_NEW}
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
    return select(*job_columns(JOBS)).where(JOBS.c.job_id == _ID)


def _delete(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == _ID)


def _claim(dialect: str) -> ClauseElement:
    """Claim the first waiting job of the wanted types, in one statement."""
    first = _first_waiting_sqlite() if dialect == "sqlite" else _first_waiting_postgresql()
    return _claimed(dialect, JOBS.c.id == first)


def _claim_of_type(dialect: str) -> ClauseElement:
    """Claim the first waiting job of one type: most workers know one, and nothing is compared."""
    first = _in_line(_parameter("task_type", dialect)).limit(_ONE)
    if dialect == "postgresql":
        first = _taken(first)
    return _claimed(dialect, JOBS.c.id == first.scalar_subquery())


def _claim_each(dialect: str) -> ClauseElement:
    """Claim several jobs: on SQLite those given, on PostgreSQL the first waiting ones.

    Differs because only SQLite locks out all other writers between the choice and the claim.
    """
    if dialect == "sqlite":
        ids = json_texts("sqlite", "ids")
        return _claimed(dialect, JOBS.c.id.in_(select(cast(ids.c.value, BigInteger()))))
    types = json_texts("postgresql", "task_types")
    heads = _head(types, _LIMIT).with_for_update(skip_locked=True, key_share=True).lateral("heads")
    first = select(heads.c.id).join_from(types, heads, true()).order_by(*_line(heads))
    return _claimed(dialect, _is_one_of(first.limit(_LIMIT).offset(_ZERO)))


def _claim_each_of_type(_dialect: str) -> ClauseElement:
    """Claim on PostgreSQL the first waiting jobs of one type: no other line is compared."""
    first = _taken(_in_line(_parameter("task_type", "postgresql")).limit(_LIMIT))
    return _claimed("postgresql", _is_one_of(first))


def _is_one_of(ids: Select[int]) -> ColumnElement[bool]:
    """Match rows by an array of ids: an index probe each, where IN may read the table."""
    array = Function("array", ids.scalar_subquery(), type_=postgresql.ARRAY(BigInteger()))
    return JOBS.c.id == any_(array)


def _claimed(dialect: str, which: ColumnElement[bool]) -> ClauseElement:
    claimed: dict[str, object] = {
        "status": PROCESSING,
        "progress": _ZERO,
        "started_at": _NOW,
        "updated_at": _NOW,
        "lease_expires_at": _parameter("lease_expires_at", dialect),
        "worker_id": _parameter("worker_id", dialect),
        "claim_number": JOBS.c.claim_number + _ONE,
        "event_seq": JOBS.c.event_seq + _ONE,
        "unannounced_at": _still_unannounced(dialect),
    }
    return _giving(update(JOBS).where(which).values(claimed), JobRow._fields)


def _giving(changed: Update, names: Iterable[str]) -> ClauseElement:
    columns = _readable_each(JOBS, names)
    return changed.returning(*columns)  # pyright: ignore[reportUnknownVariableType]  # its overloads name up to 8


def _waiting_of_type(_dialect: str) -> ClauseElement:
    wanted = _parameter("task_type", "sqlite")
    waiting = select(JOBS.c.id, JOBS.c.priority).where(_waiting(JOBS), JOBS.c.task_type == wanted)
    return waiting.order_by(*_line(JOBS)).limit(_LIMIT).offset(_ZERO)


def _head(
    types: FromClause, limit: ColumnElement[int] | None = None
) -> Select[*tuple[object, ...]]:
    """Find the first waiting jobs of one type, one by default: a probe of the partial index."""
    jobs = JOBS.alias("head")
    of_type = select(jobs.c.id, jobs.c.priority).where(
        _waiting(jobs), jobs.c.task_type == types.c.value
    )
    return of_type.order_by(*_line(jobs)).limit(_ONE if limit is None else limit).offset(_ZERO)


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
    first_type = _types_in_line(types).limit(_ONE).offset(_ZERO).scalar_subquery()
    return _taken(_in_line(first_type).limit(_ONE)).scalar_subquery()


def _in_line(task_type: ColumnElement[object] | ScalarSelect[str]) -> Select[int]:
    """Find the waiting jobs of one type, in their order."""
    jobs = JOBS.alias("waiting")
    of_type: Select[int] = select(jobs.c.id).where(_waiting(jobs), jobs.c.task_type == task_type)
    return of_type.order_by(*_line(jobs)).offset(_ZERO)


def _taken(jobs: Select[int]) -> Select[int]:
    """Lock what nobody else is changing; rows of services that refer to a job do not hide it."""
    return jobs.with_for_update(skip_locked=True, key_share=True)


def _waiting_types(dialect: str) -> ClauseElement:
    return _types_in_line(json_texts(dialect, "task_types"))


def _marks(dialect: str) -> ClauseElement:
    """Read what tells whether jobs have changed, for the job ids `names`."""
    names = json_texts(dialect, "names")
    marks: list[ColumnElement[object]] = [JOBS.c[name] for name in JobMark._fields]
    return select(*marks).where(JOBS.c.job_id.in_(select(names.c.value)))


def _work(dialect: str) -> ClauseElement:
    """Tell for the task types `names` whether jobs wait; and when the next job of any is due."""
    types = json_texts(dialect, "names")
    head = _head(types)
    # No EXISTS, which PostgreSQL would answer by reading every waiting job once.
    head_id = head.with_only_columns(head.selected_columns.id).scalar_subquery()
    return select(types.c.value, head_id.is_not(None), *_next_due()).select_from(types)


@cache
def store(names: tuple[str, ...], *, is_marked: bool, is_takeover: bool = False) -> Statement:
    """Build the statement that stores a decision: what it changes of a job, and nothing else.

    So no index is touched for nothing, and no lease is written back that the keeper has renewed
    since the job was read.

    Args:
        names: the columns that change.
        is_marked: whether the job is marked until the world was told.
        is_takeover: whether only a job is changed whose lease has ended by now.
    """

    def build(dialect: str) -> ClauseElement:
        seen = {name: bindparam(name, type_=JOBS.c[column].type) for name, column in SEEN.items()}
        values = _parameters((*names, "updated_at"), dialect)
        changed = _changed(values, dialect, is_marked=is_marked).where(_as_seen(JOBS, seen))
        return changed.where(JOBS.c.lease_expires_at <= _NOW) if is_takeover else changed

    return Statement("recover a job" if is_takeover else "update_job", build)


@cache
def store_each(names: tuple[str, ...], own: tuple[str, ...], *, is_marked: bool) -> Statement:
    """Build PostgreSQL's statement that stores the decisions on several jobs, and tells on which.

    It locks them in the order of their ids, or two batches could wait for each other's rows; how
    an UPDATE alone orders its rows is left to the planner.

    Args:
        names: the columns that change.
        own: the columns of which each job has a value of its own, in an array, and what was seen.
        is_marked: whether the jobs are marked until the world was told.
    """

    def build(dialect: str) -> ClauseElement:
        jobs, given = JOBS.alias("seen"), _arrays(own)
        columns: list[ColumnElement[object]] = [jobs.c.id, *[given.c[name] for name in own]]
        seen = select(*columns).join_from(given, jobs, _as_seen(jobs, dict(given.c)))
        in_order = seen.order_by(jobs.c.id).with_for_update(of=jobs, key_share=True)
        locked = in_order.subquery("locked")
        values = _of_each((*names, "updated_at"), dict(locked.c))
        changed = _changed(values, dialect, is_marked=is_marked).where(JOBS.c.id == locked.c.id)
        return changed.returning(JOBS.c.id)

    return Statement("finish_jobs", build)


def _changed(
    values: Mapping[str, ColumnElement[object]], dialect: str, *, is_marked: bool
) -> Update:
    mark = {"unannounced_at": _still_unannounced(dialect)} if is_marked else {}
    return update(JOBS).values({**values, "event_seq": JOBS.c.event_seq + _ONE, **mark})


def _still_unannounced(dialect: str) -> ColumnElement[object]:
    """Mark a job whose new state the world is to be told; the oldest such mark stays."""
    return func.coalesce(JOBS.c.unannounced_at, _parameter("unannounced_at", dialect))


def _due(_dialect: str) -> ClauseElement:
    return select(*_next_due())


def _next_due() -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    delayed = select(func.min(JOBS.c.available_at)).where(
        JOBS.c.status == QUEUED, JOBS.c.available_at.is_not(None)
    )
    leased = select(func.min(JOBS.c.lease_expires_at)).where(
        JOBS.c.status == PROCESSING, JOBS.c.lease_expires_at.is_not(None)
    )
    return delayed.scalar_subquery(), leased.scalar_subquery()


def _promote(_dialect: str) -> ClauseElement:
    return (
        update(JOBS)
        .where(JOBS.c.status == QUEUED, JOBS.c.available_at <= _NOW)
        .values(available_at=null())
    )


def _expired(_dialect: str) -> ClauseElement:
    return (
        select(*job_columns(JOBS))
        .where(
            JOBS.c.status == PROCESSING,
            JOBS.c.lease_expires_at <= _NOW,
        )
        .order_by(JOBS.c.lease_expires_at)
        .limit(_LIMIT)
        .offset(_ZERO)
    )


def _renew(dialect: str) -> ClauseElement:
    """Prolong every lease whose claim is still the one given; tell which were.

    Only a job that is processing has a lease; asking for the status too would lead SQLite to the
    index on it.
    """
    jobs = JOBS if dialect == "sqlite" else JOBS.alias("leased")
    claimed = tuple_(jobs.c.job_id, jobs.c.claim_number).in_(_claim_pairs(dialect))
    which = and_(claimed, jobs.c.lease_expires_at.is_not(None))
    if dialect == "postgresql":
        # Differs because a batch of reports on the same jobs locks them in the order of their ids:
        # in another one the two could wait for each other.
        leased = select(jobs.c.id).where(which).order_by(jobs.c.id)
        which = _is_one_of(leased.with_for_update(of=jobs, key_share=True))
    renewed = update(JOBS).where(which)
    lease = _parameter("lease_expires_at", dialect)
    return renewed.values(lease_expires_at=lease).returning(JOBS.c.job_id)


def _claim_pairs(dialect: str) -> Select[str, int]:
    """Read the JSON object parameter `claims`, claim numbers by job id, as rows."""
    text: ColumnElement[object] = bindparam("claims", type_=Text())
    if dialect == "sqlite":
        entries = Function("json_each", text, type_=String())
    else:
        entries = Function("json_each_text", cast(text, JSON()), type_=String())
    pairs = entries.table_valued("key", "value", name="claims")
    return select(cast(pairs.c.key, String()), cast(pairs.c.value, BigInteger()))


def _record_announced(dialect: str) -> ClauseElement:
    """Take the mark from every job that still is as it was announced.

    `announced` is a JSON array of [job_id, created_at, event_seq]. A job that somebody is changing
    at this moment is passed over: waiting for several rows in any order would invite deadlocks, and
    at worst its state is announced twice.
    """
    told, given = JOBS.alias("told"), _json_rows(dialect, "announced")
    found = select(told.c.id).where(
        told.c.job_id == given[0],
        told.c.event_seq <= cast(given[2], BigInteger()),
        # Written so that only the index on job_id serves: of these two one may hold the jobs of a
        # long outage, the other those of a large batch.
        told.c.created_at + _ZERO == cast(given[1], BigInteger()),
        func.coalesce(told.c.unannounced_at, _ZERO) > _ZERO,
    )
    if dialect == "postgresql":
        found = found.with_for_update(skip_locked=True, of=told)
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


def _adopt(dialect: str) -> ClauseElement:
    """Take over jobs whose state should have been announced before a time; mark them anew.

    Until then nobody else adopts them. The longest unannounced come first.
    """
    left = JOBS.alias("left_behind")
    old = select(left.c.id).where(left.c.unannounced_at < _BEFORE).order_by(left.c.unannounced_at)
    old = old.limit(_LIMIT).offset(_ZERO)
    if dialect == "postgresql":
        old = old.with_for_update(skip_locked=True)
    adopted = update(JOBS).where(JOBS.c.id.in_(old)).values(unannounced_at=_NOW)
    return _giving(adopted, UnannouncedRow._fields)


def _first_unannounced(_dialect: str) -> ClauseElement:
    return select(func.min(JOBS.c.unannounced_at)).where(JOBS.c.unannounced_at.is_not(None))


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
        .limit(_LIMIT)
        .offset(_ZERO)
    )


def _delete_finished(_dialect: str) -> ClauseElement:
    return delete(JOBS).where(JOBS.c.job_id == _ID, _has_ended())


def _has_ended() -> ColumnElement[bool]:
    ended_at = func.coalesce(JOBS.c.completed_at, JOBS.c.created_at)
    return and_(JOBS.c.status.in_((_COMPLETED, _ERROR)), ended_at < _BEFORE)


ADD: Final = Statement("add_job", _add)
READ: Final = Statement("get_job", _read)
DELETE: Final = Statement("delete_job", _delete)
CLAIM: Final = Statement("fetch_next_job", _claim)
CLAIM_OF_TYPE: Final = Statement("fetch_next_job", _claim_of_type)
CLAIM_EACH: Final = Statement("fetch_next_jobs", _claim_each)
CLAIM_EACH_OF_TYPE: Final = Statement("fetch_next_jobs", _claim_each_of_type)
WAITING_OF_TYPE: Final = Statement("find waiting jobs of a type", _waiting_of_type)
WAITING_TYPES: Final = Statement("find waiting types", _waiting_types)
MARKS: Final = Statement("find changed jobs", _marks)
WORK: Final = Statement("find work", _work)
DUE: Final = Statement("find what is due", _due)
PROMOTE: Final = Statement("make delayed jobs available", _promote)
RENEW: Final = Statement("renew leases", _renew, is_visible=False)
EXPIRED: Final = Statement("find expired leases", _expired)
RECORD_ANNOUNCED: Final = Statement(
    "record what was announced", _record_announced, is_visible=False
)
ADOPT: Final = Statement("adopt unannounced jobs", _adopt, is_visible=False)
FIRST_UNANNOUNCED: Final = Statement("find unannounced jobs", _first_unannounced)
COUNT: Final = Statement("count_jobs", _count)
FINISHED: Final = Statement("find finished jobs", _finished)
DELETE_FINISHED: Final = Statement("purge_finished", _delete_finished)
