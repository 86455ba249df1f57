"""SQLite's plans: what a statement costs must not grow with history, backlog or other tasks."""

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast

import pytest

from cl_server_shared.database import Statement, make_engine, upgrade
from cl_server_shared.jobs.rows import ROW_COLUMNS
from cl_server_shared.jobs.sql import claims as sql_claims
from cl_server_shared.jobs.sql import outbox as sql_outbox
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.jobs.sql.search import find_statement, matching_statement


class _Request(Protocol):
    @property
    def param(self) -> str: ...


def _name_of(value: object) -> str:
    return value.name if isinstance(value, Statement) else ""


@pytest.fixture(params=["without statistics", "with statistics"])
def connection(request: _Request, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database of 8,000 jobs: finished, waiting, delayed, leased; analyzed or not.

    Nobody runs ANALYZE on deployed databases, so plans must be right without it; and with it,
    since an administrator may.
    """
    path = tmp_path / "jobs.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript(_FILL)
    if request.param == "with statistics":
        connection.execute("ANALYZE")
    yield connection
    connection.close()


_FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 8000)
INSERT INTO jobs (job_id, task_type, params, status, progress, priority, created_at, retry_count,
                  max_retries, available_at, lease_expires_at)
SELECT 'job' || n, 't' || (n % 7), '{}',
       CASE n % 4 WHEN 0 THEN 'queued' WHEN 1 THEN 'error' ELSE 'completed' END,
       0, n % 3, n, 0, 3, NULL, NULL
FROM numbers;
UPDATE jobs SET available_at = id WHERE status = 'queued' AND id % 100 = 0;
UPDATE jobs SET status = 'processing', lease_expires_at = id WHERE id % 400 = 1;
UPDATE jobs SET unannounced_at = id WHERE id % 200 = 7;
"""


def plan_of(
    connection: sqlite3.Connection, statement: Statement, values: Mapping[str, object]
) -> list[str]:
    """Return the steps of a plan, without their numbers."""
    dialect = make_engine("sqlite://").dialect
    sql = f"EXPLAIN QUERY PLAN {statement.compiled(dialect).text}"
    steps = cast("list[tuple[int, int, int, str]]", _rows(connection, sql, statement, values))
    return [text for _, _, _, text in steps]


def _rows(
    connection: sqlite3.Connection, sql: str, statement: Statement, values: Mapping[str, object]
) -> list[tuple[object, ...]]:
    dialect = make_engine("sqlite://").dialect
    return connection.execute(sql, statement.compiled(dialect).arrange(values)).fetchall()


def searched(plan: list[str]) -> list[str]:
    """Return what finds rows of `jobs`: the names of the indexes, in the order of the steps."""
    found = [re.search(r"SEARCH .* USING .*?(PRIMARY KEY|ix_\w+)", step) for step in plan]
    return [match[1] for match in found if match]


def scanned_or_sorted(plan: list[str]) -> list[str]:
    """Return the steps that read a whole table or index, or sort what they read."""
    return [step for step in plan if re.search(r"SCAN (?!CONSTANT)|TEMP B-TREE", step)]


def claim_of(number_of_types: int) -> dict[str, object]:
    types = [f"t{number}" for number in range(number_of_types)]
    return {
        "task_types": json.dumps(types),
        "now": 5,
        "lease_expires_at": 9,
        "worker_id": "w",
        "unannounced_at": 5,
    }


@pytest.mark.parametrize("number_of_types", [1, 50])
def test_a_claim_probes_the_waiting_jobs_once_per_type(
    connection: sqlite3.Connection, number_of_types: int
) -> None:
    plan = plan_of(connection, sql_claims.CLAIM, claim_of(number_of_types))

    assert searched(plan) == ["PRIMARY KEY", "PRIMARY KEY", "ix_jobs_waiting"]
    # What it scans is the list of types, and what it sorts are their heads.
    assert scanned_or_sorted(plan) == [
        "SCAN task_types VIRTUAL TABLE INDEX 1:",
        "USE TEMP B-TREE FOR ORDER BY",
    ]


def test_a_claim_of_one_type_probes_its_waiting_jobs_alone(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, sql_claims.CLAIM_OF_TYPE, claim_of(0) | {"task_type": "t1"})

    assert searched(plan) == ["PRIMARY KEY", "ix_jobs_waiting"]
    assert scanned_or_sorted(plan) == []


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (sql_claims.DUE, ["ix_jobs_delayed", "ix_jobs_leased"]),
        (sql_claims.EXPIRED, ["ix_jobs_leased"]),
        (sql_claims.PROMOTE, ["ix_jobs_delayed"]),
        (sql_outbox.FIRST_UNANNOUNCED, ["ix_jobs_unannounced"]),
        (sql_outbox.TAKE_OVER_UNANNOUNCED, ["PRIMARY KEY", "ix_jobs_unannounced"]),
        (sql_rows.READ, ["ix_jobs_job_id"]),
        (sql_rows.DELETE, ["ix_jobs_job_id"]),
        (sql_rows.save_state(("status", "output"), is_unannounced=True), ["PRIMARY KEY"]),
        (sql_rows.save_state(("status",), is_unannounced=True, is_takeover=True), ["PRIMARY KEY"]),
        (sql_rows.save_state(("progress",), is_unannounced=False), ["PRIMARY KEY"]),
        (sql_rows.save_checkpoint(is_claimed=True), ["ix_jobs_job_id"]),
        (sql_rows.CHECKPOINT, ["ix_jobs_job_id"]),
        (find_statement(frozenset({"before_id"}), "newest"), ["PRIMARY KEY"]),
        (find_statement(frozenset({"after_id"}), "oldest"), ["PRIMARY KEY"]),
    ],
    ids=_name_of,
)
def test_a_statement_finds_its_rows_through_an_index_of_few(
    connection: sqlite3.Connection, statement: Statement, indexes: list[str]
) -> None:
    plan = plan_of(connection, statement, defaultdict(lambda: None))

    assert searched(plan) == indexes
    assert scanned_or_sorted(plan) == []


