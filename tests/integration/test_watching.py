"""The watch of a database: its thread, its outages, its forks, and what wakes it."""

import gc
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, cast

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import (
    Answers,
    ChangeSubscription,
    DatabaseOptions,
    database_of,
    make_engine,
)
from cl_server_shared.database.changes import sources
from cl_server_shared.database.changes.notifier import CHANNEL
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.process.fork import no_fork
from tests.support import servers
from tests.support.processes import child
from tests.support.refused_threads import no_thread_can_start
from tests.support.repositories import at, completed, container_on, job, repository_on
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]
WATCHING: Final = "cl_server_shared.database.changes.watcher"
SOON: Final = 20.0


def watch_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "db-watch"}


def notifier_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "notifier"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@contextmanager
def new_watch_thread() -> Generator[Callable[[], set[threading.Thread]]]:
    """Give what tells the threads that were started in the block."""
    before = watch_threads()
    yield lambda: watch_threads() - before


def test_the_thread_ends_when_nobody_waits_any_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{WATCHING}._LINGER_SECONDS", 0.1)
    jobs = repository_on(engine)
    jobs.add_job(job())
    with new_watch_thread() as started:
        assert not jobs.wait_for_work(["other"], 0)
        assert started() == set()
        assert not jobs.wait_for_work(["other"], 0.2)
        wait_until(lambda: started() == set())

        assert not jobs.wait_for_work(["other"], 0.2)
        assert len(started()) == 1


def test_the_thread_ends_with_the_engine(engine: Engine) -> None:
    jobs = repository_on(engine)
    jobs.add_job(job())
    with new_watch_thread() as started:
        assert not jobs.wait_for_work(["other"], 0.2)
        assert len(started()) == 1
        engine.dispose()
        assert started() == set()


