"""Fixtures of empty databases; a test module names this one in `pytest_plugins`."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from cl_server_shared.database import make_engine
from tests.support.selection import ON_POSTGRESQL


class DatabaseRequest(Protocol):
    """A request for one kind of database."""

    @property
    def param(self) -> str: ...
    def getfixturevalue(self, argname: str) -> str: ...


@contextmanager
def empty_database(kind: str, folder: Path, request: DatabaseRequest) -> Generator[str]:
    """Give the URL of a database without tables; the server is asked for only where it is used."""
    if kind == "postgresql":
        with _empty_schema(make_url(request.getfixturevalue("postgres_url"))) as url:
            yield url.render_as_string(hide_password=False)
    else:
        yield "sqlite:///:memory:" if kind == "sqlite memory" else f"sqlite:///{folder}/jobs.db"


@contextmanager
def _empty_schema(database: URL) -> Generator[URL]:
    """Give a schema of a test's own: making a database for each would cost ten times as much."""
    name = f"test_{uuid4().hex}"
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(CreateSchema(name))
    try:
        yield database.update_query_dict({"options": f"-csearch_path={name}"})
    finally:
        with engine.begin() as connection:
            connection.execute(DropSchema(name, cascade=True))


@pytest.fixture(params=["sqlite file", "sqlite memory", ON_POSTGRESQL])
def database_url(request: DatabaseRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, of every kind that the library supports."""
    with empty_database(request.param, tmp_path, request) as url:
        yield url


@pytest.fixture(params=["sqlite file", ON_POSTGRESQL])
def shared_database_url(request: DatabaseRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database that several processes can use."""
    with empty_database(request.param, tmp_path, request) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Engine of an empty database, of every kind that the library supports."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """Engine of an empty PostgreSQL schema."""
    with _empty_schema(make_url(postgres_url)) as url:
        engine = make_engine(url.render_as_string(hide_password=False))
        yield engine
        engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """Engine of an empty SQLite file."""
    engine = make_engine(f"sqlite:///{tmp_path}/jobs.db")
    yield engine
    engine.dispose()