def test_renewing_leases_reads_leased_or_named_jobs_only(connection: sqlite3.Connection) -> None:
    claims = json.dumps({"job401": 1})
    plan = plan_of(connection, sql_claims.RENEW, {"claims": claims, "lease_expires_at": 9})

    assert searched(plan) in (["ix_jobs_job_id"], ["ix_jobs_leased"])
    assert {step.split(" VIRTUAL")[0] for step in scanned_or_sorted(plan)} == {"SCAN claims"}


def test_recording_what_was_announced_reads_the_named_jobs_only(
    connection: sqlite3.Connection,
) -> None:
    announced = json.dumps([["job7", 7, 1], ["job207", 207, 1]])
    plan = plan_of(connection, sql_outbox.RECORD_ANNOUNCED, {"announced": announced})

    assert searched(plan) == ["PRIMARY KEY", "ix_jobs_job_id"]
    assert {step.split(" VIRTUAL")[0] for step in scanned_or_sorted(plan)} == {"SCAN announced"}


def test_removing_many_jobs_reads_those_jobs_only(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, sql_rows.DELETE_EACH, {"ids": json.dumps([1, 2])})

    assert searched(plan) == ["PRIMARY KEY"]


def test_finding_jobs_by_their_ids_reads_those_jobs_only(connection: sqlite3.Connection) -> None:
    by_ids = frozenset({"job_ids"})
    values = {"job_ids": json.dumps(["job1", "job2"]), "limit": 10}
    for statement in (
        find_statement(by_ids, "newest"),
        matching_statement(by_ids, "oldest", "cancel"),
    ):
        assert searched(plan_of(connection, statement, values)) == ["ix_jobs_job_id"]


def test_waiting_for_jobs_reads_those_jobs_only(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, sql_rows.VERSIONS, {"names": json.dumps(["job1", "job2"])})

    assert searched(plan) == ["ix_jobs_job_id"]
    assert {step.split(" VIRTUAL")[0] for step in scanned_or_sorted(plan)} == {"SCAN names"}


def test_waiting_for_work_probes_small_indexes_only(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, sql_claims.WORK, {"names": json.dumps(["t1", "t2"])})

    assert sorted(searched(plan)) == ["ix_jobs_delayed", "ix_jobs_leased", "ix_jobs_waiting"]
    assert {step.split(" VIRTUAL")[0] for step in scanned_or_sorted(plan)} == {"SCAN names"}


def test_a_claim_takes_the_first_waiting_job(connection: sqlite3.Connection) -> None:
    """The plan's index is also right: what comes out is what a full sort would give."""
    waiting = cast(
        "list[tuple[str]]",
        connection.execute(
            "SELECT job_id FROM jobs WHERE status = 'queued' AND available_at IS NULL "
            "AND task_type IN ('t1', 't5') ORDER BY priority DESC, id"
        ).fetchall(),
    )
    values = {**claim_of(0), "task_types": json.dumps(["t5", "t1"])}
    sql = sql_claims.CLAIM.compiled(make_engine("sqlite://").dialect).text

    claimed = _rows(connection, sql, sql_claims.CLAIM, values)

    place = ROW_COLUMNS.index("job_id")
    assert [row[place] for row in claimed] == list(waiting[0])
