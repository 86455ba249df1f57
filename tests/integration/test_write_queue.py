"""Threads of one process that write to SQLite: one at a time, and one commit for all that wait."""

import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, cast

import pytest
from sqlalchemy import Engine, event

from cl_server_shared.database import DatabaseOptions, database_of, group_commit, make_engine
from cl_server_shared.database.group_commit import GroupCommit
from cl_server_shared.database.private_connections import PrivateConnections
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.support.interrupting import interrupted, listening_to_ctrl_c
from tests.support.repositories import job, repository_on
from tests.support.waiting import wait_until

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


def queue_of(engine: Engine) -> GroupCommit:
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


def waiting_in(queue: GroupCommit) -> Sequence[object]:
    return queue._line.waiting()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # to see them wait


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


@contextmanager
def no_file_can_be_written() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_fails_is_told_to_all(engine: Engine, traced: Traced) -> None:
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.5)
    assert repository.add_job(job("first"))
    traced.statements.clear()
    with no_file_can_be_written():
        with adding_together(engine, repository, names_of(_THREADS)) as added:
            pass
        failures = [each.exception() for each in added]

    assert traced.verbs()[:7] == ["BEGIN", *["INSERT"] * _THREADS, "COMMIT"]
    assert [type(failure) for failure in failures] == [DatabaseError] * _THREADS
    assert [repository.get_job(name) for name in names_of(_THREADS)] == [None] * _THREADS


def test_who_waits_too_long_is_not_carried_out_later(engine: Engine) -> None:
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.2)
    assert repository.add_job(job("first"))
    queue = queue_of(engine)

    with ThreadPoolExecutor(1) as pool, queue.turn():
        failure = pool.submit(repository.add_job, job("late")).exception(10)
        assert not waiting_in(queue)

    assert "locked" in str(failure)
    assert repository.add_job(job("next"))
    assert repository.get_job("late") is None


class Held:
    """Stops whoever adds a job of the name `held` in the middle of the statement."""

    def __init__(self, engine: Engine) -> None:
        self.reached: Final = threading.Event()
        self.may_go_on: Final = threading.Event()
        event.listen(engine, "connect", self._add_function)

    def make_trigger(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER hold BEFORE INSERT ON jobs WHEN new.job_id = 'held' "
                "BEGIN SELECT hold(); END"
            )

    def _add_function(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("hold", 0, self._hold)

    def _hold(self) -> int:
        self.reached.set()
        return self.may_go_on.wait(10)


@pytest.fixture
def held(engine: Engine) -> Held:
    return Held(engine)


def test_whose_write_was_taken_waits_for_what_became_of_it(engine: Engine, held: Held) -> None:
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.2)
    assert repository.add_job(job("first"))
    held.make_trigger(engine)
    with ThreadPoolExecutor(2) as pool:
        with queue_of(engine).turn():
            added = [pool.submit(repository.add_job, job("held"))]
            wait_until(lambda: len(waiting_in(queue_of(engine))) == 1)
            added.append(pool.submit(repository.add_job, job("taken")))
            wait_until(lambda: len(waiting_in(queue_of(engine))) == 2)
            begun = time.monotonic()
        assert held.reached.wait(10)
        wait_until(lambda: time.monotonic() > begun + 0.3)  # the time of both is up
        assert not any(each.done() for each in added)
        held.may_go_on.set()

    assert [each.result() for each in added] == [True, True]


def test_an_interrupted_follower_leaves_the_line(
    engine: Engine, repository: SqlJobRepository
) -> None:
    queue, main = queue_of(engine), threading.main_thread().ident
    begun = threading.Event()
    assert main is not None

    def interrupt_who_waits(added: list[Future[bool]]) -> None:
        with queue.turn():
            added.append(pool.submit(repository.add_job, job("before")))
            wait_until(lambda: len(waiting_in(queue)) == 1)
            begun.set()
            wait_until(lambda: len(waiting_in(queue)) == 2)
            while len(waiting_in(queue)) == 2:
                # Again, where it came just before the system call that it was to wake from.
                signal.pthread_kill(main, signal.SIGINT)
                with suppress(TimeoutError):
                    wait_until(lambda: len(waiting_in(queue)) == 1, 1)

    with listening_to_ctrl_c(), ThreadPoolExecutor(2) as pool:
        added: list[Future[bool]] = []
        holder = pool.submit(interrupt_who_waits, added)
        assert begun.wait(10)
        with pytest.raises(KeyboardInterrupt):
            repository.add_job(job("mine"))
        holder.result(10)

    assert added[0].result(10)
    assert repository.get_job("mine") is None


@pytest.mark.parametrize("is_leader", [True, False])
def test_ctrl_c_at_any_moment_costs_the_others_nothing(engine: Engine, *, is_leader: bool) -> None:
    """In the thread that leads, and in one that follows; in what it is told, stored is stored."""
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=5)
    assert repository.add_job(job("first"))
    with ThreadPoolExecutor(3) as pool:
        moments = iter(range(1_000))
        while came_at(next(moments), pool, repository, queue_of(engine), is_leader=is_leader):
            pass
    assert next(moments) > 20


def came_at(
    moment: int,
    pool: ThreadPoolExecutor,
    repository: SqlJobRepository,
    queue: GroupCommit,
    *,
    is_leader: bool,
) -> bool:
    played = Round(repository, queue, f"{moment}", is_leader=is_leader)
    came = played.play(pool, moment)
    played.check(came=came)
    return came


class Round:
    """The main thread and two others add a job each, together; the main one is interrupted."""

    def __init__(
        self, repository: SqlJobRepository, queue: GroupCommit, name: str, *, is_leader: bool
    ) -> None:
        self._repository: Final = repository
        self._queue: Final = queue
        self._name: Final = name
        self._is_leader: Final = is_leader
        self._begun: Final = threading.Event()
        self._ended: Final = threading.Event()
        self._added: Final[list[Future[bool]]] = []
        self._mine: bool = False

    def play(self, pool: ThreadPoolExecutor, moment: int) -> bool:
        """Tell whether there was such a moment."""
        holder = pool.submit(self._hold_turn, pool)
        assert self._begun.wait(10)
        with interrupted((group_commit,), moment) as interruption:
            self._mine = self._repository.add_job(job(f"{self._name} mine"))
        self._ended.set()
        holder.result(10)
        return interruption.came

    def check(self, *, came: bool) -> None:
        assert [each.result(10) for each in self._added] == [True, True], self._name
        assert self._repository.add_job(job(f"{self._name} after")), "nobody has the turn"
        assert not waiting_in(self._queue)
        is_stored = self._repository.get_job(f"{self._name} mine") is not None
        assert is_stored or not self._mine
        assert self._mine is not came

    def _hold_turn(self, pool: ThreadPoolExecutor) -> None:
        with self._queue.turn():
            if self._is_leader:
                self._begun.set()
                self._await_waiting(1)
            self._add_others(pool)
            wait_until(lambda: len(waiting_in(self._queue)) >= 2)
            self._begun.set()
            self._await_waiting(3)

    def _add_others(self, pool: ThreadPoolExecutor) -> None:
        for number in range(2):
            name = f"{self._name} {number}"
            self._added.append(pool.submit(self._repository.add_job, job(name)))

    def _await_waiting(self, number: int) -> None:
        wait_until(lambda: self._ended.is_set() or len(waiting_in(self._queue)) >= number)
