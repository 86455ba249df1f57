"""A fault at every statement of every call: repeating the call leads to the same end."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, final, override

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cl_server_shared.database import upgrade
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.faults.drivers import Watcher, watched_engine
from tests.faults.in_process_environment import LEASE_SECONDS, InProcessEnvironment
from tests.faults.model.comparison import rows_of
from tests.support.repositories import at, completed, failed, job

pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]
IDS: Final = ("a", "b", "c")

type Call = Callable[[SqlJobRepository], object]


@final
class Fault(Watcher):
    """Fails one statement: the database did not get it, or did it and nobody was told."""

    def __init__(self) -> None:
        self._error: type[BaseException] = Exception
        self._is_after: bool = False
        self._until: int = 0

    def arm(self, nth: int, error: type[BaseException], *, is_after: bool) -> None:
        self._until, self._error, self._is_after = nth, error, is_after

    @property
    def is_armed(self) -> bool:
        return self._until > 0

    def disarm(self) -> None:
        self._until = 0

    @override
    def before(self, sql: str) -> None:
        if not self._is_after:
            self._count()

    @override
    def after(self, sql: str) -> None:
        if self._is_after:
            self._count()

    def _count(self) -> None:
        self._until -= 1
        if self._until == 0:
            raise self._error("the connection broke")


@final
class Faulty:
    """A database whose statements fail when told to, and a worker on it."""

    def __init__(self, engine: Engine, fault: Fault) -> None:
        upgrade(engine)
        self.engine: Final = engine
        self.fault: Final = fault

    def begin(self, prepare: Call) -> tuple[InProcessEnvironment, SqlJobRepository]:
        self.fault.disarm()
        environment = InProcessEnvironment(self.engine)
        environment.clear()
        jobs = environment.worker("worker").jobs
        prepare(jobs)
        return environment, jobs

    def fails(self, jobs: SqlJobRepository, call: Call, nth: int, *, is_after: bool) -> bool:
        """Call with a fault at a statement; tell whether the call has so many.

        The call may survive it: switching a new connection to WAL is tried again, for example.
        """
        error = self.engine.dialect.loaded_dbapi.OperationalError
        self.fault.arm(nth, error, is_after=is_after)
        with suppress(DatabaseError):
            call(jobs)
        has_failed = not self.fault.is_armed
        self.fault.disarm()
        return has_failed


@pytest.fixture
def faulty(database_url: str) -> Iterator[Faulty]:
    fault = Fault()
    engine = watched_engine(database_url, fault)
    yield Faulty(engine, fault)
    engine.dispose()


def nothing(_jobs: SqlJobRepository) -> None:
    """Begin without jobs."""


def add_all(jobs: SqlJobRepository) -> object:
    return jobs.add_jobs([job(job_id) for job_id in IDS])


def claim_all(jobs: SqlJobRepository) -> None:
    add_all(jobs)
    assert len(jobs.fetch_next_jobs(RESIZE, 3)) == 3


def end_all(jobs: SqlJobRepository) -> None:
    claim_all(jobs)
    jobs.finish_jobs(dict.fromkeys(IDS, completed({"n": 1})))


def add_one(jobs: SqlJobRepository) -> object:
    return jobs.add_job(job("a", params={"n": 1}), "ada", 5)


def purge(jobs: SqlJobRepository) -> object:
    return jobs.purge_finished(2**53, 10, lambda _: None)


def finish_all(jobs: SqlJobRepository) -> object:
    return jobs.finish_jobs({"a": completed({"n": 1}), "b": failed(), "c": at(50)})


CALLS: Final[dict[str, tuple[Call, Call]]] = {
    "add_job": (nothing, add_one),
    "add_jobs": (nothing, add_all),
    "progress": (claim_all, lambda jobs: jobs.update_job("a", at(50))),
    "completion": (claim_all, lambda jobs: jobs.update_job("a", completed({"n": 1}))),
    "error with tries left": (claim_all, lambda jobs: jobs.finish_jobs({"a": failed()})),
    "error of a waiting job": (add_all, lambda jobs: jobs.update_job("a", failed())),
    "finish_jobs": (claim_all, finish_all),
    "cancel_job, running": (claim_all, lambda jobs: jobs.cancel_job("a", "no need")),
    "cancel_job, waiting": (add_all, lambda jobs: jobs.cancel_job("a", "no need")),
    "release_job": (claim_all, lambda jobs: jobs.release_job("a")),
    "retry_job": (end_all, lambda jobs: jobs.retry_job("a")),
    "delete_job": (add_all, lambda jobs: jobs.delete_job("a")),
    "purge_finished": (end_all, purge),
}


@pytest.mark.parametrize("is_after", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(("prepare", "call"), CALLS.values(), ids=CALLS)
def test_repeating_a_call_after_a_fault_leads_to_the_same_end(
    faulty: Faulty, prepare: Call, call: Call, *, is_after: bool
) -> None:
    _, jobs = faulty.begin(prepare)
    call(jobs)
    expected = rows_of(faulty.engine)

    for nth in range(1, 100):
        _, jobs = faulty.begin(prepare)
        if not faulty.fails(jobs, call, nth, is_after=is_after):
            assert nth > 1
            return
        call(jobs)
        assert rows_of(faulty.engine) == expected, f"fault at statement {nth}"
    pytest.fail("the call never ended")


@pytest.mark.parametrize("is_after", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(
    ("prepare", "call"),
    [(nothing, add_all), (claim_all, finish_all)],
    ids=["add_jobs", "finish_jobs"],
)
def test_a_batch_is_stored_whole_or_not_at_all(
    faulty: Faulty, prepare: Call, call: Call, *, is_after: bool
) -> None:
    _, jobs = faulty.begin(prepare)
    before = rows_of(faulty.engine)
    call(jobs)
    whole = rows_of(faulty.engine)

    for nth in range(1, 100):
        environment, jobs = faulty.begin(prepare)
        environment.take_events()
        if not faulty.fails(jobs, call, nth, is_after=is_after):
            assert nth > 1
            return
        stored, told = rows_of(faulty.engine), environment.take_events()
        assert stored in (before, whole), f"fault at statement {nth}"
        assert stored == whole or not told, f"told before it was committed: {told}"
    pytest.fail("the call never ended")


@pytest.mark.parametrize("is_after", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("limit", [1, 3])
def test_jobs_of_a_claim_with_unknown_outcome_are_claimed_within_a_lease(
    faulty: Faulty, limit: int, *, is_after: bool
) -> None:
    def fetch(jobs: SqlJobRepository) -> list[str]:
        return [found.job_id for found in jobs.fetch_next_jobs(RESIZE, limit)]

    for nth in range(1, 100):
        environment, jobs = faulty.begin(add_all)
        if not faulty.fails(jobs, fetch, nth, is_after=is_after):
            assert nth > 1
            return
        claimed = fetch(jobs)
        environment.clock.advance(LEASE_SECONDS)
        other = environment.worker("other").jobs
        claimed += [found.job_id for found in other.fetch_next_jobs(RESIZE, 3)]
        assert set(claimed) == set(IDS), f"fault at statement {nth}"
    pytest.fail("the call never ended")


@pytest.mark.parametrize("is_after", [False, True], ids=["not done", "done"])
def test_a_recovery_that_failed_is_repeated_without_counting_a_try_twice(
    faulty: Faulty, *, is_after: bool
) -> None:
    for nth in range(1, 100):
        environment, jobs = faulty.begin(claim_all)
        environment.clock.advance(LEASE_SECONDS)
        if not faulty.fails(jobs, SqlJobRepository.recover_expired, nth, is_after=is_after):
            assert nth > 1
            return
        jobs.recover_expired()
        tries = [row.retry_count for row in rows_of(faulty.engine).values()]
        assert tries == [1, 1, 1], f"fault at statement {nth}"
    pytest.fail("the call never ended")


@pytest.mark.parametrize("is_after", [False, True], ids=["not done", "done"])
def test_a_job_added_in_a_session_that_fails_exists_only_by_its_repetition(
    faulty: Faulty, *, is_after: bool
) -> None:
    def add(jobs: SqlJobRepository) -> None:
        with Session(faulty.engine) as session:
            jobs.add_job(job("a"), session=session)
            session.rollback()

    environment, jobs = faulty.begin(nothing)
    assert faulty.fails(jobs, add, 1, is_after=is_after)
    assert rows_of(faulty.engine) == {}

    with Session(faulty.engine) as session:
        assert jobs.add_job(job("a"), session=session)
        session.commit()
    assert [event.seq for event in environment.take_events()] == [1]
