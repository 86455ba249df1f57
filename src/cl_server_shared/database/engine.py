"""Engines and sessions from a database URL, and what is asked of an engine."""

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal
from weakref import ref

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import PoolProxiedConnection, StaticPool

from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.masked_url import masked_url

_OLDEST_SQLITE: Final = (3, 35, 0)  # the first with RETURNING


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How the library uses a database; see the settings of the same names."""

    may_upgrade: bool = True
    sqlite_wal: bool = True
    sqlite_synchronous: Literal["OFF", "NORMAL", "FULL"] = "NORMAL"
    lock_timeout_seconds: float = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How a PostgreSQL is used.

    Args:
        pool_size: how many connections a process holds at most, 1 or more.
        lock_timeout_seconds: how long a statement waits for a row's lock, 0: for ever.
        statement_timeout_seconds: how long a statement may take, 0: for ever.
        has_transaction_pooling: whether each transaction may run on another server connection
            (PgBouncer's `pool_mode = transaction`): then no statement is prepared, since the next
            connection would not know it, and no timeout is set, since it would stay there.
    """

    pool_size: int = 15
    lock_timeout_seconds: float = 0
    statement_timeout_seconds: float = 0
    has_transaction_pooling: bool = False


def make_engine(url: str, postgres: PostgresOptions | None = None) -> Engine:
    """Build an engine; it connects at its first use.

    SQLite in memory is one database shared by all threads of the process. A PostgreSQL URL without
    a driver (`postgresql://`) uses psycopg 3, and obeys *postgres*.

    Raises:
        DatabaseError: the URL cannot be read, or its driver is not installed.
    """
    try:
        return _create(_with_driver(make_url(url)), postgres or PostgresOptions())
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseError(f"the database URL cannot be used: {error}") from error
    except ValueError:  # it quotes what it took for the port, which may be a piece of the password
        raise DatabaseError(
            f"the database URL {masked_url(url)} cannot be read: is its port a number?"
        ) from None
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"the database's driver is missing ({error}): install cl-server-shared[postgres]"
        ) from error


def _with_driver(url: URL) -> URL:
    if url.drivername in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def _create(url: URL, postgres: PostgresOptions) -> Engine:
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        # SQLAlchemy gives each thread an empty in-memory database of its own otherwise
        # (its documentation, "Using a Memory Database in Multiple Threads").
        return create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    if url.get_backend_name() != "postgresql":
        return create_engine(url)
    return create_engine(
        url,
        pool_size=postgres.pool_size,
        max_overflow=0,
        connect_args=_connect_arguments(url, postgres),
    )


def _connect_arguments(url: URL, postgres: PostgresOptions) -> dict[str, object]:
    """Return what psycopg and libpq are told; see `options` and `prepare_threshold` there.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS and
    https://www.psycopg.org/psycopg3/docs/advanced/prepare.html
    """
    if postgres.has_transaction_pooling:
        return {"prepare_threshold": None} if url.get_driver_name() == "psycopg" else {}
    timeouts = {
        "lock_timeout": postgres.lock_timeout_seconds,
        "statement_timeout": postgres.statement_timeout_seconds,
    }
    given = url.query.get("options", ())
    options = [given] if isinstance(given, str) else [*given]
    options += [f"-c {name}={int(value * 1000)}" for name, value in timeouts.items() if value]
    return {"options": " ".join(options)} if options else {}


def make_session_factory(engine: Engine) -> sessionmaker[Session]:
    """Build sessions that leave loaded rows readable after a commit."""
    return sessionmaker(bind=engine, expire_on_commit=False)


def require_supported(engine: Engine) -> None:
    """Make sure that our statements can run on *engine*.

    Raises:
        DatabaseError: they cannot.
    """
    if engine.dialect.name not in {"sqlite", "postgresql"}:
        raise DatabaseError(f"{engine.dialect.name} is not supported: use SQLite or PostgreSQL")
    if engine.dialect.name == "sqlite" and sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise DatabaseError(
            f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is the first with RETURNING"
        )


def open_unpooled(engine: Engine) -> DBAPIConnection:
    """Open a connection in autocommit mode that is none of the pool's, nor counted by it.

    It is made as the pool makes its own, with the engine's events and arguments.
    """
    lent = engine.pool.recreate().connect()
    connection = driver_connection(lent)
    lent.detach()
    engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
    return connection


def require_engine(engine: ref[Engine]) -> Engine:
    """Return the engine, which only its owner keeps alive.

    Raises:
        DatabaseError: its owner let it go.
    """
    found = engine()
    if found is None:
        raise DatabaseError("the engine of this repository is gone: keep a reference to it")
    return found


def driver_connection(lent: PoolProxiedConnection) -> DBAPIConnection:
    """Return the connection of the driver under one that the pool lent.

    Raises:
        DatabaseError: the pool lent none.
    """
    if lent.dbapi_connection is None:
        raise DatabaseError("the engine's pool lent no connection")
    return lent.dbapi_connection
