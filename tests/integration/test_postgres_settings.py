"""What the settings say of PostgreSQL is in force on the server."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import psycopg
import pytest
from dependency_injector import providers
from sqlalchemy import Engine, event, make_url, text

from cl_server_shared.container import Container, running
from cl_server_shared.database import PostgresOptions, make_engine
from cl_server_shared.errors import DatabaseError
from tests.support.repositories import at, job, settings

pytest_plugins = ["tests.support.databases"]


@pytest.fixture
def url(postgres_engine: Engine) -> str:
    return postgres_engine.url.render_as_string(hide_password=False)


def container_on(url: str, **changed: object) -> Container:
    return Container(settings=providers.Object(settings(STORE_DATABASE_URL=url, **changed)))


def shown(engine: Engine, *names: str) -> list[str]:
    with engine.connect() as connection:
        rows = [connection.execute(text(f"SHOW {name}")).one() for name in names]
    return [str(cast("object", row[0])) for row in rows]  # a text's columns have no types


def test_timeouts_are_those_of_the_settings(url: str) -> None:
    with running(container_on(url, DATABASE_STATEMENT_TIMEOUT_SECONDS=2.5)) as container:
        assert shown(container.engine(), "lock_timeout", "statement_timeout") == ["1min", "2500ms"]


def test_what_the_url_says_stays(url: str) -> None:
    given = make_url(url).update_query_dict({"options": "-c application_name=mine"})
    engine = make_engine(
        given.render_as_string(hide_password=False), PostgresOptions(lock_timeout_seconds=1)
    )
    assert shown(engine, "application_name", "lock_timeout") == ["mine", "1s"]
    engine.dispose()


def test_who_waits_too_long_for_a_row_gets_an_error_and_the_job_stays(url: str) -> None:
    with running(container_on(url, DATABASE_LOCK_TIMEOUT_SECONDS=0.1)) as container:
        jobs = container.job_repository()
        jobs.add_job(job())
        with container.engine().connect() as other:
            other.execute(text("SELECT 1 FROM jobs FOR UPDATE"))
            with pytest.raises(DatabaseError, match="lock timeout"):
                jobs.update_job("job", at(50))

        assert jobs.update_job("job", at(50))


def test_a_process_holds_no_more_connections_than_it_may(url: str) -> None:
    with running(container_on(url, DATABASE_POOL_SIZE=2)) as container:
        assert container.job_repository().add_job(job())
        with container.engine().connect(), container.engine().connect():
            pass
        assert container.engine().pool.status().startswith("Pool size: 2 ")


@contextmanager
def psycopg_connections(engine: Engine) -> Generator[list[psycopg.Connection]]:
    """List the connections that an engine opens."""
    opened: list[psycopg.Connection] = []

    def note(connection: psycopg.Connection, _record: object) -> None:
        opened.append(connection)

    event.listen(engine, "connect", note)
    yield opened
    event.remove(engine, "connect", note)


@pytest.mark.parametrize(("has_transaction_pooling", "may_prepare"), [(True, False), (False, True)])
def test_nothing_is_prepared_where_another_connection_may_come_next(
    url: str, *, has_transaction_pooling: bool, may_prepare: bool
) -> None:
    container = container_on(url, DATABASE_TRANSACTION_POOLING=has_transaction_pooling)
    with running(container), psycopg_connections(container.engine()) as opened:
        jobs = container.job_repository()
        for _ in range(10):
            assert jobs.get_job("none") is None

        prepared = [
            each.execute("SELECT 1 FROM pg_prepared_statements LIMIT 1").fetchone()
            for each in opened
            if not each.closed
        ]

    assert opened
    assert any(prepared) is may_prepare
    assert {each.prepare_threshold is not None for each in opened} == {may_prepare}
