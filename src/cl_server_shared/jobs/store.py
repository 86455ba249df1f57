"""Carries out what was decided: each method runs one statement, or the same one again."""

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Final, final

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import Database, DatabaseOptions, Execute, Row, Values, database_of
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs import statements
from cl_server_shared.jobs.lifecycle import JobState
from cl_server_shared.jobs.rows import JobRow
from cl_server_shared.jobs.search import find_statement
from cl_server_shared.models import Job
from cl_server_shared.models.job import storable_text

_LOOKS_BEFORE_EMPTY: Final = 20
_PAUSE_SECONDS: Final = 0.001
_EXPIRED_AT_ONCE: Final = 100


@final
class JobDatabase:
    """The database of a session factory, reached at the first call.

    Args:
        session_factory: bound to the database's engine.
        options: how the database is used; the first repository of an engine decides.

    Raises:
        DatabaseError: from every call: the database failed, or cannot be used.
    """

    def __init__(self, session_factory: sessionmaker[Session], options: DatabaseOptions) -> None:
        self._session_factory: Final = session_factory
        self._options: Final = options

    @cached_property
    def database(self) -> Database:
        """The database that the session factory is bound to."""
        return database_of(_engine_of(self._session_factory), self._options)

    @cached_property
    def store(self) -> "JobStore":
        """The jobs, each call its own transaction."""
        return JobStore(self.database.execute, self.database.dialect.name)

    def in_session(self, session: Session) -> "JobStore":
        """The jobs, as part of a caller's own transaction.

        Raises:
            DatabaseError: the session belongs to another database.
        """
        self.database.prepare()
        connection = session.connection(bind_arguments={"mapper": Job})
        if connection.engine.url != _engine_of(self._session_factory).url:
            raise DatabaseError("the session belongs to another database than the repository")
        return JobStore(partial(self.database.execute_on, connection), self.database.dialect.name)

    @contextmanager
    def batch(self, name: str) -> Generator["JobStore"]:
        """The jobs, all calls in a `with` block one transaction."""
        with self.database.transaction(name) as execute:
            yield JobStore(execute, self.database.dialect.name)


