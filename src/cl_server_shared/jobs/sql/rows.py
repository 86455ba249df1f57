"""Rows of jobs: added, read, saved and removed, one by one and in batches."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from cl_server_shared.database import Statement
from cl_server_shared.jobs.new_jobs import TERMS
from cl_server_shared.jobs.rows import JobVersion
from cl_server_shared.jobs.sql.arrays import given
from cl_server_shared.jobs.sql.columns import (
    ROW,
    STILL_UNANNOUNCED,
    parameter,
    readable,
    texts,
    type_of,
)
from cl_server_shared.models import JobRecord

ADDED_COLUMNS: Final = (
    *JobRecord.model_fields,
    *TERMS,
    *("created_at", "completed_at", "available_at", "claim_number", "unannounced_at"),
)
"""What is stored of a new job; `retry_count` is 0 and `event_seq` is 1, the rest is empty."""

AS_READ: Final = {
    "row_id": "id",
    "read_seq": "event_seq",
    "read_claim": "claim_number",
    "read_status": "status",
}
"""What tells the row that was read, by the parameters' names: the columns that must be equal."""

_HAS_ENDED: Final = """
    status IN ('completed', 'error') AND coalesce(completed_at, created_at) < :before
"""


def _add(dialect: str) -> str:
    values = ", ".join(parameter(name, dialect) for name in ADDED_COLUMNS)
    return f"""
        INSERT INTO jobs ({", ".join(ADDED_COLUMNS)}, retry_count, event_seq)
        VALUES ({values}, 0, 1) ON CONFLICT (job_id) DO NOTHING
    """


@cache
def add_each(own: tuple[str, ...]) -> Statement:
    """Build PostgreSQL's statement that inserts several rows and tells whose `job_id` was new.

    Args:
        own: the columns of which each row has a value of its own, in an array; the others are one
            parameter for all.
    """

    def build(_dialect: str) -> str:
        values = [_value(name, own, "given") for name in ADDED_COLUMNS]
        return f"""
            INSERT INTO jobs ({", ".join(ADDED_COLUMNS)}, retry_count, event_seq)
            SELECT {", ".join(values)}, 0, 1 FROM {given(own, AS_READ)}
            ON CONFLICT (job_id) DO NOTHING RETURNING job_id
        """

    return Statement("add_jobs", build)


def _value(name: str, own: Sequence[str], rows: str) -> str:
    """Take a column from the *rows* that are given where each has its *own*, else a parameter."""
    return f"CAST({f'{rows}.{name}' if name in own else f':{name}'} AS {type_of(name)})"


def _read(_dialect: str) -> str:
    return f"SELECT {ROW} FROM jobs WHERE job_id = :job_id"


def _delete(_dialect: str) -> str:
    return "DELETE FROM jobs WHERE job_id = :job_id"


def _delete_each(dialect: str) -> str:
    """Remove the rows with the row ids `ids`, and tell their job ids."""
    return f"""
        DELETE FROM jobs WHERE id IN (SELECT CAST(value AS BIGINT) FROM {texts("ids", dialect)})
        RETURNING job_id
    """


def _versions(dialect: str) -> str:
    """Read what tells whether jobs have changed, for the job ids `names`."""
    return f"""
        SELECT {readable(JobVersion._fields)} FROM jobs
        WHERE job_id IN (SELECT value FROM {texts("names", dialect)})
    """


@cache
def save_state(
    names: tuple[str, ...], *, is_unannounced: bool, is_takeover: bool = False
) -> Statement:
    """Build the statement that saves a decision: what it changes of a job, and nothing else.

    So no index is touched for nothing, and no lease is written back that the keeper has renewed
    since the job was read.

    Args:
        names: the columns that change.
        is_unannounced: whether the job counts as unannounced until an event is acknowledged.
        is_takeover: whether only a job is changed whose lease has ended by now.
    """

    def build(dialect: str) -> str:
        values = [f"{name} = {parameter(name, dialect)}" for name in names]
        return f"""
            UPDATE jobs SET {_saved(values, is_unannounced=is_unannounced)}
            WHERE {_is_as_read("jobs", ":")}
            {"AND lease_expires_at <= :now" if is_takeover else ""}
        """

    return Statement("recover a job" if is_takeover else "update_job", build)


