"""Threads of one process that write to SQLite: one at a time, and one commit for all that wait."""

import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, cast

import pytest
from sqlalchemy import Engine, event

from cl_server_shared.database import DatabaseOptions, database_of, make_engine
from cl_server_shared.database.connections import PrivateConnections
from cl_server_shared.database.write_queue import WriteQueue
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.repositories import job, repository_on
from tests.waiting import wait_until

_THREADS: Final = 5


class Traced:
    """An engine whose statements are written down."""

    def __init__(self, engine: Engine) -> None:
        self.statements: Final[list[str]] = []
        event.listen(engine, "connect", self._trace)

    def verbs(self) -> list[str]:
        return [statement.split()[0] for statement in self.statements]

    def _trace(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(self.statements.append)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    yield engine
    engine.dispose()


@pytest.fixture
def traced(engine: Engine) -> Traced:
    return Traced(engine)


@pytest.fixture
def repository(engine: Engine, traced: Traced) -> SqlJobRepository:
    repository = repository_on(engine)
    assert repository.add_job(job("first"))
    traced.statements.clear()
    return repository


def queue_of(engine: Engine) -> WriteQueue:
    writes = database_of(engine, DatabaseOptions())._writes  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # to hold its turn
    assert writes is not None
    return writes


@contextmanager
def adding_together(
    engine: Engine, repository: SqlJobRepository, names: list[str]
) -> Generator[list[Future[bool]]]:
    """Let as many threads add jobs as there are names; they wait while the block has the turn."""
    queue = queue_of(engine)
    with ThreadPoolExecutor(len(names)) as pool, queue.turn():
        added = [pool.submit(repository.add_job, job(name)) for name in names]
        wait_until(lambda: len(waiting_in(queue)) == len(names))
        yield added


def waiting_in(queue: WriteQueue) -> list[object]:
    return list(cast("list[object]", list(queue._waiting)))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # to see them wait


def names_of(number: int) -> list[str]:
    return [f"job {each}" for each in range(number)]


def test_those_who_wait_together_share_a_commit(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    with adding_together(engine, repository, names_of(_THREADS)) as added:
        pass

    assert [each.result() for each in added] == [True] * _THREADS
    assert traced.verbs() == ["BEGIN", *["INSERT"] * _THREADS, "COMMIT"]


def test_who_has_the_turn_does_what_others_wait_for(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    with adding_together(engine, repository, ["job 0", "job 1"]) as added:
        assert repository.add_job(job("mine"))
        assert traced.verbs() == ["BEGIN", "INSERT", "INSERT", "INSERT", "COMMIT"]

    assert [each.result() for each in added] == [True, True]
    assert len(traced.statements) == 5


def test_nobody_gets_the_error_of_another(engine: Engine, repository: SqlJobRepository) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no BEFORE INSERT ON jobs WHEN new.job_id = 'job 2' "
            "BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END"
        )

    with adding_together(engine, repository, names_of(_THREADS)) as added:
        pass

    failures = [each.exception() for each in added]
    assert [failure is None for failure in failures] == [True, True, False, True, True]
    with pytest.raises(DatabaseError, match="not this one"):
        added[2].result()
    stored = [repository.get_job(name) is not None for name in names_of(_THREADS)]
    assert stored == [True, True, False, True, True]


@pytest.mark.parametrize(("moment", "is_mine_stored"), [("commit", True), ("begin", False)])
def test_an_interrupted_caller_costs_the_others_nothing(
    engine: Engine,
    repository: SqlJobRepository,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    *,
    is_mine_stored: bool,
) -> None:
    """Ctrl-C at the worst moments: what others wait for is done, and done once."""
    done = cast("Callable[..., None]", getattr(PrivateConnections, moment))

    def do_and_interrupt(*arguments: object) -> None:
        monkeypatch.undo()
        done(*arguments)
        raise KeyboardInterrupt  # where Python raises it that came while the driver worked

    with adding_together(engine, repository, ["job 0", "job 1"]) as added:
        monkeypatch.setattr(PrivateConnections, moment, do_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            repository.add_job(job("mine"))

    assert [each.result() for each in added] == [True, True]  # a second time would be False
    assert (repository.get_job("mine") is not None) is is_mine_stored


def test_a_database_that_stays_locked_fails_everybody_and_works_afterwards(
    engine: Engine, traced: Traced, tmp_path: Path
) -> None:
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.2)
    assert repository.add_job(job("first"))
    traced.statements.clear()
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with adding_together(engine, repository, names_of(_THREADS)) as added:
            pass
        failures = [each.exception() for each in added]
        other.execute("ROLLBACK")

    assert [type(failure) for failure in failures] == [DatabaseError] * _THREADS
    assert {"locked" in str(failure) for failure in failures} == {True}
    assert repository.add_job(job("job 0")), "nothing was added while it was locked"


def test_a_batch_waits_for_its_turn_too(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool, queue_of(engine).turn():
        pool.submit(begun.set)
        added = pool.submit(repository.add_jobs, [job("one"), job("two")])
        assert begun.wait(10)
        assert traced.verbs() == []

    assert added.result() == [True, True]