@final
class JobStore:
    """The table `jobs`.

    Args:
        execute: runs a statement.
        dialect: `sqlite` or `postgresql`.
    """

    def __init__(self, execute: Execute, dialect: str) -> None:
        self._run: Final = execute
        self._dialect: Final = dialect

    def add(self, row: Values) -> bool:
        """Insert a row; False if its job_id exists."""
        return bool(self._run(statements.ADD, row))

    def read(self, job_id: str) -> JobRow | None:
        """Return a job's row."""
        if not _can_be_stored(job_id):
            return None
        return _first(self._run(statements.READ, {"job_id": job_id}))

    def delete(self, job_id: str) -> bool:
        """Remove a job's row; False if there is none."""
        return _can_be_stored(job_id) and bool(self._run(statements.DELETE, {"job_id": job_id}))

    def find(self, conditions: dict[str, object], limit: int) -> list[JobRow]:
        """Return the newest *limit* jobs that meet *conditions*."""
        found = self._run(find_statement(frozenset(conditions)), {**conditions, "limit": limit})
        return [_row(row) for row in found]

    def count(self) -> list[tuple[str, str, int]]:
        """Return status, task type and number of jobs, for each pair of which there are any."""
        return [
            (str(status), str(task_type), _integer(number))
            for status, task_type, number in self._run(statements.COUNT, {})
        ]

    def finished(self, before: int, limit: int) -> list[str]:
        """Return ids of jobs that ended before a time (ms), the oldest first."""
        found = self._run(statements.FINISHED, {"before": before, "limit": limit})
        return [str(job_id) for (job_id,) in found]

    def delete_finished(self, job_id: str, before: int) -> bool:
        """Remove a job's row, if it ended before a time (ms)."""
        return bool(self._run(statements.DELETE_FINISHED, {"job_id": job_id, "before": before}))

    def store(
        self, row_id: int, seen: JobState, state: JobState, now_ms: int, expired_at: int | None
    ) -> JobState | None:
        """Store *state*, if the row still is as it was *seen*; return it with its new `event_seq`.

        None: the row was changed or removed meanwhile, or its lease has not ended by *expired_at*
        (where that is given), and nothing was stored.
        """
        guard: Values = {
            "row_id": row_id,
            "seen_seq": seen.event_seq,
            "seen_claim": seen.claim_number,
            "seen_status": seen.status.value,
        }
        if replace(seen, progress=state.progress) == state:
            changed: Values = {**guard, "progress": state.progress, "updated_at": now_ms}
            found = self._run(statements.STORE_PROGRESS, changed)
        elif expired_at is None:
            changed = {**guard, **_columns_of(state), "updated_at": now_ms}
            found = self._run(statements.STORE, changed)
        else:
            changed = {**guard, **_columns_of(state), "updated_at": now_ms, "now": expired_at}
            found = self._run(statements.TAKE_OVER, changed)
        return replace(state, event_seq=_integer(found[0][0])) if found else None

    def claim(
        self, task_types: Sequence[str], *, now_ms: int, lease_expires_at: int, worker_id: str
    ) -> JobRow | None:
        """Claim the first waiting job of these types, or tell that none waits."""
        lease = {"now": now_ms, "lease_expires_at": lease_expires_at, "worker_id": worker_id}
        row = self._claim_of(task_types, lease)
        if row is not None or self._dialect == "sqlite":
            return row
        return self._look_again(task_types, lease)

    def _look_again(self, task_types: Sequence[str], lease: Values) -> JobRow | None:
        """Claim after an empty answer of PostgreSQL, which may have come from jobs just taken.

        The statement chooses a type, then a job that nobody has locked; another worker may take
        the last job of that type between the two, while jobs of other types wait. What stays
        locked for all the looks is held by somebody's long transaction, and cannot be claimed.
        """
        for _ in range(_LOOKS_BEFORE_EMPTY):
            waiting = self._run(statements.WAITING_TYPES, {"task_types": json.dumps(task_types)})
            if not waiting:
                return None
            for (task_type,) in waiting:
                row = self._claim_of([str(task_type)], lease)
                if row is not None:
                    return row
            time.sleep(_PAUSE_SECONDS)  # those who took what was seen are about to commit
        return None

    def _claim_of(self, task_types: Sequence[str], lease: Values) -> JobRow | None:
        values = {"task_types": json.dumps(task_types), **lease}
        return _first(self._run(statements.CLAIM, values))

    def next_due_at(self) -> int | None:
        """Return when the next delayed job or lease is due, in milliseconds since the epoch."""
        ((delayed, leased),) = self._run(statements.DUE, {})
        due = [_integer(at) for at in (delayed, leased) if at is not None]
        return min(due) if due else None

    def promote(self, now_ms: int) -> int:
        """Make the delayed jobs whose time has come available; return how many."""
        return len(self._run(statements.PROMOTE, {"now": now_ms}))

    def expired(self, now_ms: int) -> list[JobRow]:
        """Return jobs whose lease has ended, the longest ended first, at most 100."""
        values = {"now": now_ms, "limit": _EXPIRED_AT_ONCE}
        return [_row(found) for found in self._run(statements.EXPIRED, values)]


def _engine_of(session_factory: sessionmaker[Session]) -> Engine:
    with session_factory() as session:
        bind = session.get_bind(Job)
    if not isinstance(bind, Engine):
        raise DatabaseError(
            "the session factory is bound to a single connection: bind it to its engine, since "
            "every change of a job is a transaction of its own"
        )
    return bind


def _columns_of(state: JobState) -> Values:
    return {
        "status": state.status.value,
        "progress": state.progress,
        "output": state.output,
        "error_message": state.error_message,
        "started_at": state.started_at,
        "completed_at": state.completed_at,
        "available_at": state.available_at,
        "lease_expires_at": state.lease_expires_at,
        "worker_id": state.worker_id,
        "claim_number": state.claim_number,
        "retry_count": state.retry_count,
        "last_error": state.last_error,
        "cancel_reason": state.cancel_reason,
        "attempts": state.attempts.text,
    }


def _can_be_stored(job_id: str) -> bool:
    """Tell whether any job may have this id: text with a lone surrogate or NUL never got in."""
    return job_id.isprintable() or ("\0" not in job_id and storable_text(job_id) == job_id)


def _first(found: Sequence[Row]) -> JobRow | None:
    return _row(found[0]) if found else None


def _row(found: Row) -> JobRow:
    return JobRow._make(found)  # the statement selects the fields of JobRow in their order


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))
