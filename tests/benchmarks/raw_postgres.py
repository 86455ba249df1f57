"""The limit on PostgreSQL: prepared statements through psycopg 3, on the same table.

Nothing is checked, no record is made, and the texts of params and results stand ready. What makes a
claim safe stays: one statement each, its own transaction, with lease, claim number and counter.
"""

import time
from itertools import batched
from json import dumps
from typing import Final, cast, final, override

import psycopg
from sqlalchemy import make_url

from cl_server_shared.database import make_engine, upgrade
from tests.benchmarks.ours import BATCH
from tests.benchmarks.queues import OUTPUT, PARAMS, TASK_TYPE, Names, Phases, Queue, timed

_COLUMNS: Final = """
INSERT INTO jobs (job_id, task_type, params, status, progress, created_by, priority, created_at,
                  retry_count, max_retries, claim_number, event_seq)
"""
_ADD: Final = f"""{_COLUMNS}
VALUES (%s, %s, %s, 'queued', 0, 'ada', 0, %s, 0, 3, 0, 1) ON CONFLICT (job_id) DO NOTHING
"""
_ADD_MANY: Final = f"""{_COLUMNS}
SELECT job_id, %s, %s::json, 'queued', 0, 'ada', 0, %s, 0, 3, 0, 1 FROM unnest(%s::text[]) AS job_id
ON CONFLICT (job_id) DO NOTHING
"""
_CLAIM: Final = """
UPDATE jobs SET status = 'processing', started_at = %s, updated_at = %s, lease_expires_at = %s,
                worker_id = 'w', claim_number = claim_number + 1, event_seq = event_seq + 1
"""
_HEAD: Final = """
SELECT id FROM jobs WHERE status = 'queued' AND available_at IS NULL AND task_type = %s
ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED
"""
_GIVEN: Final = "RETURNING id, claim_number, job_id, params::text"
_CLAIM_ONE: Final = f"{_CLAIM} WHERE id = ({_HEAD}) {_GIVEN}"
_CLAIM_MANY: Final = f"{_CLAIM} WHERE id = ANY (ARRAY({_HEAD})) {_GIVEN}"
_DONE: Final = """
UPDATE jobs SET status = 'completed', progress = 100, output = %s, completed_at = %s,
                updated_at = %s, lease_expires_at = NULL, event_seq = event_seq + 1
"""
_COMPLETE: Final = f"{_DONE} WHERE id = %s AND claim_number = %s"
_COMPLETE_MANY: Final = f"""{_DONE}
FROM unnest(%s::bigint[], %s::bigint[]) AS done (row_id, claim)
WHERE jobs.id = done.row_id AND jobs.claim_number = done.claim
"""
_PARAMS: Final = dumps(PARAMS)
_OUTPUT: Final = dumps(OUTPUT)
_LEASE_MS: Final = 30_000

type _Claimed = tuple[int, int]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def connect(url: str) -> psycopg.Connection:
    """Connect to the database, with the library's tables, in autocommit mode."""
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, prepare_threshold=1)


@final
class OneByOne(Queue):
    """Each job a statement of its own."""

    def __init__(self, url: str) -> None:
        self._connection: Final = connect(url)
        self._names: Final = Names()
        self._claimed: Final[list[_Claimed]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._connection.close()

    def _add(self, number: int) -> None:
        for _ in range(number):
            row = (self._names.next(), TASK_TYPE, _PARAMS, _now_ms())
            self._connection.execute(_ADD, row)

    def _claim(self, number: int) -> None:
        while len(self._claimed) < number:
            row = self._connection.execute(_CLAIM_ONE, _claim_values(1)).fetchone()
            if row is not None:  # what others are taking was skipped
                self._claimed.append(cast("_Claimed", row[:2]))  # psycopg gives Any

    def _complete(self, number: int) -> None:
        for _ in range(number):
            now = _now_ms()
            self._connection.execute(_COMPLETE, (_OUTPUT, now, now, *self._claimed.pop()))


@final
class InBatches(Queue):
    """A hundred jobs a statement."""

    def __init__(self, url: str) -> None:
        self._connection: Final = connect(url)
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
            ids = [self._names.next() for _ in some]
            self._connection.execute(_ADD_MANY, (TASK_TYPE, _PARAMS, _now_ms(), ids))

    def _claim(self, number: int) -> None:
        while missing := number - len(self._claimed):  # what is left belongs to other processes
            limit = min(BATCH, missing)
            rows = self._connection.execute(_CLAIM_MANY, _claim_values(limit)).fetchall()
            self._claimed.extend(cast("_Claimed", row[:2]) for row in rows)  # psycopg gives Any

    def _complete(self, number: int) -> None:
        done = [self._claimed.pop() for _ in range(number)]
        for some in batched(done, BATCH):
            now = _now_ms()
            rows, claims = [row for row, _ in some], [claim for _, claim in some]
            self._connection.execute(_COMPLETE_MANY, (_OUTPUT, now, now, rows, claims))


def _claim_values(limit: int) -> tuple[object, ...]:
    now = _now_ms()
    return (now, now, now + _LEASE_MS, TASK_TYPE, limit)
