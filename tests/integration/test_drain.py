"""Eight processes, or sixteen threads, drain 2,000 jobs that two others add meanwhile."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from sqlalchemy import Engine, text

from cl_server_shared.database import make_engine
from tests.support.draining import (
    ADDERS,
    DrainRecord,
    EmptyAnswer,
    add,
    add_in_process,
    claimed_more_than_once,
    drain,
    drain_in_process,
    wrongly_empty,
)
from tests.support.processes import child
from tests.support.repositories import repository_on

pytest_plugins = ["tests.support.databases"]
pytestmark = pytest.mark.slow  # many processes and threads

JOBS = 2_000
EACH = JOBS // len(ADDERS)
WORKERS = 8
THREADS = 16


def test_eight_processes_take_each_job_once_and_leave_none(shared_database_url: str) -> None:
    repository_on(make_engine(shared_database_url)).get_job("none")  # makes the tables
    adders = [partial(add_in_process, shared_database_url, name, EACH) for name in ADDERS]
    drainer = partial(drain_in_process, shared_database_url, EACH - 1)
    with ExitStack() as stack:
        running = [stack.enter_context(child(run)) for run in [*adders, *[drainer] * WORKERS]]
        everybody = [process.result(100) for process in running]

    all_went_well(make_engine(shared_database_url), everybody)


def test_sixteen_threads_take_each_job_once_and_leave_none(shared_database_url: str) -> None:
    engine = make_engine(shared_database_url)
    repository = repository_on(engine)
    with ThreadPoolExecutor(len(ADDERS) + THREADS) as threads:
        running = [threads.submit(add, repository, name, EACH) for name in ADDERS]
        running += [threads.submit(drain, repository, engine, EACH - 1) for _ in range(THREADS)]
        everybody = [each.result() for each in running]

    all_went_well(engine, everybody)


def all_went_well(engine: Engine, everybody: Sequence[DrainRecord]) -> None:
    """No error came so far: each would have ended its process or thread."""
    workers = [seen for seen in everybody if seen.claims or seen.empty]
    answers = [answer for seen in everybody for answer in seen.empty]
    print(
        f"{engine.dialect.name}: {[len(seen.claims) for seen in workers]} claims, "
        f"{len(answers)} empty answers"
    )

    assert wrongly_empty(everybody) == []
    assert claimed_more_than_once(everybody) == []
    assert sum(len(seen.claims) for seen in everybody) == JOBS
    assert all(done for seen in everybody for done in seen.completed)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT status, progress, retry_count, count(*) FROM jobs GROUP BY 1, 2, 3")
        ).all()
    assert [tuple(row) for row in rows] == [("completed", 100, 0, JOBS)]
    engine.dispose()


def test_the_judge_blames_an_empty_answer_while_a_job_waited_and_no_other() -> None:
    adder = DrainRecord(added_at={"early": 10, "late": 50})
    worker = DrainRecord(
        claim_began_at={"early": 45, "late": 60},
        claims=["early", "late"],
        empty=[
            EmptyAnswer(5, 40, ["early"]),  # added during the call
            EmptyAnswer(20, 30, []),  # "early" was claimed by a call that began later
            EmptyAnswer(20, 47, ["early"]),  # and was seen waiting after this one
            EmptyAnswer(40, 46, []),  # may have been claimed before this answer
        ],
    )

    blamed = wrongly_empty([adder, worker])

    assert blamed == [(worker.empty[1], "early"), (worker.empty[2], "early")]
    assert claimed_more_than_once([worker, DrainRecord(claims=["late"])]) == ["late"]
