"""Carries out what was decided: each method runs one statement, or the same one again."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Final, final

from cl_server_shared.database import (
    Execute,
    Row,
    Statement,
    Values,
)
from cl_server_shared.jobs.claim_table import ClaimTable
from cl_server_shared.jobs.job_state import JobState
from cl_server_shared.jobs.rows import JobRow, row_of
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.jobs.sql.arrays import in_arrays, portions
from cl_server_shared.jobs.sql.search import Eligible, find_statement, matching_statement
from cl_server_shared.models.job import storable_text
from cl_server_shared.models.page import Order

_PROGRESS_ALONE: Final = ("progress",)
"""The most frequent change: it touches no index, and need not be announced for sure."""

type ExecuteEach = Callable[[Statement, Sequence[Values]], bool]


@final
class JobTable(ClaimTable):
    """The table `jobs`: adding, reading, changing and removing rows, beside claiming them.

    Args:
        execute: runs a statement.
        execute_each: runs a statement with each of many values, if it then changes a row each time;
            else it undoes the transaction so far and returns False.
        dialect: `sqlite` or `postgresql`.
        has_outbox: whether a changed job counts as unannounced until an event is acknowledged.
    """

    def __init__(
        self, execute: Execute, execute_each: ExecuteEach, dialect: str, *, has_outbox: bool
    ) -> None:
        super().__init__(execute, dialect, has_outbox=has_outbox)
        self._run_each: Final = execute_each

    def add(self, row: Values) -> bool:
        """Insert a row; False if its job_id exists."""
        return bool(self._run(sql_rows.ADD, self._unannounced(row)))

    def add_each(self, new: Sequence[Values]) -> list[bool]:
        """Insert rows; tells for each whether its job_id was new. First of its transaction."""
        new_rows = [self._unannounced(row) for row in new]
        if self._dialect == "postgresql":
            return [is_new for some in portions(new_rows) for is_new in self._add_set(some)]
        if self._run_each(sql_rows.ADD, new_rows):
            return [True] * len(new_rows)
        return [bool(self._run(sql_rows.ADD, row)) for row in new_rows]

    def _add_set(self, rows: Sequence[Values]) -> list[bool]:
        own, values = in_arrays(rows, ("job_id",))
        left = {job_id for (job_id,) in self._run(sql_rows.add_each(own), values)}
        return [_take(left, row["job_id"]) for row in rows]

    def read(self, job_id: str) -> JobRow | None:
        """Return a job's row."""
        if not _can_be_stored(job_id):
            return None
        return _first(self._run(sql_rows.READ, {"job_id": job_id}))

    def delete(self, job_id: str) -> bool:
        """Remove a job's row; False if there is none."""
        return _can_be_stored(job_id) and bool(self._run(sql_rows.DELETE, {"job_id": job_id}))

    def delete_each(self, row_ids: Sequence[int]) -> list[str]:
        """Remove rows by their row ids; returns the job ids of those that were there."""
        removed = self._run(sql_rows.DELETE_EACH, {"ids": json.dumps(row_ids)})
        return [str(job_id) for (job_id,) in removed]

    def find(
        self, conditions: Mapping[str, object], limit: int, order: Order = "newest"
    ) -> list[JobRow]:
        """Return the first *limit* jobs that meet *conditions* (see `paging.conditions_of`)."""
        statement = find_statement(frozenset(conditions), order)
        return [row_of(row) for row in self._run(statement, {**conditions, "limit": limit})]

    def matching(
        self,
        conditions: Mapping[str, object],
        eligible: Eligible,
        limit: int,
        order: Order = "newest",
    ) -> list[JobRow]:
        """Return jobs as `find` does, locked until the transaction ends; part of a transaction.

        Only jobs that can be retried (ended, or delayed), cancelled (live and not cancelled yet) or
        deleted (any). On PostgreSQL, those that others are changing are passed over.
        """
        statement = matching_statement(frozenset(conditions), order, eligible)
        return [row_of(row) for row in self._run(statement, {**conditions, "limit": limit})]

    def save_checkpoint(self, job_id: str, text: str, claim_number: int | None) -> bool:
        """Save a running job's checkpoint (JSON text); False if it does not run, or was cancelled.

        With a claim number, only while the job is under that claim. It is no change of the job:
        it is not announced, and `event_seq` stays.
        """
        values = {"job_id": job_id, "checkpoint": text, "claim_number": claim_number}
        statement = sql_rows.save_checkpoint(is_claimed=claim_number is not None)
        return _can_be_stored(job_id) and bool(self._run(statement, values))

    def checkpoint(self, job_id: str) -> str | None:
        """Return the checkpoint of a job (JSON text), if it has one."""
        if not _can_be_stored(job_id):
            return None
        found = self._run(sql_rows.CHECKPOINT, {"job_id": job_id})
        return None if not found or found[0][0] is None else str(found[0][0])

    def count(self) -> list[tuple[str, str, int]]:
        """Return status, task type and number of jobs, for each pair of which there are any."""
        return [
            (str(status), str(task_type), _integer(number))
            for status, task_type, number in self._run(sql_rows.COUNT, {})
        ]

    def finished(self, before: int, limit: int) -> list[str]:
        """Return ids of jobs that ended before a time (ms), the oldest first."""
        found = self._run(sql_rows.FINISHED, {"before": before, "limit": limit})
        return [str(job_id) for (job_id,) in found]

    def delete_finished(self, job_id: str, before: int) -> bool:
        """Remove a job's row, if it ended before a time (ms)."""
        return bool(self._run(sql_rows.DELETE_FINISHED, {"job_id": job_id, "before": before}))

    def save_state(
        self, row_id: int, read: JobState, state: JobState, now_ms: int, expired_at: int | None
    ) -> JobState | None:
        """Save *state*, if the row still is as it was *read*; return it with its new `event_seq`.

        None: the row was changed or removed meanwhile, or its lease has not ended by *expired_at*
        (where that is given), and nothing was saved.
        """
        names, values = self._changes(row_id, read, state, now_ms)
        is_takeover, is_unannounced = expired_at is not None, self._is_unannounced(names)
        statement = sql_rows.save_state(
            names, is_unannounced=is_unannounced, is_takeover=is_takeover
        )
        if is_takeover:
            values["now"] = expired_at
        return JobState(*state[:-1], read.event_seq + 1) if self._run(statement, values) else None

    def save_states(
        self, changes: Sequence[tuple[int, JobState, JobState]], now_ms: int
    ) -> set[object]:
        """Save new states, given as (row id, as read, to be), each with the next `event_seq`.

        Returns the row ids of those that were saved. On PostgreSQL the others are no longer as
        they were read; on SQLite it is all of them or none. First of its transaction.
        """
        kinds: dict[tuple[str, ...], list[Values]] = {}
        # In one order for all, or two batches would wait for each other's rows.
        for row_id, read, state in sorted(changes, key=itemgetter(0)):
            names, values = self._changes(row_id, read, state, now_ms)
            kinds.setdefault(names, []).append(values)
        if self._dialect == "postgresql":
            return {row_id for kind in kinds.items() for row_id in self._save_set(*kind)}
        return self._save_all(*kinds.popitem()) if len(kinds) == 1 else set()

    def _save_set(self, names: tuple[str, ...], rows: Sequence[Values]) -> set[object]:
        saved: set[object] = set()
        for some in portions(rows):
            own, values = in_arrays(some, sql_rows.AS_READ)
            statement = sql_rows.save_states(names, own, is_unannounced=self._is_unannounced(names))
            saved.update(row_id for (row_id,) in self._run(statement, values))
        return saved

    def _save_all(self, names: tuple[str, ...], rows: Sequence[Values]) -> set[object]:
        statement = sql_rows.save_state(names, is_unannounced=self._is_unannounced(names))
        return {row["row_id"] for row in rows} if self._run_each(statement, rows) else set()

    def _changes(
        self, row_id: int, read: JobState, state: JobState, now_ms: int
    ) -> tuple[tuple[str, ...], dict[str, object]]:
        """Return the columns that change, and the values of the statement that saves them."""
        values = _changed_columns(read, state)
        names = (*values,)
        values |= _as_read(row_id, read)
        values["updated_at"] = now_ms
        values["unannounced_at"] = now_ms
        return names, values

    def _is_unannounced(self, names: tuple[str, ...]) -> bool:
        return self._has_outbox and names != _PROGRESS_ALONE

    def _unannounced(self, row: Values) -> Values:
        return {**row, "unannounced_at": row["created_at"] if self._has_outbox else None}


def _take(left: set[object], job_id: object) -> bool:
    """Take an id from those that are left; the second of two equal ones is not there."""
    is_left = job_id in left
    left.discard(job_id)
    return is_left


def _as_read(row_id: int, read: JobState) -> Values:
    return {
        "row_id": row_id,
        "read_seq": read.event_seq,
        "read_claim": read.claim_number,
        "read_status": str(read.status),
    }


def _changed_columns(read: JobState, state: JobState) -> dict[str, object]:
    """Return the columns whose values differ, in the order of the fields."""
    changed: dict[str, object] = {
        name: value
        for name, old, value in zip(JobState._fields, read, state, strict=True)
        if value is not old and value != old
    }
    if "status" in changed:
        changed["status"] = str(state.status)
    return changed


def _can_be_stored(job_id: str) -> bool:
    """Tell whether any job may have this id: text with a lone surrogate or NUL never got in."""
    return job_id.isprintable() or ("\0" not in job_id and storable_text(job_id) == job_id)


def _first(found: Sequence[Row]) -> JobRow | None:
    return row_of(found[0]) if found else None


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))
