"""The database of the jobs: its transactions, and what tells of its changes."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Final, final

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.database import (
    Database,
    DatabaseOptions,
    Execute,
    Statement,
    Values,
    database_of,
    execute_on,
)
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.job_table import ExecuteEach, JobTable
from cl_server_shared.jobs.outbox import Outbox
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.models import Job


def _one_by_one(_statement: Statement, _values: Sequence[Values]) -> bool:
    """Do nothing, where what is undone would not be ours alone."""
    return False


@final
class JobDatabase:
    """The database of a session factory, reached at the first call.

    Args:
        session_factory: bound to the database's engine.
        options: how the database is used; the first repository of an engine decides.
        outbox: tells whether changes are marked until they are announced.

    Raises:
        DatabaseError: from every call: the database failed, or cannot be used.
    """

    def __init__(
        self,
        session_factory: sessionmaker[Session],
        options: DatabaseOptions,
        outbox: OutboxRelay,
    ) -> None:
        self._session_factory: Final = session_factory
        self._options: Final = options
        self._outbox: Final = outbox

    @cached_property
    def database(self) -> Database:
        """The database that the session factory is bound to."""
        return database_of(_engine_of(self._session_factory), self._options)

    @cached_property
    def store(self) -> JobTable:
        """The jobs, each call its own transaction."""
        return self._store(self.database.execute)

    @cached_property
    def delivery(self) -> Outbox:
        """The way from this database's jobs to the world."""
        return self._outbox.delivery(self.database)

    @cached_property
    def reading(self) -> JobTable:
        """The jobs for reading only: it ends no transaction, whoever shares the connection."""
        return self._store(self.database.look)

    def in_session(self, session: Session) -> JobTable:
        """The jobs, as part of a caller's own transaction.

        Raises:
            DatabaseError: the session belongs to another database.
        """
        self.database.prepare()
        connection = session.connection(bind_arguments={"mapper": Job})
        if connection.engine.url != _engine_of(self._session_factory).url:
            raise DatabaseError("the session belongs to another database than the repository")
        return self._store(partial(execute_on, connection))

    @contextmanager
    def batch(self, name: str) -> Generator[JobTable]:
        """The jobs, all calls in a `with` block one transaction."""
        with self.database.transaction(name) as transaction:
            yield self._store(transaction.execute, transaction.execute_each)

    def _store(self, execute: Execute, execute_each: ExecuteEach | None = None) -> JobTable:
        return JobTable(
            execute,
            execute_each or _one_by_one,
            self.database.dialect.name,
            marks_changes=self.delivery.is_durable,
        )


def _engine_of(session_factory: sessionmaker[Session]) -> Engine:
    with session_factory() as session:
        bind = session.get_bind(Job)
    if not isinstance(bind, Engine):
        raise DatabaseError(
            "the session factory is bound to a single connection: bind it to its engine, since "
            "every change of a job is a transaction of its own"
        )
    return bind
