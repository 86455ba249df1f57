"""Finding jobs page by page: a page begins where the last one ended, however many came since."""

from collections.abc import Callable
from functools import cache
from typing import Final

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    ColumnElement,
    Integer,
    String,
    bindparam,
    literal_column,
    select,
)

from cl_server_shared.database import JOBS, Statement
from cl_server_shared.jobs.sql.columns import job_columns, json_texts

ZERO: Final[ColumnElement[int]] = literal_column("0", Integer())

type _Condition = Callable[[str], ColumnElement[bool]]

_CONDITIONS: Final[dict[str, _Condition]] = {
    "statuses": lambda dialect: JOBS.c.status.in_(select(json_texts(dialect, "statuses").c.value)),
    "task_types": lambda dialect: JOBS.c.task_type.in_(
        select(json_texts(dialect, "task_types").c.value)
    ),
    "created_by": lambda _: JOBS.c.created_by == bindparam("created_by", type_=String()),
    "created_from": lambda _: JOBS.c.created_at >= bindparam("created_from", type_=BigInteger()),
    "created_before": lambda _: JOBS.c.created_at < bindparam("created_before", type_=BigInteger()),
    "before_id": lambda _: JOBS.c.id < bindparam("before_id", type_=BigInteger()),
}


@cache
def find_statement(asked: frozenset[str]) -> Statement:
    """Build the statement that finds jobs by the conditions *asked*; there are 64 of them."""

    def build(dialect: str) -> ClauseElement:
        conditions = [_CONDITIONS[name](dialect) for name in sorted(asked)]
        found = select(*job_columns(JOBS)).where(*conditions)
        limit = bindparam("limit", type_=Integer())
        return found.order_by(JOBS.c.id.desc()).limit(limit).offset(ZERO)

    return Statement("find_jobs", build)
