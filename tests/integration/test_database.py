"""Databases in all their moods: in memory, locked, gone, and back again."""

import gc
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Timer
from typing import cast

import pytest
from sqlalchemy import Engine, ForeignKey, QueuePool, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column, sessionmaker
from sqlmodel import col, select

from cl_server_shared.database import make_engine, upgrade
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Base, Job
from tests.support.processes import child
from tests.support.repositories import completed, container_on, job, repository_on
from tests.support.waiting import wait_until

pytest_plugins = ["tests.support.databases"]

# In memory, from several threads


def test_a_database_per_thread_is_refused_in_a_second_thread_with_a_way_out() -> None:
    engine = create_engine("sqlite:///:memory:")
    repository = repository_on(engine)
    repository.add_job(job())
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(repository.get_job, "job").exception()

    assert isinstance(found, DatabaseError)
    assert "empty database of its own in every thread" in str(found)
    assert "poolclass=StaticPool" in str(found)
    engine.dispose()


def test_a_database_per_thread_serves_two_repositories_of_one_thread() -> None:
    engine = create_engine("sqlite:///:memory:")
    Base.metadata.create_all(engine)
    repository, another = repository_on(engine), repository_on(engine)
    repository.add_job(job())
    claimed = another.fetch_next_job(["resize"])

    assert claimed == job(status="processing")
    assert another.update_job("job", completed())
    assert repository.get_job("job") == job(status="completed", progress=100)
    engine.dispose()


def run_one(repository: SqlJobRepository, job_id: str) -> list[bool]:
    """Add a job, claim one, and complete that."""
    added = repository.add_job(job(job_id))
    claimed = repository.fetch_next_job(["resize"])
    return [added, claimed is not None and repository.update_job(claimed.job_id, completed())]


def test_sixteen_threads_share_one_repository(engine: Engine) -> None:
    repository = repository_on(engine)
    with ThreadPoolExecutor(16) as threads:
        done = list(threads.map(partial(run_one, repository), map(str, range(160))))

    assert done == [[True, True]] * 160
    assert repository.count_jobs() == {"completed": {"resize": 160}}


# On a caller's own engine


def pragma(connection: sqlite3.Connection, name: str) -> object:
    (row,) = cast("list[tuple[object]]", connection.execute(f"PRAGMA {name}").fetchall())
    return row[0]


@pytest.mark.parametrize(("is_wanted", "mode"), [(True, "wal"), (False, "delete")])
def test_a_callers_sqlite_file_enters_wal_unless_told_otherwise(
    tmp_path: Path, mode: str, *, is_wanted: bool
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/jobs.db")
    repository_on(engine, SQLITE_WAL=is_wanted).add_job(job())
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        assert pragma(connection, "journal_mode") == mode
    engine.dispose()


def test_a_callers_sessions_keep_their_own_settings(sqlite_engine: Engine) -> None:
    """`synchronous` and autocommit are set on connections that sessions never see."""
    repository_on(sqlite_engine).add_job(job())
    with sqlite_engine.connect() as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("synchronous", "busy_timeout")
        ]

    assert found == [2, 5000]  # the defaults of SQLite and of Python's driver


def test_a_connection_is_opened_although_another_process_holds_the_lock(tmp_path: Path) -> None:
    """Without WAL even what a connection begins with waits for who writes."""
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    repository = repository_on(engine, SQLITE_WAL=False)
    assert repository.add_job(job("first"))
    engine.dispose()
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("BEGIN EXCLUSIVE")
        Timer(0.1, other.rollback).start()
        assert repository.add_job(job("second"))
    engine.dispose()


def test_a_session_factory_on_one_connection_is_refused(sqlite_engine: Engine) -> None:
    container = container_on(sqlite_engine)
    with sqlite_engine.connect() as connection:
        repository = SqlJobRepository(sessionmaker(connection), container.repository_parts())
        with pytest.raises(DatabaseError, match="bind it to its engine"):
            repository.get_job("job")


