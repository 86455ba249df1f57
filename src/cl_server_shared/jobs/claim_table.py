"""Claiming on the table of the jobs: each method runs one statement, or the same one again."""

import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from cl_server_shared.database import Execute, Row
from cl_server_shared.jobs.rows import JobRow, row_of
from cl_server_shared.jobs.sql import claims as sql_claims

_TRIES_BEFORE_EMPTY: Final = 20
_PAUSE_SECONDS: Final = 0.001
_EXPIRED_AT_ONCE: Final = 100


class Lease(NamedTuple):
    """For whom a job is claimed, and from when to when (ms since the epoch)."""

    begins_at: int
    ends_at: int
    worker_id: str


class ClaimTable:
    """The table `jobs`, as far as claims go.

    Args:
        execute: runs a statement.
        dialect: `sqlite` or `postgresql`.
        has_outbox: whether a changed job counts as unannounced until an event is acknowledged.
    """

    def __init__(self, execute: Execute, dialect: str, *, has_outbox: bool) -> None:
        self._run: Final = execute
        self._dialect: Final = dialect
        self._has_outbox: Final = has_outbox

    def claim(self, task_types: Sequence[str], lease: Lease) -> JobRow | None:
        """Claim the first waiting job of these types, or tell that none waits."""
        row = self._claim_of(task_types, lease)
        if row is not None or self._dialect == "sqlite":
            return row
        return self._claim_again(task_types, lease)

    def claim_each(self, task_types: Sequence[str], limit: int, lease: Lease) -> list[JobRow]:
        """Claim the first *limit* waiting jobs of these types, in claim order."""
        values = {**self._values_of(lease), "limit": limit, **_of_types(task_types)}
        if self._dialect == "sqlite":
            values["ids"] = json.dumps(self._first_waiting(task_types, limit))
        is_of_type = len(task_types) == 1 and self._dialect == "postgresql"
        statement = sql_claims.CLAIM_EACH_OF_TYPE if is_of_type else sql_claims.CLAIM_EACH
        claimed = [row_of(found) for found in self._run(statement, values)]
        if claimed or self._dialect == "sqlite":
            return sorted(claimed, key=lambda row: (-row.priority, row.id))
        row = self._claim_again(task_types, lease)
        return [] if row is None else [row]

    def _first_waiting(self, task_types: Sequence[str], limit: int) -> list[int]:
        waiting = [
            (-_integer(priority), _integer(row_id))
            for task_type in task_types
            for row_id, priority in self._run(
                sql_claims.WAITING_OF_TYPE, {"task_type": task_type, "limit": limit}
            )
        ]
        return [row_id for _, row_id in sorted(waiting)[:limit]]

    def _values_of(self, lease: Lease) -> dict[str, object]:
        return {
            "now": lease.begins_at,
            "unannounced_at": lease.begins_at if self._has_outbox else None,
            "lease_expires_at": lease.ends_at,
            "worker_id": lease.worker_id,
        }

    def _claim_again(self, task_types: Sequence[str], lease: Lease) -> JobRow | None:
        """Claim after an empty answer of PostgreSQL, which may have come from jobs just taken.

        The statement chooses a type, then a job that nobody has locked; another worker may take
        the last job of that type between the two, while jobs of other types wait. What stays
        locked each time is held by somebody's long transaction, and cannot be claimed.
        """
        for _ in range(_TRIES_BEFORE_EMPTY):
            waiting = self._run(sql_claims.WAITING_TYPES, {"task_types": json.dumps(task_types)})
            if not waiting:
                return None
            for (task_type,) in waiting:
                row = self._claim_of([str(task_type)], lease)
                if row is not None:
                    return row
            time.sleep(_PAUSE_SECONDS)  # those who took what was found are about to commit
        return None

    def _claim_of(self, task_types: Sequence[str], lease: Lease) -> JobRow | None:
        statement = sql_claims.CLAIM_OF_TYPE if len(task_types) == 1 else sql_claims.CLAIM
        found = self._run(statement, self._values_of(lease) | _of_types(task_types))
        return row_of(found[0]) if found else None

    def next_due_at(self) -> int | None:
        """Return when the next delayed job or lease is due, in milliseconds since the epoch."""
        ((delayed, leased),) = self._run(sql_claims.DUE, {})
        due = [_integer(at) for at in (delayed, leased) if at is not None]
        return min(due) if due else None

    def work(self, task_types: Sequence[str]) -> list[Row]:
        """Return for each type itself, whether jobs wait, and when jobs of any type are due (ms).

        A job is due when its delay ends, or its lease.
        """
        return list(self._run(sql_claims.WORK, {"names": json.dumps(task_types)}))

    def promote(self, now_ms: int) -> int:
        """Make the delayed jobs whose time has come available; return how many."""
        return len(self._run(sql_claims.PROMOTE, {"now": now_ms}))

    def expired(self, now_ms: int) -> list[JobRow]:
        """Return jobs whose lease has ended, the longest ended first, at most 100."""
        values = {"now": now_ms, "limit": _EXPIRED_AT_ONCE}
        return [row_of(found) for found in self._run(sql_claims.EXPIRED, values)]


def _of_types(task_types: Sequence[str]) -> dict[str, object]:
    """Return the parameter of a claim from these types."""
    if len(task_types) == 1:
        return {"task_type": task_types[0]}
    return {"task_types": json.dumps(task_types)}


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))
