"""What the hot path does beside SQLite's own work, counted: no clock is asked."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, cast

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Job
from tests.support.open_resources import open_resources
from tests.support.repositories import (
    ManualClock,
    at,
    completed,
    container_on,
    job,
    repository_on,
)

_TYPES: Final = ["resize"]
_HEAVY: Final = {"sqlmodel", "sqlalchemy", "pydantic", "dependency_injector", "paho", "anyio"}


class _Tracing(Protocol):
    """A connection of Python's `sqlite3`."""

    def set_trace_callback(self, callback: Callable[[str], object], /) -> None: ...


class _Counts:
    """What happened on an engine since it was looked at last."""

    def __init__(self, engine: Engine) -> None:
        self.statements: Final[list[str]] = []
        self.checked_out: int = 0
        self.sessions: int = 0
        self.rows_as_objects: int = 0
        event.listen(engine, "connect", self._trace)
        event.listen(engine, "checkout", self._count_checkout)
        event.listen(Session, "after_begin", self._count_session)
        event.listen(Job, "init", self._count_object)
        event.listen(Job, "load", self._count_object)

    def close(self) -> None:
        """Count no more, where others would be counted too."""
        event.remove(Session, "after_begin", self._count_session)
        event.remove(Job, "init", self._count_object)
        event.remove(Job, "load", self._count_object)

    def reset(self) -> None:
        """Forget what has happened."""
        self.statements.clear()
        self.checked_out = self.sessions = self.rows_as_objects = 0

    def verbs(self) -> list[str]:
        """Return the first word of each statement that reached SQLite."""
        return [statement.split()[0] for statement in self.statements]

    def _trace(self, connection: object, _record: object) -> None:
        cast("_Tracing", connection).set_trace_callback(self.statements.append)  # a sqlite3 one

    def _count_checkout(self, *_arguments: object) -> None:
        self.checked_out += 1

    def _count_session(self, *_arguments: object) -> None:
        self.sessions += 1

    def _count_object(self, *_arguments: object) -> None:
        self.rows_as_objects += 1


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    yield engine
    engine.dispose()


@pytest.fixture
def counts(engine: Engine) -> Iterator[_Counts]:
    counts = _Counts(engine)
    yield counts
    counts.close()


@pytest.fixture
def repository(engine: Engine, counts: _Counts) -> SqlJobRepository:
    """Return a repository that has done everything once; its clock stands, so nothing gets due."""
    repository = repository_on(engine, clock=ManualClock())
    _cycle(repository, "first")
    counts.reset()
    return repository


def _cycle(repository: SqlJobRepository, job_id: str) -> None:
    assert repository.add_job(job(job_id))
    assert repository.fetch_next_job(_TYPES) is not None
    assert repository.update_job(job_id, at(50))
    assert repository.update_job(job_id, completed({"done": True}))


def test_each_verb_is_one_statement(repository: SqlJobRepository, counts: _Counts) -> None:
    assert repository.add_job(job("second"))
    assert counts.verbs() == ["INSERT"]
    counts.reset()

    assert repository.fetch_next_job(_TYPES) is not None
    assert counts.verbs() == ["UPDATE"]
    counts.reset()

    assert repository.update_job("second", at(50))
    assert counts.verbs() == ["UPDATE"]
    counts.reset()

    assert repository.update_job("second", completed({"done": True}))
    assert counts.verbs() == ["UPDATE"]


def test_a_report_on_a_job_of_others_is_read_first(
    repository: SqlJobRepository, counts: _Counts
) -> None:
    assert repository.add_job(job("second"))
    counts.reset()

    assert repository.update_job("second", completed())

    assert counts.verbs() == ["SELECT", "UPDATE"]


def test_no_verb_asks_the_pool_or_the_orm(repository: SqlJobRepository, counts: _Counts) -> None:
    for number in range(10):
        _cycle(repository, f"job {number}")

    assert counts.verbs() == ["INSERT", "UPDATE", "UPDATE", "UPDATE"] * 10
    assert (counts.checked_out, counts.sessions, counts.rows_as_objects) == (0, 0, 0)


def test_the_counters_see_what_the_hot_path_avoids(engine: Engine, counts: _Counts) -> None:
    repository = repository_on(engine, clock=ManualClock())
    assert repository.add_job(job("seen"))
    counts.reset()

    with Session(engine) as session:
        assert session.query(Job).filter_by(job_id="seen").one().task_type == "resize"

    assert (counts.checked_out, counts.sessions, counts.rows_as_objects) == (1, 1, 1)
    assert "SELECT" in counts.verbs()


def test_a_thousand_repositories_open_and_start_nothing(engine: Engine, counts: _Counts) -> None:
    container = container_on(engine, BROADCAST_TYPE="mqtt")
    before = open_resources()

    repositories = [
        SqlJobRepository(container.session_factory(), container.repository_parts())
        for _ in range(1_000)
    ]

    assert len(repositories) == 1_000
    assert open_resources() - before == set()
    assert counts.statements == []


def _modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    return {module.partition(".")[0] for module in done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert _modules_after("import cl_server_shared") & _HEAVY == set()
    assert _modules_after("from cl_server_shared import ClServerError") & _HEAVY == set()


def test_importing_the_repository_imports_no_broker_and_no_drivers() -> None:
    modules = _modules_after("from cl_server_shared import JobRepositoryService")

    assert {"sqlmodel", "sqlalchemy"} <= modules  # what the check above would see
    assert modules & {"paho", "psycopg", "aiofiles", "cl_ml_tools", "alembic"} == set()
