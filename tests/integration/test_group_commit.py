"""Threads of one process that write to SQLite: one at a time, and one commit for all that wait."""

import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine, event

from cl_server_shared.database import (
    DatabaseOptions,
    database,
    database_of,
    group_commit,
    make_engine,
)
from cl_server_shared.database.group_commit import GroupCommit
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from tests.support.interrupting import interrupted, listening_to_ctrl_c
from tests.support.processes import child
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
    queue = database_of(engine, DatabaseOptions())._group_commit  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # to hold its turn
    assert queue is not None
    return queue


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
    """Return those who wait behind the first, whose turn it is."""
    waiters = queue._queue.copy()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # to see them wait
    return [each for each in waiters if not each.has_left][1:]


def names_of(number: int) -> list[str]:
    return [f"job {each}" for each in range(number)]


def test_those_who_wait_together_share_a_commit(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    with adding_together(engine, repository, names_of(_THREADS)) as added:
        pass

    assert [each.result() for each in added] == [True] * _THREADS
    assert traced.verbs() == ["BEGIN", *["INSERT"] * _THREADS, "COMMIT"]


def test_the_main_thread_commits_alone_and_overtakes_nobody(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    queue, begun = queue_of(engine), threading.Event()

    def hold_turn() -> list[Future[bool]]:
        with queue.turn():
            added = [add_when(pool, repository, f"job {each}", queue, each) for each in range(2)]
            begun.set()
            added += [add_when(pool, repository, f"job {each}", queue, each) for each in (3, 4)]
            return added

    with ThreadPoolExecutor(5) as pool:
        holder = pool.submit(hold_turn)
        assert begun.wait(10)
        assert repository.add_job(job("job 2"))
        assert [each.result(10) for each in holder.result(10)] == [True] * 4

    pair = ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert traced.verbs() == [*pair, "INSERT", *pair]


def add_when(
    pool: ThreadPoolExecutor,
    repository: SqlJobRepository,
    name: str,
    queue: GroupCommit,
    waiting: int,
) -> Future[bool]:
    """Add a job in another thread once so many wait, and return when it waits too."""
    wait_until(lambda: len(waiting_in(queue)) == waiting)
    added = pool.submit(repository.add_job, job(name))
    wait_until(lambda: len(waiting_in(queue)) == waiting + 1)
    return added


def test_who_has_the_turn_may_write_in_it(
    engine: Engine, repository: SqlJobRepository, traced: Traced
) -> None:
    with adding_together(engine, repository, ["job 0", "job 1"]) as added:
        assert repository.add_job(job("mine"))
        assert traced.verbs() == ["INSERT"]

    assert [each.result() for each in added] == [True, True]
    assert traced.verbs()[1:] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


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


def test_a_connection_that_cannot_be_set_up_is_closed(engine: Engine) -> None:
    opened: list[sqlite3.Connection] = []

    def note(connection: sqlite3.Connection, _record: object) -> None:
        opened.append(connection)

    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.2)
    assert repository.add_job(job("first"))
    engine.dispose()
    event.listen(engine, "connect", note)

    with no_file_can_be_written(), pytest.raises(DatabaseError):
        repository.add_job(job("second"))

    assert opened
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


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
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=1)
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
        wait_until(lambda: time.monotonic() > begun + 1.1)  # the time of both is up
        assert not any(each.done() for each in added)
        held.may_go_on.set()

    assert [each.result() for each in added] == [True, True]


def test_who_is_interrupted_while_waiting_leaves_the_queue(
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


@pytest.mark.parametrize("is_first", [True, False])
def test_ctrl_c_at_any_moment_costs_the_others_nothing(engine: Engine, *, is_first: bool) -> None:
    """Whether the others wait behind the main thread or before it; what it was told is stored."""
    repository = repository_on(engine, DATABASE_LOCK_TIMEOUT_SECONDS=5)
    assert repository.add_job(job("first"))
    with ThreadPoolExecutor(3) as pool:
        moments = iter(range(1_000))
        while came_at(next(moments), pool, repository, queue_of(engine), is_first=is_first):
            pass
    assert next(moments) > 20


def came_at(
    moment: int,
    pool: ThreadPoolExecutor,
    repository: SqlJobRepository,
    queue: GroupCommit,
    *,
    is_first: bool,
) -> bool:
    played = Round(repository, queue, f"{moment}", is_first=is_first)
    came = played.play(pool, moment)
    played.check(came=came)
    return came


class Round:
    """The main thread and two others add a job each, together; the main one is interrupted."""

    def __init__(
        self, repository: SqlJobRepository, queue: GroupCommit, name: str, *, is_first: bool
    ) -> None:
        self._repository: Final = repository
        self._queue: Final = queue
        self._name: Final = name
        self._is_first: Final = is_first
        self._begun: Final = threading.Event()
        self._ended: Final = threading.Event()
        self._added: Final[list[Future[bool]]] = []
        self._mine: bool = False

    def play(self, pool: ThreadPoolExecutor, moment: int) -> bool:
        """Tell whether there was such a moment."""
        holder = pool.submit(self._hold_turn, pool)
        assert self._begun.wait(10)
        with interrupted((group_commit, database), moment) as interruption:
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
            if self._is_first:
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


def test_a_signal_handler_may_write_while_its_thread_does(
    engine: Engine, repository: SqlJobRepository
) -> None:
    with handling(lambda: repository.add_job(job("handler's"))) as handled, queue_of(engine).turn():
        signal.raise_signal(signal.SIGUSR1)
        assert handled == [True]

    assert repository.add_job(job("after"))


def test_a_signal_handler_may_write_while_its_thread_waits(
    engine: Engine, repository: SqlJobRepository
) -> None:
    queue, main = queue_of(engine), threading.main_thread().ident
    begun = threading.Event()
    assert main is not None

    def interrupt_who_waits() -> None:
        with queue.turn():
            begun.set()
            wait_until(lambda: len(waiting_in(queue)) == 1)
            signal.pthread_kill(main, signal.SIGUSR1)
            wait_until(lambda: len(waiting_in(queue)) == 2)

    with (
        handling(lambda: repository.add_job(job("handler's"))) as handled,
        ThreadPoolExecutor(1) as pool,
    ):
        holder = pool.submit(interrupt_who_waits)
        assert begun.wait(10)
        assert repository.add_job(job("mine"))
        holder.result(10)

    assert handled == [True]
    assert not waiting_in(queue)


@contextmanager
def handling(act: Callable[[], bool]) -> Generator[list[bool]]:
    """Let SIGUSR1 do something in a `with` block; give what came of it."""
    results: list[bool] = []
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: results.append(act()))
    try:
        yield results
    finally:
        signal.signal(signal.SIGUSR1, before)


def fork_while_a_thread_has_the_turn(path: Path) -> int:
    """Add a job in a fork; return the fork's exit status."""
    engine = make_engine(f"sqlite:///{path}")
    repository = repository_on(engine)
    assert repository.add_job(job("parent's"))
    begun, ended = threading.Event(), threading.Event()

    def hold_turn() -> None:
        with queue_of(engine).turn():
            begun.set()
            ended.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold_turn)
        assert begun.wait(10)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if repository.add_job(job("child's")) else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        ended.set()
    return status


def test_a_fork_does_not_wait_for_the_turns_of_its_parent(tmp_path: Path) -> None:
    with child(partial(fork_while_a_thread_has_the_turn, tmp_path / "jobs.db")) as process:
        assert process.result() == 0
