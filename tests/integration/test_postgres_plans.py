"""PostgreSQL's plans on 40,000 analyzed rows: through small indexes, whatever the history."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import cast

import pytest
from sqlalchemy import Engine, text

from cl_server_shared.database import Statement, upgrade
from cl_server_shared.jobs.sql import claims as sql_claims
from cl_server_shared.jobs.sql import outbox as sql_outbox
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.jobs.sql.search import find_statement, matching_statement

pytest_plugins = ["tests.support.databases"]

_FILL = """
INSERT INTO jobs (job_id, task_type, params, status, progress, priority, created_at, retry_count,
                  max_retries)
SELECT 'job' || n, 't' || (n % 7), '{}', CASE n % 4 WHEN 0 THEN 'queued' ELSE 'completed' END,
       0, n % 3, n, 0, 3
FROM generate_series(1, 40000) AS n
"""
_DELAY = "UPDATE jobs SET available_at = id WHERE status = 'queued' AND id % 100 = 0"
_LEASE = "UPDATE jobs SET status = 'processing', lease_expires_at = id WHERE id % 400 = 1"

_UNANNOUNCED = "UPDATE jobs SET unannounced_at = id WHERE id % 200 = 7"


@pytest.fixture
def engine(postgres_engine: Engine) -> Engine:
    upgrade(postgres_engine)
    with postgres_engine.begin() as connection:
        for fill in (_FILL, _DELAY, _LEASE, _UNANNOUNCED, "ANALYZE jobs"):
            connection.execute(text(fill))
    return postgres_engine


def plan_of(engine: Engine, statement: Statement, values: Mapping[str, object]) -> str:
    sql = f"EXPLAIN {statement.compiled(engine.dialect).text}"
    names = cast("list[str]", re.findall(r"%\((\w+)\)s", sql))
    with engine.connect() as connection:
        steps = connection.exec_driver_sql(sql, {name: values[name] for name in names}).scalars()
        return "\n".join(cast("list[str]", steps.all()))


def searched(plan: str) -> list[str]:
    """Return what finds rows of `jobs`: the names of the indexes, or how a table is read."""
    return re.findall(
        r"(?:Index|Scan) (?:Scan )?(?:Backward )?(?:using|on) (ix_\w+|jobs_pkey|jobs)", plan
    )


def claim_of(number_of_types: int) -> dict[str, object]:
    return {
        "task_types": json.dumps([f"t{number}" for number in range(number_of_types)]),
        "now": 5,
        "lease_expires_at": 9,
        "worker_id": "w",
        "unannounced_at": 5,
    }


@pytest.mark.parametrize("number_of_types", [1, 50])
def test_a_claim_probes_the_waiting_jobs_and_sorts_only_heads(
    engine: Engine, number_of_types: int
) -> None:
    plan = plan_of(engine, sql_claims.CLAIM, claim_of(number_of_types))

    assert searched(plan) == ["ix_jobs_waiting", "ix_jobs_waiting", "jobs_pkey"]
    assert re.findall(r"Sort Key: (.*)", plan) == ["first.priority DESC, first.id"]
    assert plan.count("LockRows") == 1  # of the job that is taken, not of each head


def test_a_claim_of_one_type_probes_its_waiting_jobs_alone(engine: Engine) -> None:
    plan = plan_of(engine, sql_claims.CLAIM_OF_TYPE, claim_of(0) | {"task_type": "t1"})

    assert searched(plan) == ["ix_jobs_waiting", "jobs_pkey"]
    assert "Sort" not in plan
    assert plan.count("LockRows") == 1


def test_a_batch_of_claims_of_one_type_probes_its_waiting_jobs_alone(engine: Engine) -> None:
    values = claim_of(0) | {"task_type": "t1", "limit": 100}
    plan = plan_of(engine, sql_claims.CLAIM_EACH_OF_TYPE, values)

    assert searched(plan) == ["ix_jobs_waiting", "jobs_pkey"]
    assert "Sort" not in plan
    assert plan.count("LockRows") == 1


def test_a_batch_of_claims_compares_the_first_of_each_type(engine: Engine) -> None:
    plan = plan_of(engine, sql_claims.CLAIM_EACH, claim_of(3) | {"limit": 100})

    assert searched(plan) == ["ix_jobs_waiting", "jobs_pkey"]
    assert re.findall(r"Sort Key: (.*)", plan) == ["heads.priority DESC, heads.id"]


_READ_ROWS: Mapping[str, object] = {
    "row_id": "{401,801}",
    "read_seq": "{1,1}",
    "read_claim": "{1,1}",
    "read_status": "{processing,processing}",
    "status": "completed",
    "output": "{NULL,NULL}",
    "updated_at": 1,
    "unannounced_at": None,
}
_SAVE_STATES = sql_rows.save_states(
    ("status", "output"), (*sql_rows.AS_READ, "output"), is_unannounced=True
)


def test_a_batch_of_reports_probes_its_rows_and_locks_them_in_the_order_of_their_ids(
    engine: Engine,
) -> None:
    plan = plan_of(engine, _SAVE_STATES, _READ_ROWS)

    assert searched(plan) == ["jobs_pkey", "jobs_pkey"]
    assert re.search(r"LockRows.*\n.*Sort .*\n *Sort Key: read.id\n", plan)


def test_a_report_finds_its_row_by_its_id_in_a_table_that_nobody_analyzed(
    postgres_engine: Engine,
) -> None:
    """Of such a table PostgreSQL believes that few jobs are of one status."""
    upgrade(postgres_engine)
    one = sql_rows.save_state(("status",), is_unannounced=False)
    plan = plan_of(
        postgres_engine, one, {**_READ_ROWS, "row_id": 1, "read_seq": 1, "read_claim": 1}
    )

    assert searched(plan) == ["jobs_pkey"]
    assert "ix_jobs_status" not in plan_of(postgres_engine, _SAVE_STATES, _READ_ROWS)


def _name_of(value: object) -> str:
    return value.name if isinstance(value, Statement) else ""


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (sql_claims.DUE, ["ix_jobs_delayed", "ix_jobs_leased"]),
        (sql_claims.EXPIRED, ["ix_jobs_leased"]),
        (sql_claims.PROMOTE, ["ix_jobs_delayed"]),
        (sql_outbox.FIRST_UNANNOUNCED, ["ix_jobs_unannounced"]),
        (sql_outbox.TAKE_OVER_UNANNOUNCED, ["ix_jobs_unannounced", "jobs_pkey"]),
        (sql_rows.READ, ["ix_jobs_job_id"]),
        (sql_rows.DELETE, ["ix_jobs_job_id"]),
        (sql_rows.save_state(("status", "output"), is_unannounced=True), ["jobs_pkey"]),
        (sql_rows.save_state(("progress",), is_unannounced=False), ["jobs_pkey"]),
        (sql_rows.save_checkpoint(is_claimed=True), ["ix_jobs_job_id"]),
        (sql_rows.CHECKPOINT, ["ix_jobs_job_id"]),
    ],
    ids=_name_of,
)
def test_a_statement_finds_its_rows_through_an_index_of_few(
    engine: Engine, statement: Statement, indexes: list[str]
) -> None:
    values: dict[str, object] = {"read_status": "processing"}
    plan = plan_of(engine, statement, defaultdict(lambda: "1", values))

    assert searched(plan) == indexes
    assert "Sort" not in plan


def test_renewing_leases_reads_leased_or_named_jobs_only(engine: Engine) -> None:
    values = {"claims": json.dumps({"job401": 1}), "lease_expires_at": 9}
    plan = plan_of(engine, sql_claims.RENEW, values)

    assert searched(plan) in (["ix_jobs_job_id", "jobs_pkey"], ["ix_jobs_leased", "jobs_pkey"])
    assert re.search(r"LockRows.*\n.*Sort .*\n *Sort Key: leased.id\n", plan)


def test_recording_what_was_announced_reads_the_named_jobs_only(engine: Engine) -> None:
    values = {"announced": json.dumps([["job7", 7, 1], ["job207", 207, 1]])}
    plan = plan_of(engine, sql_outbox.RECORD_ANNOUNCED, values)

    assert searched(plan) == ["ix_jobs_job_id", "jobs_pkey"]


def test_removing_many_jobs_reads_those_jobs_only(engine: Engine) -> None:
    plan = plan_of(engine, sql_rows.DELETE_EACH, {"ids": json.dumps([1, 2])})

    assert searched(plan) == ["jobs_pkey"]


def test_finding_jobs_by_their_ids_reads_those_jobs_only(engine: Engine) -> None:
    by_ids = frozenset({"job_ids"})
    values = {"job_ids": json.dumps(["job1", "job2"]), "limit": 10}
    for statement in (
        find_statement(by_ids, "newest"),
        matching_statement(by_ids, "oldest", "cancel"),
    ):
        assert searched(plan_of(engine, statement, values)) == ["ix_jobs_job_id"]


def test_pages_in_both_orders_follow_the_row_ids(engine: Engine) -> None:
    newest = find_statement(frozenset({"before_id"}), "newest")
    oldest = find_statement(frozenset({"after_id"}), "oldest")

    for statement, name in ((newest, "before_id"), (oldest, "after_id")):
        plan = plan_of(engine, statement, {name: 39_000, "limit": 10})
        assert searched(plan) == ["jobs_pkey"]
        assert "Sort" not in plan


def test_waiting_for_jobs_reads_those_jobs_only(engine: Engine) -> None:
    plan = plan_of(engine, sql_rows.VERSIONS, {"names": json.dumps(["job1", "job2"])})

    assert searched(plan) == ["ix_jobs_job_id"]


def test_waiting_for_work_probes_small_indexes_only(engine: Engine) -> None:
    plan = plan_of(engine, sql_claims.WORK, {"names": json.dumps(["t1", "t2"])})

    assert set(searched(plan)) == {"ix_jobs_delayed", "ix_jobs_leased", "ix_jobs_waiting"}
