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
    ScalarSelect,
    Select,
    String,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    func,
    null,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.functions import Function

from cl_server_shared.database import JOBS, PROCESSING, QUEUED, Statement
from cl_server_shared.jobs.rows import ROW_COLUMNS
from cl_server_shared.jobs.sql.columns import (
    LIMIT,
    NOW,
    ONE,
    ZERO,
    claim_order,
    is_waiting,
    job_columns,
    json_texts,
    parameter,
    returning,
    still_unannounced,
)


def _claim(dialect: str) -> ClauseElement:
    """Claim the first waiting job of the wanted types, in one statement."""
    first = _first_waiting_sqlite() if dialect == "sqlite" else _first_waiting_postgresql()
    return _claimed(dialect, JOBS.c.id == first)


def _claim_of_type(dialect: str) -> ClauseElement:
    """Claim the first waiting job of one type: most workers know one, and nothing is compared."""
    first = _waiting_in_order(parameter("task_type", dialect)).limit(ONE)
    if dialect == "postgresql":
        first = _locked(first)
    return _claimed(dialect, JOBS.c.id == first.scalar_subquery())


def _claim_each(dialect: str) -> ClauseElement:
    """Claim several jobs: on SQLite those given, on PostgreSQL the first waiting ones.

    Differs because only SQLite locks out all other writers between the choice and the claim.
    """
    if dialect == "sqlite":
        ids = json_texts("sqlite", "ids")
        return _claimed(dialect, JOBS.c.id.in_(select(cast(ids.c.value, BigInteger()))))
    types = json_texts("postgresql", "task_types")
    heads = _head(types, LIMIT).with_for_update(skip_locked=True, key_share=True).lateral("heads")
    first = select(heads.c.id).join_from(types, heads, true()).order_by(*claim_order(heads))
    return _claimed(dialect, _is_one_of(first.limit(LIMIT).offset(ZERO)))


def _claim_each_of_type(_dialect: str) -> ClauseElement:
    """Claim on PostgreSQL the first waiting jobs of one type: nothing is compared."""
    first = _locked(_waiting_in_order(parameter("task_type", "postgresql")).limit(LIMIT))
    return _claimed("postgresql", _is_one_of(first))


def _is_one_of(ids: Select[int]) -> ColumnElement[bool]:
    """Match rows by an array of ids: an index probe each, where IN may read the table."""
    array = Function("array", ids.scalar_subquery(), type_=postgresql.ARRAY(BigInteger()))
    return JOBS.c.id == any_(array)


def _claimed(dialect: str, which: ColumnElement[bool]) -> ClauseElement:
    claimed: dict[str, object] = {
        "status": PROCESSING,
        "progress": ZERO,
        "started_at": NOW,
        "updated_at": NOW,
        "lease_expires_at": parameter("lease_expires_at", dialect),
        "worker_id": parameter("worker_id", dialect),
        "claim_number": JOBS.c.claim_number + ONE,
        "event_seq": JOBS.c.event_seq + ONE,
        "unannounced_at": still_unannounced(dialect),
    }
    return returning(update(JOBS).where(which).values(claimed), ROW_COLUMNS)


def _waiting_of_type(_dialect: str) -> ClauseElement:
    wanted = parameter("task_type", "sqlite")
    waiting = select(JOBS.c.id, JOBS.c.priority).where(is_waiting(JOBS), JOBS.c.task_type == wanted)
    return waiting.order_by(*claim_order(JOBS)).limit(LIMIT).offset(ZERO)


def _head(
    types: FromClause, limit: ColumnElement[int] | None = None
) -> Select[*tuple[object, ...]]:
    """Find the first waiting jobs of one type, one by default: a probe of the partial index."""
    jobs = JOBS.alias("head")
    of_type = select(jobs.c.id, jobs.c.priority).where(
        is_waiting(jobs), jobs.c.task_type == types.c.value
    )
    return of_type.order_by(*claim_order(jobs)).limit(ONE if limit is None else limit).offset(ZERO)


