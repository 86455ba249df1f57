"""Finding jobs: by any conditions, page by page, and those on which something can be done."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Final, Literal

from cl_server_shared.database import Statement
from cl_server_shared.jobs.sql.columns import ROW, locked, texts
from cl_server_shared.models.page import Order

type Eligible = Literal["retry", "cancel", "delete"]

_CONDITIONS: Final[Mapping[str, str]] = {
    "created_by": "created_by = :created_by",
    "created_from": "created_at >= :created_from",
    "created_before": "created_at < :created_before",
    "finished_from": "completed_at >= :finished_from",
    "finished_before": "completed_at < :finished_before",
    "before_id": "id < :before_id",
    "after_id": "id > :after_id",
}
_STATUS: Final = "status"
_STATUS_WITHOUT_INDEX: Final = "coalesce(status, '')"
"""Where ids are given, so that only the index on them serves: without statistics SQLite would
rather read all jobs of a status."""
_LISTS: Final[Mapping[str, str]] = {
    "statuses": "{status}",
    "task_types": "task_type",
    "job_ids": "job_id",
}
"""The columns that are compared with a JSON array, by its name."""

_ELIGIBLE: Final[Mapping[Eligible, str]] = {
    "retry": """(
        {status} IN ('completed', 'error') OR ({status} = 'queued' AND available_at IS NOT NULL)
    )""",
    "cancel": "({status} = 'queued' OR ({status} = 'processing' AND cancel_reason IS NULL))",
    "delete": "",
}


@cache
def find_statement(asked: frozenset[str], order: Order) -> Statement:
    """Build the statement that finds jobs by the conditions *asked*, in the order of their ids."""

    def build(dialect: str) -> str:
        return f"SELECT {ROW} FROM jobs {_where(asked, dialect)} {_ordered(order)}"

    return Statement("find_jobs", build)


@cache
def matching_statement(asked: frozenset[str], order: Order, eligible: Eligible) -> Statement:
    """Build the statement that finds jobs on which something can be done, and locks them.

    Jobs that somebody else is changing at this moment are passed over.
    """

    def build(dialect: str) -> str:
        which = _where(asked, dialect, _ELIGIBLE[eligible])
        lock = locked(dialect, key=eligible == "delete")
        return f"SELECT {ROW} FROM jobs {which} {_ordered(order)} {lock}"

    return Statement(f"find jobs to {eligible}", build)


def _where(asked: Collection[str], dialect: str, also: str = "") -> str:
    conditions = [_condition(name, dialect) for name in sorted(asked)]
    wanted = [condition for condition in (*conditions, also) if condition]
    status = _STATUS_WITHOUT_INDEX if "job_ids" in asked else _STATUS
    return f"WHERE {' AND '.join(wanted)}".format(status=status) if wanted else ""


def _condition(name: str, dialect: str) -> str:
    if name not in _LISTS:
        return _CONDITIONS[name]
    return f"{_LISTS[name]} IN (SELECT value FROM {texts(name, dialect)})"


def _ordered(order: Order) -> str:
    return f"ORDER BY id {'DESC' if order == 'newest' else ''} LIMIT :limit"