@cache
def save_states(names: tuple[str, ...], own: tuple[str, ...], *, is_unannounced: bool) -> Statement:
    """Build PostgreSQL's statement that saves the decisions on several jobs, and tells on which.

    It locks them in the order of their ids, or two batches could wait for each other's rows; how
    an UPDATE alone orders its rows is left to the planner.

    Args:
        names: the columns that change.
        own: the columns of which each job has a value of its own, in an array, and what was read.
        is_unannounced: whether the jobs count as unannounced until an event is acknowledged.
    """

    def build(_dialect: str) -> str:
        values = [f"{name} = {_value(name, own, 'locked')}" for name in names]
        own_values = "".join(f", given.{name}" for name in own if name not in AS_READ)
        return f"""
            UPDATE jobs SET {_saved(values, is_unannounced=is_unannounced)}
            FROM (
                SELECT read.id{own_values} FROM {given(own, AS_READ)}
                JOIN jobs AS read ON {_is_as_read("read", "given.")}
                ORDER BY read.id FOR NO KEY UPDATE OF read
            ) AS locked WHERE jobs.id = locked.id RETURNING jobs.id
        """

    return Statement("finish_jobs", build)


def _saved(values: list[str], *, is_unannounced: bool) -> str:
    always = ["updated_at = :updated_at", "event_seq = jobs.event_seq + 1"]
    return ", ".join([*values, *always, *([STILL_UNANNOUNCED] if is_unannounced else [])])


def _is_as_read(jobs: str, given_: str) -> str:
    """Match only the very row that was read: every visible change raises `event_seq`.

    A job that was removed and added again is known by its claim number, and code that knows nothing
    of these columns by the status.
    """
    # The status is written so that no index on it serves: PostgreSQL knows nothing of a new table,
    # and may think that few jobs are processing, and so read them all.
    return f"""
        {jobs}.id = {given_}row_id AND {jobs}.event_seq = {given_}read_seq
        AND {jobs}.claim_number = {given_}read_claim
        AND coalesce({jobs}.status, '') = {given_}read_status
    """


def _count(_dialect: str) -> str:
    return "SELECT status, task_type, count(*) FROM jobs GROUP BY status, task_type"


def _finished(_dialect: str) -> str:
    """Find jobs that ended before a time, along the index on `created_at`: none ended earlier."""
    return f"""
        SELECT job_id FROM jobs WHERE created_at < :before AND {_HAS_ENDED}
        ORDER BY created_at LIMIT :limit
    """


def _delete_finished(_dialect: str) -> str:
    return f"DELETE FROM jobs WHERE job_id = :job_id AND {_HAS_ENDED}"


@cache
def save_checkpoint(*, is_claimed: bool) -> Statement:
    """Build the statement that saves the checkpoint of a running job that was not cancelled.

    Args:
        is_claimed: whether only under the claim with a given number.
    """
    under_claim = "AND claim_number = :claim_number" if is_claimed else ""

    def build(_dialect: str) -> str:
        return f"""
            UPDATE jobs SET checkpoint = :checkpoint
            WHERE job_id = :job_id AND status = 'processing' AND cancel_reason IS NULL
            {under_claim}
        """

    return Statement("save_checkpoint", build, is_visible=False)


def _checkpoint(_dialect: str) -> str:
    return "SELECT checkpoint FROM jobs WHERE job_id = :job_id"


ADD: Final = Statement("add_job", _add)
READ: Final = Statement("get_job", _read)
DELETE: Final = Statement("delete_job", _delete)
DELETE_EACH: Final = Statement("delete_jobs", _delete_each)
VERSIONS: Final = Statement("find changed jobs", _versions)
COUNT: Final = Statement("count_jobs", _count)
FINISHED: Final = Statement("find finished jobs", _finished)
DELETE_FINISHED: Final = Statement("purge_finished", _delete_finished)
CHECKPOINT: Final = Statement("checkpoint", _checkpoint)