def test_who_closes_after_a_wait_leaves_one_whole_file(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    jobs = repository_on(engine)
    jobs.add_job(job())
    assert not jobs.wait_for_work(["other"], 0.2)

    engine.dispose()

    assert [path.name for path in tmp_path.iterdir()] == ["jobs.db"]  # no log beside it


def test_the_thread_that_notifies_ends_with_the_engine(postgres_engine: Engine) -> None:
    before = notifier_threads()
    repository_on(postgres_engine).add_job(job())
    assert len(notifier_threads() - before) == 1
    postgres_engine.dispose()
    wait_until(lambda: notifier_threads() <= before, within_seconds=3)


def wait_with_a_thread(url: str, started: Callable[[], set[threading.Thread]]) -> None:
    jobs = repository_on(make_engine(url))
    wait_until(lambda: jobs.wait_for_work(["other"], 0.2) or len(started()) == 1)


def test_a_repository_that_was_dropped_with_its_engine_leaves_no_thread(tmp_path: Path) -> None:
    with new_watch_thread() as started:
        wait_with_a_thread(f"sqlite:///{tmp_path}/jobs.db", started)
        gc.collect()
        wait_until(lambda: started() == set())


def subscriptions() -> int:
    found = cast("list[object]", gc.get_objects())
    return sum(isinstance(each, ChangeSubscription) for each in found)


def test_a_watch_that_is_left_early_wakes_nobody_any_more(sqlite_engine: Engine) -> None:
    jobs = repository_on(sqlite_engine)
    jobs.add_job(job())
    before = subscriptions()
    for record in jobs.watch_job("job"):
        jobs.update_job("job", at(1))
        assert subscriptions() == before + 1
        if record.progress == 1:
            break
    gc.collect()

    wait_until(lambda: subscriptions() == before)  # the watch may be in the middle of a poll


def test_rows_that_other_code_writes_wake_within_about_a_second(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    jobs = repository_on(engine)
    jobs.add_job(job())
    found = pool.submit(jobs.wait_for_job, "job", SOON)
    wait_until(watch_threads)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET status = 'completed', progress = 100"))

    record = found.result(SOON)
    assert record is not None
    assert record.status is JobStatus.completed


def test_who_waits_ends_no_transaction_of_anybody(engine: Engine, pool: ThreadPoolExecutor) -> None:
    """In memory all share one connection, and what begins there is rolled back there."""
    jobs = repository_on(engine)
    jobs.add_job(job("awaited"))
    found = pool.submit(jobs.wait_for_job, "awaited", SOON)
    wait_until(watch_threads)
    with Session(engine) as session:
        jobs.add_job(job("undone"), session=session)
        time.sleep(1.5)  # longer than any pause between two polls
        session.rollback()
    jobs.update_job("awaited", completed())

    assert found.result(SOON) is not None
    assert jobs.get_job("undone") is None


def test_a_watch_keeps_no_lock_of_a_sqlite_file(
    sqlite_engine: Engine, pool: ThreadPoolExecutor
) -> None:
    jobs = repository_on(sqlite_engine, SQLITE_WAL=False)
    jobs.add_job(job())
    found = pool.submit(jobs.wait_for_job, "job", SOON)
    wait_until(watch_threads)
    with sqlite_engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=5000")
        for _ in range(100):  # each takes the file for itself alone
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            time.sleep(0.002)
            connection.rollback()
    jobs.update_job("job", completed())

    assert found.result(SOON) is not None


def test_a_wait_on_a_database_of_one_thread_is_refused_and_tells_what_to_use() -> None:
    engine = create_engine("sqlite:///:memory:")
    jobs = repository_on(engine)
    jobs.add_job(job())
    jobs.add_job(job("done", status="completed"))

    assert jobs.wait_for_job("done", 5) is not None
    for wait in (lambda: jobs.wait_for_job("job", None), lambda: jobs.wait_for_work(["other"], 5)):
        with pytest.raises(DatabaseError, match=r"cannot be waited on.*poolclass=StaticPool"):
            wait()
    engine.dispose()


def test_claims_in_a_database_of_one_thread_need_no_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = create_engine("sqlite:///:memory:")
    parts = container_on(engine, PROGRESS_MAX_PER_SECOND=1).repository_parts()
    jobs = SqlJobRepository(sessionmaker(engine), parts)
    jobs.add_job(job())
    jobs.fetch_next_job(["resize"])
    for progress in (1, 2, 3):
        jobs.update_job("job", JobRecordUpdate(progress=progress))

    found = jobs.get_job("job")
    assert found is not None
    assert (found.progress, parts.leases.is_keeping, caplog.messages) == (3, False, [])
    engine.dispose()


# Where the system has no thread to give


def test_a_wait_without_a_thread_ends_in_time(engine: Engine) -> None:
    jobs = repository_on(engine)
    with no_thread_can_start():
        jobs.add_job(job())
        with pytest.raises(TimeoutError):
            jobs.wait_for_job("job", 0.3)
        assert not jobs.wait_for_work(["other"], 0.3)
        engine.dispose()


def test_a_wait_without_a_thread_polls_each_second(
    engine: Engine, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = repository_on(engine)
    jobs.add_job(job())

    def complete() -> bool:
        wait_until(lambda: "'db-watch' cannot start" in caplog.text)
        return jobs.update_job("job", completed())

    changed = pool.submit(complete)
    began_at = time.monotonic()
    with no_thread_can_start():
        assert jobs.wait_for_job("job", 60) == job(status="completed", progress=100)

    assert changed.result(SOON)
    assert time.monotonic() - began_at < 30


def test_a_change_that_nobody_notifies_is_seen_within_about_a_second(
    postgres_engine: Engine, pool: ThreadPoolExecutor
) -> None:
    changing = repository_on(postgres_engine)
    other_engine = make_engine(postgres_engine.url.render_as_string(hide_password=False))
    waiting = repository_on(other_engine)
    changing.count_jobs()
    with new_watch_thread() as started:
        found = pool.submit(waiting.wait_for_work, RESIZE, 60)
        wait_until(started)
        began_at = time.monotonic()
        with no_thread_can_start():
            assert changing.add_job(job())
            assert found.result(60)

    assert time.monotonic() - began_at < 30
    other_engine.dispose()


def close_beside_a_watch() -> int:
    """Close databases in memory while their watches ask all the time; return how many."""
    sources._POLL_SECONDS = 0.00002  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # this process ends with it
    for _ in range(100):
        engine = make_engine("sqlite:///:memory:")
        jobs = repository_on(engine)
        jobs.add_job(job())
        with ThreadPoolExecutor() as pool:
            found = pool.submit(jobs.wait_for_work, ["other"], None)
            wait_until(watch_threads)
            time.sleep(random.random() / 100)  # any moment
            engine.dispose()
            assert isinstance(found.exception(SOON), DatabaseError)
    return 100


@pytest.mark.slow  # a hundred times
def test_closing_a_database_in_memory_waits_for_the_statement_that_runs() -> None:
    with child(close_beside_a_watch) as process:
        assert process.result() == 100


# Forks


def forked(function: Callable[[], object]) -> int:
    """Run a function in a fork of this process; return its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:  # noqa: BLE001  # told by the exit status
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish_and_wait(jobs: SqlJobRepository) -> None:
    """Wait in the fork for what another thread of it does, and end what the parent waits for."""
    jobs.add_job(job("child's own", "other"))
    ending = threading.Timer(0.3, jobs.update_job, ["child's own", completed()])
    ending.start()
    assert jobs.wait_for_job("child's own", SOON) is not None
    assert jobs.update_job("job", completed())
    ending.join()
    time.sleep(0.1)  # the notifier's thread is about to tell


def wait_beside_a_fork(url: str) -> tuple[int, JobRecord | None]:
    jobs = repository_on(make_engine(url))
    jobs.add_job(job())
    with ThreadPoolExecutor() as pool:
        found = pool.submit(jobs.wait_for_job, "job", SOON)
        wait_until(watch_threads)
        status = forked(partial(finish_and_wait, jobs))
        return status, found.result(SOON)


def test_a_fork_waits_by_itself_and_wakes_its_parent(shared_database_url: str) -> None:
    with child(partial(wait_beside_a_fork, shared_database_url)) as parent:
        status, record = parent.result()

    assert status == 0
    assert record is not None
    assert record.status is JobStatus.completed


def fork_beside_a_block() -> bool:
    """Fork while another thread is in a block that lets none begin; tell whether it had ended."""
    entered, ended = threading.Event(), threading.Event()

    def block() -> None:
        with no_fork():
            entered.set()
            time.sleep(0.3)
            ended.set()

    thread = threading.Thread(target=block)
    thread.start()
    entered.wait()
    status = forked(ended.is_set)
    had_ended = ended.is_set()
    thread.join()
    return had_ended and status == 0


def test_a_fork_waits_for_a_thread_that_is_in_the_database() -> None:
    with child(fork_beside_a_block) as parent:
        assert parent.result()


# PostgreSQL


@contextmanager
def refusing(url: str) -> Generator[None]:
    """Cut all connections to a database, and accept none."""
    target = make_url(url)
    admin = create_engine(
        target.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    name = target.database
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(cut, {"name": name})
        try:
            yield
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@pytest.fixture
def own_postgres_url(postgres_url: str) -> Iterator[str]:
    """URL of a database that may be cut off."""
    with servers.own_database(make_url(postgres_url).set(database="postgres")) as url:
        yield url.render_as_string(hide_password=False)


def test_an_outage_of_postgresql_ends_no_wait_and_is_logged_once(
    own_postgres_url: str, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = repository_on(make_engine(own_postgres_url))
    jobs.add_job(job())
    waits: list[Future[object]] = [
        pool.submit(jobs.wait_for_job, "job", 60),
        pool.submit(jobs.wait_for_work, ["other"], 60),
    ]
    wait_until(watch_threads)
    time.sleep(0.3)
    with caplog.at_level(logging.INFO), refusing(own_postgres_url):
        time.sleep(3.5)
    changing = repository_on(make_engine(own_postgres_url))
    changing.update_job("job", completed())
    changing.add_job(job("new", "other"))

    assert [found.result(60) for found in waits][1] is True
    warnings = [each.message for each in caplog.records if each.name == WATCHING]
    assert len([each for each in warnings if "changes are seen up to a second late" in each]) == 1
    assert len([each for each in warnings if "nobody is woken" in each]) == 1


@contextmanager
def listening(url: str) -> Generator["psycopg.Connection[tuple[object, ...]]"]:
    target = make_url(url).set(drivername="postgresql")
    with psycopg.connect(
        target.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        yield connection


def test_changes_are_notified_together_and_polls_never(own_postgres_url: str) -> None:
    engine = make_engine(own_postgres_url)
    jobs = repository_on(engine)
    jobs.count_jobs()
    with listening(own_postgres_url) as connection:
        assert jobs.get_job("job") is None
        assert jobs.fetch_next_job(RESIZE) is None
        assert not jobs.wait_for_work(RESIZE, 0.1)
        assert list(connection.notifies(timeout=0.5)) == []

        for number in range(300):
            jobs.add_job(job(f"job-{number}"))
        notified = list(connection.notifies(timeout=0.5))
        assert 1 <= len(notified) < 200
    engine.dispose()


def test_who_closes_at_once_has_told_of_the_last_change(own_postgres_url: str) -> None:
    engine = make_engine(own_postgres_url)
    repository_on(engine).count_jobs()
    with listening(own_postgres_url) as connection:
        jobs = repository_on(engine)
        jobs.add_job(job())
        engine.dispose()

        assert len(list(connection.notifies(timeout=SOON, stop_after=1))) == 1


def test_a_full_pool_does_not_keep_anybody_from_waiting(
    own_postgres_url: str, pool: ThreadPoolExecutor
) -> None:
    """The connection that listens is none of the pool's."""
    engine = create_engine(own_postgres_url, pool_size=1, max_overflow=0)
    jobs = repository_on(engine)
    jobs.add_job(job())
    with engine.connect():
        found = pool.submit(jobs.wait_for_job, "job", SOON)
        time.sleep(0.3)
        jobs.update_job("job", completed())

        assert found.result(SOON) is not None
    engine.dispose()


def test_names_without_an_answer_are_told_as_such(engine: Engine) -> None:
    database = database_of(engine, DatabaseOptions())
    jobs = repository_on(engine)
    jobs.add_job(job("there"))
    answers_seen: list[list[str]] = []
    woken = threading.Event()

    def note(answers: Answers) -> bool:
        answers_seen.append(sorted(answers))
        return True

    waiter = ChangeSubscription(sql_rows.VERSIONS, ["there", "not there"], woken.set)
    waiter.begin_poll()
    waiter.wait_for(note)
    assert database.hub.add(waiter)

    assert woken.wait(SOON)
    assert answers_seen[0] == ["there"]
    database.hub.discard(waiter)