def _first_waiting_sqlite() -> ScalarSelect[int]:
    types = json_texts("sqlite", "task_types")
    head = _head(types)
    head_id = head.with_only_columns(head.selected_columns.id).scalar_subquery()
    heads = select(head_id.label("id")).select_from(types).subquery("heads")
    jobs = JOBS.alias("waiting")
    first = select(jobs.c.id).join(heads, heads.c.id == jobs.c.id)
    return first.order_by(*claim_order(jobs)).limit(ONE).offset(ZERO).scalar_subquery()


def _types_by_first_waiting(types: FromClause) -> Select[str]:
    """Order the wanted types by the jobs at their heads."""
    heads = _head(types).lateral("heads")
    of_types: Select[str] = select(types.c.value).join_from(types, heads, true())
    return of_types.order_by(*claim_order(heads))


def _first_waiting_postgresql() -> ScalarSelect[int]:
    """Lock only the job that is taken.

    Differs because several processes write at once here: were the head of every type locked, a
    second worker would skip jobs that the first does not take, and answer "none" while they wait.
    """
    types = json_texts("postgresql", "task_types")
    first_type = _types_by_first_waiting(types).limit(ONE).offset(ZERO).scalar_subquery()
    return _locked(_waiting_in_order(first_type).limit(ONE)).scalar_subquery()


def _waiting_in_order(task_type: ColumnElement[object] | ScalarSelect[str]) -> Select[int]:
    """Find the waiting jobs of one type, in their order."""
    jobs = JOBS.alias("waiting")
    of_type: Select[int] = select(jobs.c.id).where(is_waiting(jobs), jobs.c.task_type == task_type)
    return of_type.order_by(*claim_order(jobs)).offset(ZERO)


def _locked(jobs: Select[int]) -> Select[int]:
    """Lock what nobody else is changing; rows of services that refer to a job do not hide it."""
    return jobs.with_for_update(skip_locked=True, key_share=True)


def _waiting_types(dialect: str) -> ClauseElement:
    return _types_by_first_waiting(json_texts(dialect, "task_types"))


def _work(dialect: str) -> ClauseElement:
    """Tell for the task types `names` whether jobs wait; and when the next job of any is due."""
    types = json_texts(dialect, "names")
    head = _head(types)
    # No EXISTS, which PostgreSQL would answer by reading every waiting job once.
    head_id = head.with_only_columns(head.selected_columns.id).scalar_subquery()
    return select(types.c.value, head_id.is_not(None), *_next_due()).select_from(types)


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
        .where(JOBS.c.status == QUEUED, JOBS.c.available_at <= NOW)
        .values(available_at=null())
    )


def _expired(_dialect: str) -> ClauseElement:
    return (
        select(*job_columns(JOBS))
        .where(
            JOBS.c.status == PROCESSING,
            JOBS.c.lease_expires_at <= NOW,
        )
        .order_by(JOBS.c.lease_expires_at)
        .limit(LIMIT)
        .offset(ZERO)
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
    lease = parameter("lease_expires_at", dialect)
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


CLAIM: Final = Statement("fetch_next_job", _claim)
CLAIM_OF_TYPE: Final = Statement("fetch_next_job", _claim_of_type)
CLAIM_EACH: Final = Statement("fetch_next_jobs", _claim_each)
CLAIM_EACH_OF_TYPE: Final = Statement("fetch_next_jobs", _claim_each_of_type)
WAITING_OF_TYPE: Final = Statement("find waiting jobs of a type", _waiting_of_type)
WAITING_TYPES: Final = Statement("find waiting types", _waiting_types)
WORK: Final = Statement("find work", _work)
DUE: Final = Statement("find what is due", _due)
PROMOTE: Final = Statement("make delayed jobs available", _promote)
RENEW: Final = Statement("renew leases", _renew, is_visible=False)
EXPIRED: Final = Statement("find expired leases", _expired)