def add_with_foreign_key(url: str) -> list[tuple[object, ...]]:
    """Give a service's own table beside ours a foreign key, and use both in one session."""

    class ServiceConfig(Base):
        __tablename__: str = "service_config"
        key: Mapped[str] = mapped_column(primary_key=True)
        value: Mapped[str]

    class Note(Base):
        __tablename__: str = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id"))

    engine = make_engine(url)
    Base.metadata.create_all(engine)
    container = container_on(engine)
    container.job_repository().add_job(job())
    with container.session_factory().begin() as session:
        session.add_all([ServiceConfig(key="theme", value="dark"), Note(id=1, job_id="job")])
    with container.session_factory()() as session:
        found = session.execute(
            select(col(Job.job_id), Note.id).join(Note, Note.job_id == col(Job.job_id))
        ).all()
    return [tuple(row) for row in found]


def test_a_services_own_tables_share_our_metadata(shared_database_url: str) -> None:
    """In a process of its own, since a table once declared stays in the metadata."""
    with child(partial(add_with_foreign_key, shared_database_url)) as service:
        assert service.result() == [("job", 1)]


def test_a_table_that_we_made_refuses_an_impossible_progress(engine: Engine) -> None:
    upgrade(engine)
    repository_on(engine).add_job(job())
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text("UPDATE jobs SET progress = 101"))


# Locked, gone and back again


def test_a_write_waits_for_another_process_that_holds_the_lock(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    repository = repository_on(sqlite_engine)
    repository.add_job(job())
    with (
        closing(sqlite3.connect(tmp_path / "jobs.db")) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        other.execute("BEGIN IMMEDIATE")
        waiting = thread.submit(repository.update_job, "job", completed())
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        other.rollback()

        assert waiting.result(timeout=10) is True


def test_a_lock_that_is_held_too_long_is_a_database_error_and_may_be_tried_again(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    repository = repository_on(sqlite_engine, DATABASE_LOCK_TIMEOUT_SECONDS=0.05)
    repository.add_job(job())
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match=r"update_job: the database failed: .*locked"):
            repository.update_job("job", completed())

    assert repository.update_job("job", completed()) is True


def test_a_database_that_cannot_be_reached_is_a_database_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    urls = [f"sqlite:///{tmp_path}/no/folder/jobs.db", f"sqlite:///{tmp_path}/text"]
    urls += ["postgresql://nobody@127.0.0.1:9/jobs"]
    for engine in map(make_engine, urls):
        with pytest.raises(DatabaseError, match="the database failed"):
            repository_on(engine).get_job("job")
        engine.dispose()


def test_an_exhausted_pool_is_a_database_error(shared_database_url: str) -> None:
    engine = create_engine(
        make_url(shared_database_url),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.05,
    )
    upgrade(engine)
    with engine.connect(), pytest.raises(DatabaseError, match="the database failed"):
        repository_on(engine).get_job("job")

    assert repository_on(engine).get_job("job") is None
    engine.dispose()


def test_connections_that_the_server_ended_are_replaced(postgres_engine: Engine) -> None:
    repository = repository_on(postgres_engine)
    repository.add_job(job())
    with postgres_engine.connect() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ).all()

    assert ended
    with pytest.raises(DatabaseError):
        repository.get_job("job")
    assert repository.get_job("job") == job()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "cannot be used"),
        ("nosuch://host/jobs", "cannot be used"),
        ("postgresql+psycopg2://host/jobs", r"driver is missing.*cl-server-shared\[postgres\]"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_when_the_engine_is_made(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message):
        make_engine(url)


# Nothing is left behind


def open_files(folder: Path) -> list[Path]:
    """Return what this process holds open in a folder."""
    targets = [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()]
    return [target for target in targets if target.is_relative_to(folder)]


def test_disposing_the_engine_closes_every_file(sqlite_engine: Engine, tmp_path: Path) -> None:
    repository = repository_on(sqlite_engine)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(partial(run_one, repository), map(str, range(8))))
    before = open_files(tmp_path)

    sqlite_engine.dispose()

    assert before != []
    assert open_files(tmp_path) == []
    assert repository.get_job("0"), "a disposed engine opens again when it is used"


# Python 3.13 warns of what SQLAlchemy's own pool leaves to the collector.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_an_engine_that_nobody_holds_any_more_closes_every_file(tmp_path: Path) -> None:
    repository = repository_on(make_engine(f"sqlite:///{tmp_path}/jobs.db"))
    run_one(repository, "job")
    before = open_files(tmp_path)

    del repository
    gc.collect()

    assert before != []
    wait_until(lambda: open_files(tmp_path) == [])
