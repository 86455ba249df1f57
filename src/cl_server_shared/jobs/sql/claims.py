"""Claiming: which jobs wait, whose turn it is, and for how long a claim is valid."""

from typing import Final

from cl_server_shared.database import Statement
from cl_server_shared.jobs.sql.columns import (
    CLAIM_ORDER,
    ROW,
    STILL_UNANNOUNCED,
    WAITING,
    locked,
    texts,
)

_CLAIMED: Final = f"""
    status = 'processing', progress = 0, started_at = :now, updated_at = :now,
    lease_expires_at = :lease_expires_at, worker_id = :worker_id,
    claim_number = jobs.claim_number + 1, event_seq = jobs.event_seq + 1, {STILL_UNANNOUNCED}
"""

_DUE: Final = """
    (SELECT min(available_at) FROM jobs
     WHERE status = 'queued' AND available_at IS NOT NULL) AS available_at,
    (SELECT min(lease_expires_at) FROM jobs
     WHERE status = 'processing' AND lease_expires_at IS NOT NULL) AS lease_expires_at
"""


def _first_of(type_: str, columns: str, limit: str = "1") -> str:
    """Find the first waiting jobs of one type: a probe of `ix_jobs_waiting`."""
    return f"""
        SELECT {columns} FROM jobs AS first
        WHERE {WAITING} AND task_type = {type_} ORDER BY {CLAIM_ORDER} LIMIT {limit}
    """


def _claim(dialect: str) -> str:
    """Claim the first waiting job of several types."""
    # Differs because several processes write at once on PostgreSQL. Only the job that is taken may
    # be locked there: were the first one of every type, a second worker would skip jobs that the
    # first does not take, and answer "none" while they wait.
    if dialect == "sqlite":
        first = f"""
            SELECT jobs.id FROM jobs JOIN (
                SELECT ({_first_of("task_types.value", "id")}) AS first_id
                FROM {texts("task_types", dialect)}
            ) AS heads ON jobs.id = first_id ORDER BY {CLAIM_ORDER} LIMIT 1
        """
    else:
        first = f"{_first_of(f'({_waiting_types(dialect)} LIMIT 1)', 'id')} {locked(dialect)}"
    return f"UPDATE jobs SET {_CLAIMED} WHERE id = ({first}) RETURNING {ROW}"


def _claim_of_type(dialect: str) -> str:
    """Claim the first waiting job of one type: most workers know one, and nothing is compared."""
    return f"""
        UPDATE jobs SET {_CLAIMED}
        WHERE id = ({_first_of(":task_type", "id")} {locked(dialect)})
        RETURNING {ROW}
    """


def _claim_each(dialect: str) -> str:
    """Claim several jobs: on SQLite those given, on PostgreSQL the first waiting ones."""
    # Differs because only SQLite locks out all other writers between the choice and the claim.
    if dialect == "sqlite":
        which = f"id IN (SELECT CAST(value AS BIGINT) FROM {texts('ids', dialect)})"
    else:
        which = f"""id = ANY (ARRAY(
            SELECT heads.id FROM {texts("task_types", dialect)} CROSS JOIN LATERAL (
                {_first_of("task_types.value", "id, priority", ":limit")} {locked(dialect)}
            ) AS heads ORDER BY {CLAIM_ORDER} LIMIT :limit))"""
    return f"UPDATE jobs SET {_CLAIMED} WHERE {which} RETURNING {ROW}"


def _claim_each_of_type(dialect: str) -> str:
    """Claim the first waiting jobs of one type on PostgreSQL: nothing is compared.

    By an array of ids each is an index probe, where IN may read the table.
    """
    first = f"{_first_of(':task_type', 'id', ':limit')} {locked(dialect)}"
    return f"UPDATE jobs SET {_CLAIMED} WHERE id = ANY (ARRAY({first})) RETURNING {ROW}"


def _waiting_of_type(_dialect: str) -> str:
    return _first_of(":task_type", "id, priority", ":limit")


def _waiting_types(dialect: str) -> str:
    """Find on PostgreSQL which of several types have waiting jobs, by the order of their first."""
    return f"""
        SELECT task_types.value FROM {texts("task_types", dialect)} CROSS JOIN LATERAL (
            {_first_of("task_types.value", "id, priority")}
        ) AS heads ORDER BY {CLAIM_ORDER}
    """


def _work(dialect: str) -> str:
    """Read for the task types `names` whether jobs wait; and when the next job of any is due."""
    # No EXISTS, which PostgreSQL would answer by reading every waiting job once.
    return f"""
        SELECT names.value, ({_first_of("names.value", "id")}) IS NOT NULL, {_DUE}
        FROM {texts("names", dialect)}
    """


def _due(_dialect: str) -> str:
    return f"SELECT {_DUE}"


def _promote(_dialect: str) -> str:
    return """
        UPDATE jobs SET available_at = NULL WHERE status = 'queued' AND available_at <= :now
    """


def _expired(_dialect: str) -> str:
    return f"""
        SELECT {ROW} FROM jobs WHERE status = 'processing' AND lease_expires_at <= :now
        ORDER BY lease_expires_at LIMIT :limit
    """


def _renew(dialect: str) -> str:
    """Prolong every lease whose claim number is that in the JSON object `claims`; tell which were.

    Only a job that is processing has a lease; asking for the status too would lead SQLite to the
    index on it.
    """
    # Differs because rows are locked one by one on PostgreSQL: in the order of their ids, or this
    # and a batch of reports on the same jobs could wait for each other.
    if dialect == "sqlite":
        return """
            UPDATE jobs SET lease_expires_at = :lease_expires_at
            WHERE (job_id, claim_number) IN (
                SELECT CAST(key AS VARCHAR), CAST(value AS BIGINT) FROM json_each(:claims) AS claims
            ) AND lease_expires_at IS NOT NULL RETURNING job_id
        """
    return """
        UPDATE jobs SET lease_expires_at = :lease_expires_at WHERE id = ANY (ARRAY(
            SELECT leased.id FROM jobs AS leased WHERE (job_id, claim_number) IN (
                SELECT key, CAST(value AS BIGINT) FROM json_each_text(CAST(:claims AS JSON))
            ) AND lease_expires_at IS NOT NULL ORDER BY leased.id FOR NO KEY UPDATE OF leased
        )) RETURNING job_id
    """


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
