"""How a database gets the tables that the repository needs, and what is lacking.

Services migrate `jobs` with scripts of their own, so an upgrade only adds: to a database of any
older shape, without losing a row, and as often as anybody likes.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    and_,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from cl_server_shared.database.engine import DatabaseOptions
from cl_server_shared.database.schema import (
    JOBS,
    MAPPED_JOBS,
    OWN_COLUMNS,
    OWN_INDEXES,
    PROCESSING,
    QUEUE_ENTRIES,
    VERSION_TABLE,
)
from cl_server_shared.database.statement import failed
from cl_server_shared.errors import SchemaError
from cl_server_shared.models import Base
from cl_server_shared.process.clock import Clock, SystemClock
from cl_server_shared.process.masked_url import masked_url

ABANDONED_LEASE_MS: Final = 3_600_000
"""How long a job that older code left `processing` may still be finished by it: one hour."""
_UPGRADE_LOCK_SECONDS: Final = 60
SCHEMA_VERSION: Final = 1
"""Raised when older versions of this library could no longer work on the tables."""


def upgrade(engine: Engine, clock: Clock | None = None) -> None:
    """Make or complete the tables; safe to repeat, also by several processes at once.

    A new database gets `jobs` and `queue_entries`; one of the original library's shape gets the
    repository's columns and indexes, every row as it was. Jobs that older code left `processing`
    with a start time get a lease of one hour: if nobody finishes them by then, they run again.

    Raises:
        SchemaError: a newer version of this library has changed the tables.
    """
    with engine.connect() as connection, _waiting_for_locks(connection, _UPGRADE_LOCK_SECONDS):
        _lock(connection)
        _stamp(connection)
        Base.metadata.create_all(connection, tables=[MAPPED_JOBS, QUEUE_ENTRIES])
        missing = _missing_columns(connection)
        for column in missing:
            _add_column(connection, column)
        if any(column.name == "lease_expires_at" for column in missing):
            _lease_abandoned_jobs(connection, clock or SystemClock())
        for index in OWN_INDEXES:
            index.create(connection, checkfirst=True)
        connection.commit()


def include_object(
    _item: object, name: str | None, kind: str, reflected: object, _counterpart: object
) -> bool:
    """Tell Alembic's autogenerate to leave what only the repository knows alone.

    For a service's `context.configure(..., include_object=include_object)`; its form is that of
    https://alembic.sqlalchemy.org/en/latest/api/runtime.html, `EnvironmentContext.configure`.
    """
    own = {
        "table": {VERSION_TABLE.name},
        "column": {column.name for column in OWN_COLUMNS},
        "index": {index.name for index in OWN_INDEXES},
    }
    return not (reflected and name in own.get(kind, ()))


def require_schema(engine: Engine, options: DatabaseOptions) -> None:
    """Make sure that the repository's statements will find their columns.

    Raises:
        SchemaError: something is missing and may not be added, or a migration tool owns this
            database and has not made `jobs` yet, or the tables are newer than this library.
        DatabaseError: the database failed.
    """
    try:
        _require_schema(engine, options)
    except (engine.dialect.loaded_dbapi.Error, SQLAlchemyError) as error:
        raise failed("prepare the schema", error) from error


def _require_schema(engine: Engine, options: DatabaseOptions) -> None:
    seconds = options.lock_timeout_seconds
    with engine.connect() as connection, _waiting_for_locks(connection, seconds):
        _require_not_newer(connection)
        lacking = _lacking(connection)
        migrated_elsewhere = inspect(connection).has_table("alembic_version")
    if not lacking:
        return
    owned = lacking == "the table jobs" and migrated_elsewhere
    if owned or not options.may_upgrade:
        raise SchemaError(
            f"the database {masked_url(repr(engine.url))} lacks {lacking}: run the service's own "
            "migrations first, then cl_server_shared.database.upgrade(engine)"
        )
    upgrade(engine)


def _lacking(connection: Connection) -> str:
    inspector = inspect(connection)
    if not inspector.has_table(JOBS.name):
        return "the table jobs"
    columns = {column["name"] for column in inspector.get_columns(JOBS.name)}
    indexes = {index["name"] for index in inspector.get_indexes(JOBS.name)}
    wanted = [(column.name, columns) for column in OWN_COLUMNS]
    wanted += [(str(index.name), indexes) for index in OWN_INDEXES]
    names = [name for name, present in wanted if name not in present]
    return f"{', '.join(names)} of the table jobs" if names else ""


def _require_not_newer(connection: Connection) -> None:
    if not inspect(connection).has_table(VERSION_TABLE.name):
        return
    version = connection.scalar(select(func.max(VERSION_TABLE.c.version)))
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SchemaError(
            f"the tables of {masked_url(repr(connection.engine.url))} have version "
            f"{version}, and this library knows {SCHEMA_VERSION}: install the newer "
            "cl-server-shared that changed them"
        )


def _stamp(connection: Connection) -> None:
    _require_not_newer(connection)
    VERSION_TABLE.create(connection, checkfirst=True)
    if connection.scalar(select(func.max(VERSION_TABLE.c.version))) is None:
        connection.execute(insert(VERSION_TABLE).values(version=SCHEMA_VERSION))


@contextmanager
def _waiting_for_locks(connection: Connection, seconds: float) -> Generator[None]:
    """Wait for SQLite's locks as the repository's statements do, and no less.

    The engine may be a service's own, whose timeout is often the 5 s of Python's sqlite3; in its
    pool the connection is as it was.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    found = connection.exec_driver_sql("PRAGMA busy_timeout")
    own_ms = cast("int", found.scalar_one())  # the rows of a PRAGMA have no type
    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={own_ms}")


def _lock(connection: Connection) -> None:
    """Let one process upgrade at a time; the lock ends with the transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # An index of millions of rows takes its time, and other processes wait for it here.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('cl_server_shared'))"))


def _missing_columns(connection: Connection) -> list[Column[object]]:
    present = {column["name"] for column in inspect(connection).get_columns(JOBS.name)}
    return [column for column in OWN_COLUMNS if column.name not in present]


def _add_column(connection: Connection, column: Column[object]) -> None:
    definition = str(CreateColumn(column).compile(dialect=connection.dialect))
    connection.exec_driver_sql(f"ALTER TABLE {JOBS.name} ADD COLUMN {definition}")


def _lease_abandoned_jobs(connection: Connection, clock: Clock) -> None:
    abandoned = and_(JOBS.c.status == PROCESSING, JOBS.c.started_at.is_not(None))
    lease = clock.now_ms() + ABANDONED_LEASE_MS
    connection.execute(update(JOBS).where(abandoned).values(lease_expires_at=lease))
