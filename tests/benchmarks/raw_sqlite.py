"""The limit on SQLite: its own statements through Python's `sqlite3`, on the same table.

Nothing is checked, no record is made, and the texts of params and results stand ready. What makes a
claim safe stays: one statement each, its own transaction, with lease, claim number and counter.
"""

import sqlite3
import time
from collections.abc import Iterable
from itertools import batched
from json import dumps
from typing import Final, NamedTuple, cast, final, override

from sqlalchemy import make_url

from cl_server_shared.database import make_engine, upgrade
from tests.benchmarks.ours import BATCH
from tests.benchmarks.queues import OUTPUT, PARAMS, TASK_TYPE, Names, Phases, Queue, timed

_ADD: Final = """
INSERT INTO jobs (job_id, task_type, params, status, progress, created_by, priority, created_at,
                  retry_count, max_retries, claim_number, event_seq)
VALUES (?, ?, ?, 'queued', 0, 'ada', 0, ?, 0, 3, 0, 1) ON CONFLICT (job_id) DO NOTHING
"""
_CLAIM: Final = """
UPDATE jobs SET status = 'processing', started_at = ?, updated_at = ?, lease_expires_at = ?,
                worker_id = 'w', claim_number = claim_number + 1, event_seq = event_seq + 1
WHERE id IN (
  SELECT id FROM jobs WHERE status = 'queued' AND available_at IS NULL AND task_type = ?
  ORDER BY priority DESC, id LIMIT ?)
RETURNING id, claim_number, job_id, params
"""
_COMPLETE: Final = """
UPDATE jobs SET status = 'completed', progress = 100, output = ?, completed_at = ?, updated_at = ?,
                lease_expires_at = NULL, event_seq = event_seq + 1
WHERE id = ? AND claim_number = ?
"""
_PARAMS: Final = dumps(PARAMS)
_OUTPUT: Final = dumps(OUTPUT)
_LEASE_MS: Final = 30_000


class _Claimed(NamedTuple):
    row_id: int
    claim_number: int

    @override
    def __str__(self) -> str:
        return str(self.row_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def connect(url: str, synchronous: str) -> sqlite3.Connection:
    """Open the database, with the library's tables, in autocommit mode."""
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    database = make_url(url).database
    assert database is not None
    connection = sqlite3.connect(
        database, isolation_level=None, timeout=60, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection


@final
class OneByOne(Queue):
    """Each job a statement of its own."""

    def __init__(self, url: str, synchronous: str = "NORMAL") -> None:
        self._connection: Final = connect(url, synchronous)
        self._names: Final = Names()
        self._claimed: Final[list[_Claimed]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self.add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._connection.close()

    def add(self, number: int) -> None:
        """Add jobs."""
        for _ in range(number):
            row = (self._names.next(), TASK_TYPE, _PARAMS, _now_ms())
            self._connection.execute(_ADD, row)

    def claim(self) -> _Claimed | None:
        """Claim one job; return its row and its claim number."""
        rows = _claimed(self._connection.execute(_CLAIM, _claim_values(1)))
        return rows[0] if rows else None

    def complete(self, claimed: _Claimed) -> None:
        """Complete a claimed job."""
        now = _now_ms()
        self._connection.execute(_COMPLETE, (_OUTPUT, now, now, *claimed))

    def _claim(self, number: int) -> None:
        for _ in range(number):
            claimed = self.claim()
            assert claimed is not None
            self._claimed.append(claimed)

    def _complete(self, number: int) -> None:
        for _ in range(number):
            self.complete(self._claimed.pop())


@final
class InBatches(Queue):
    """A hundred jobs a transaction: many rows a statement, or one statement many times."""

    def __init__(self, url: str, synchronous: str = "NORMAL") -> None:
        self._connection: Final = connect(url, synchronous)
        self._names: Final = Names()
        self._claimed: Final[list[_Claimed]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._connection.close()

    def _add(self, number: int) -> None:
        for some in batched(range(number), BATCH):
            now = _now_ms()
            self._many(_ADD, [(self._names.next(), TASK_TYPE, _PARAMS, now) for _ in some])

    def _claim(self, number: int) -> None:
        while missing := number - len(self._claimed):
            rows = _claimed(self._connection.execute(_CLAIM, _claim_values(min(BATCH, missing))))
            assert rows
            self._claimed.extend(rows)

    def _complete(self, number: int) -> None:
        done = [self._claimed.pop() for _ in range(number)]
        for some in batched(done, BATCH):
            now = _now_ms()
            self._many(_COMPLETE, [(_OUTPUT, now, now, *claimed) for claimed in some])

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")


def _claimed(cursor: sqlite3.Cursor) -> list[_Claimed]:
    rows = cast("list[tuple[int, int, str, str]]", cursor.fetchall())  # sqlite3 gives Any
    return [_Claimed(row_id, claim_number) for row_id, claim_number, _, _ in rows]


def _claim_values(limit: int) -> tuple[object, ...]:
    now = _now_ms()
    return (now, now, now + _LEASE_MS, TASK_TYPE, limit)
