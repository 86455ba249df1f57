"""Engines and sessions from a database URL."""

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from cl_server_shared.database.options import PostgresOptions
from cl_server_shared.errors import DatabaseError


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
