"""Claims on tables with and without a past."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Final

from cl_server_shared.database import make_engine
from cl_server_shared.models import JobRecord
from cl_server_shared.protocols.jobs import JobManagement
from tests.benchmarks.databases import MakeDatabase, postgres_databases, sqlite_databases
from tests.benchmarks.history import fill
from tests.benchmarks.measuring import Case, Contestant, Entrant, Measured
from tests.benchmarks.ours import container_on, record, result
from tests.benchmarks.queues import TASK_TYPE, Names
from tests.benchmarks.sizes import Sizes

TYPES: Final = (1, 50)


def _enter(make_database: MakeDatabase, sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    past = {0, *(sizes.finished // part for part in (1_000, 10, 1))}
    return [_with_past(make_database(), finished, sizes, stack) for finished in sorted(past)]


def _with_past(url: str, finished: int, sizes: Sizes, stack: ExitStack) -> Contestant:
    engine = make_engine(url)
    fill(engine, finished)
    engine.dispose()
    container = container_on(url)
    stack.callback(container.closing().close)
    jobs = container.job_repository()
    number = max(1, sizes.jobs // 5)
    return Contestant(
        name=f"{finished:,} finished",
        how=f"{finished // 10:,} wait of other types, {finished // 100:,} are delayed",
        play=partial(_play, jobs, Names(), number),
    )


def _play(jobs: JobManagement, names: Names, number: int) -> Measured:
    measured: dict[str, float] = {}
    for types in TYPES:
        asked = [TASK_TYPE, *(f"absent {each}" for each in range(1, types))]
        assert all(jobs.add_jobs([record(names.next()) for _ in range(number)]))
        claims = [_timed(partial(jobs.fetch_next_job, asked)) for _ in range(number)]
        measured[f"claim of {types} us"] = median(took for took, _ in claims) * 1e6
        done = [_timed(partial(_complete, jobs, job)) for _, job in claims]
        measured["complete us"] = median(took for took, _ in done) * 1e6
        empty = [_timed(partial(jobs.fetch_next_job, asked))[0] for _ in range(number)]
        measured[f"empty answer of {types} us"] = median(empty) * 1e6
    return measured


def _complete(jobs: JobManagement, job: JobRecord | None) -> None:
    assert job is not None
    assert jobs.update_job(job.job_id, result())


def _timed[R](call: Callable[[], R]) -> tuple[float, R]:
    began = time.perf_counter()
    answer = call()
    return time.perf_counter() - began, answer


def _on_sqlite(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    return _enter(sqlite_databases(stack), sizes, stack)


def _on_postgres(sizes: Sizes, stack: ExitStack) -> Sequence[Entrant]:
    return _enter(postgres_databases(stack), sizes, stack)


CASES: Final = (
    Case(name="backlog-sqlite", title="SQLite, claims on a table with a past", enter=_on_sqlite),
    Case(
        name="backlog-postgres",
        title="PostgreSQL, claims on a table with a past",
        enter=_on_postgres,
    ),
)
