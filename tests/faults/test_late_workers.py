"""Workers that freeze (SIGSTOP) past their lease while others go on, and then thaw (SIGCONT)."""

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Job
from tests.faults.job_assertions import findings
from tests.faults.journal import Step, entries
from tests.faults.late_workers import Late, complete_when_told, is_frozen, report_late, take_over
from tests.faults.process_environment import ProcessEnvironment
from tests.support.processes import Child, child
from tests.support.repositories import at, completed, job, row_of
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

TOLD_AT_ONCE, TOLD_BY_KEEPER = "reports at once", "reports after its keeper"
BOTH = (TOLD_AT_ONCE, TOLD_BY_KEEPER)
REFUSED = Late(progress="JobLost", completion=False, error=False, events=0)
FREEZES = 12
RANDOM = Random()


@pytest.fixture
def engine(shared_database_url: str) -> Iterator[Engine]:
    engine = make_engine(shared_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def environment(shared_database_url: str) -> ProcessEnvironment:
    return ProcessEnvironment(shared_database_url)


@contextmanager
def frozen_workers(
    environment: ProcessEnvironment, *names: str
) -> Generator[dict[str, Child[Late]]]:
    """Workers that hold a job each, which they reported 10 % of before they froze."""
    with ExitStack() as stack:
        workers: dict[str, Child[Late]] = {}
        for name in names:
            run = partial(report_late, environment, name, after_keeper=name == TOLD_BY_KEEPER)
            workers[name] = stack.enter_context(child(run))
        wait_until(lambda: all(is_frozen(worker.pid) for worker in workers.values()))
        yield workers


def thawed(workers: dict[str, Child[Late]]) -> dict[str, Late]:
    for worker in workers.values():
        worker.cont()
    return {name: worker.result() for name, worker in workers.items()}


def take_over_both(repository: SqlJobRepository) -> None:
    """Claim both jobs as soon as their leases have ended."""
    claims: set[str] = set()

    def has_claimed_both() -> bool:
        claimed = repository.fetch_next_job(BOTH)
        claims.update({claimed.job_id} if claimed else set())
        return claims == set(BOTH)

    wait_until(has_claimed_both)


def rows_of(engine: Engine) -> list[dict[str, object]]:
    return [row_of(engine, name) for name in BOTH]


def await_end_of_lease(engine: Engine, job_id: str) -> None:
    ends_at = row_of(engine, job_id)["lease_expires_at"]
    wait_until(lambda: time.time() * 1000 > int(str(ends_at or 0)))


def test_a_worker_that_thaws_after_another_finished_changes_nothing(
    environment: ProcessEnvironment, engine: Engine
) -> None:
    other = environment.repository(engine)
    other.add_jobs([job(name, name) for name in BOTH])
    with frozen_workers(environment, *BOTH) as workers:
        take_over_both(other)
        assert all(other.update_job(name, completed({"by": "other"})) for name in BOTH)
        before = rows_of(engine)

        assert thawed(workers) == {TOLD_AT_ONCE: REFUSED, TOLD_BY_KEEPER: REFUSED}
        assert rows_of(engine) == before


def test_a_worker_that_thaws_while_another_works_changes_nothing(
    environment: ProcessEnvironment, engine: Engine
) -> None:
    # Its lease is so long that its keeper changes no row between the two polls.
    other = replace(environment, lease_seconds=60).repository(engine)
    other.add_jobs([job(name, name) for name in BOTH])
    with frozen_workers(environment, *BOTH) as workers:
        take_over_both(other)
        assert all(other.update_job(name, at(20)) for name in BOTH)
        before = rows_of(engine)

        assert thawed(workers) == {TOLD_AT_ONCE: REFUSED, TOLD_BY_KEEPER: REFUSED}
        assert rows_of(engine) == before
        assert all(other.update_job(name, completed({"by": "other"})) for name in BOTH)


def test_a_late_worker_that_nobody_replaced_finishes_and_is_not_replaced_any_more(
    environment: ProcessEnvironment, engine: Engine
) -> None:
    other = environment.repository(engine)
    other.add_job(job(TOLD_AT_ONCE, TOLD_AT_ONCE))
    with frozen_workers(environment, TOLD_AT_ONCE) as workers:
        await_end_of_lease(engine, TOLD_AT_ONCE)

        late = Late(progress="True", completion=True, error=False, events=2)
        assert thawed(workers) == {TOLD_AT_ONCE: late}
        assert other.fetch_next_job([TOLD_AT_ONCE]) is None
        row = row_of(engine, TOLD_AT_ONCE)
        assert (row["status"], row["retry_count"]) == ("completed", 0)


def freeze_at_any_moment(workers: dict[str, Child[None]], folder: Path) -> None:
    """Let each worker complete its job, and freeze it before, while or after it does."""
    for job_id, worker in workers.items():
        folder.joinpath(f"{job_id}.go").touch()
        time.sleep(RANDOM.uniform(0, 0.008))
        worker.stop()


def thaw_and_end(workers: dict[str, Child[None]], successor: Child[None], folder: Path) -> None:
    """Thaw one after the other, while the successor takes over what it finds."""
    for worker in workers.values():
        time.sleep(RANDOM.uniform(0, 0.04))
        worker.cont()
    folder.joinpath("end").touch()
    for process in (*workers.values(), successor):
        process.result()


def test_a_worker_frozen_at_any_moment_and_its_successor_complete_a_job_once(
    environment: ProcessEnvironment, engine: Engine, tmp_path: Path
) -> None:
    job_ids = [f"job {number}" for number in range(FREEZES)]
    environment.repository(engine).add_jobs([job(job_id, job_id) for job_id in job_ids])
    journals = [tmp_path / f"{name}.journal" for name in (*job_ids, "successor")]
    with ExitStack() as stack:
        start = stack.enter_context
        runs = {n: partial(complete_when_told, environment, n, tmp_path) for n in job_ids}
        workers = {job_id: start(child(run)) for job_id, run in runs.items()}
        wait_until(lambda: all(len(entries(journal)) == 2 for journal in journals[:-1]))
        freeze_at_any_moment(workers, tmp_path)
        successor = start(child(partial(take_over, environment, job_ids, tmp_path)))
        for job_id in job_ids:
            await_end_of_lease(engine, job_id)
        thaw_and_end(workers, successor, tmp_path)

    noted = [entries(journal) for journal in journals]
    with Session(engine) as session:
        found = findings(session.exec(select(Job)).all(), noted, due_at=2**63)
    print(f"\n{FREEZES} frozen: {found.retries} taken over, {found.refused} late ones refused")
    assert len([entry for entry in chain(*noted) if entry.step is Step.completed]) >= FREEZES
    assert found.faults == dict.fromkeys(found.faults, 0)
