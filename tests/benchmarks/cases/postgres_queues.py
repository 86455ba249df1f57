"""PostgreSQL: one by one and in batches, alone and with several processes."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from tests.benchmarks import ours, raw_postgres
from tests.benchmarks.alone import enter_alone
from tests.benchmarks.databases import postgres_databases
from tests.benchmarks.measuring import Case, Entrant
from tests.benchmarks.peers import kinds as peers
from tests.benchmarks.queues import Kind
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.together import enter_together


def _kinds(sizes: Sizes) -> list[Kind]:
    return [
        Kind(name="raw psycopg", how="prepared, SKIP LOCKED", open=raw_postgres.OneByOne),
        Kind(name="ours", how="no events", open=ours.OneByOne),
        *(peers.on_postgres() if sizes.with_peers else ()),
    ]


def _alone(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    return enter_alone(_kinds(sizes), postgres_databases(stack), sizes.jobs // 2, stack)


def _together(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    return enter_together(_kinds(sizes), postgres_databases(stack), sizes.jobs, sizes.crowd)


def _batches(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    kinds = [
        Kind(name="raw psycopg", how="prepared, unnest", open=raw_postgres.InBatches),
        Kind(name="ours", how="no events", open=ours.InBatches),
        *(peers.on_postgres_in_batches() if sizes.with_peers else ()),
    ]
    jobs = 4 * sizes.jobs
    return enter_together(kinds, postgres_databases(stack), jobs, sizes.crowd)


CASES: Final = (
    Case(name="postgres", title="PostgreSQL, one process, one job a call", enter=_alone),
    Case(
        name="postgres-processes",
        title="PostgreSQL, several processes, one job a call",
        enter=_together,
    ),
    Case(
        name="postgres-batches",
        title="PostgreSQL, several processes, 100 jobs a call",
        enter=_batches,
    ),
)
