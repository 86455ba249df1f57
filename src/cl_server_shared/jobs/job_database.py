"""The database of the jobs: the table in and out of transactions, and the outbox of its changes."""

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


@final
class JobDatabase:
    """The database of a session factory, reached at the first call.

    Args:
        session_factory: bound to the database's engine.
        options: how the database is used; the first repository of an engine decides.
        relay: knows the outbox of the database.

    Raises:
        DatabaseError: from every call: the database failed, or cannot be used.
    """

    def __init__(
        self,
        session_factory: sessionmaker[Session],
        options: DatabaseOptions,
        relay: OutboxRelay,
    ) -> None:
        self._session_factory: Final = session_factory
        self._options: Final = options
        self._relay: Final = relay

    @cached_property
    def database(self) -> Database:
        """The database that the session factory is bound to."""
        return database_of(_engine_of(self._session_factory), self._options)

    @cached_property
    def table(self) -> JobTable:
        """The jobs, each call its own transaction."""
        return self._table(self.database.execute)

    @cached_property
    def outbox(self) -> Outbox:
        """What publishes the changes of this database's jobs."""
        return self._relay.outbox(self.database)

    @cached_property
    def read_only(self) -> JobTable:
        """The jobs for reading only: it ends no transaction, whoever shares the connection."""
        return self._table(self.database.read)

    def in_session(self, session: Session) -> JobTable:
        """Return the jobs, as part of a caller's own transaction.

        Raises:
            DatabaseError: the session belongs to another database.
        """
        self.database.prepare()
        connection = session.connection(bind_arguments={"mapper": Job})
        if connection.engine.url != _engine_of(self._session_factory).url:
            raise DatabaseError("the session belongs to another database than the repository")
        return self._table(partial(execute_on, connection))

    @contextmanager
    def batch(self, name: str) -> Generator[JobTable]:
        """Give the jobs for a `with` block whose calls are one transaction, called *name*."""
        with self.database.transaction(name) as transaction:
            yield self._table(transaction.execute, transaction.execute_each)

    def _table(self, execute: Execute, execute_each: ExecuteEach | None = None) -> JobTable:
        return JobTable(
            execute,
            execute_each or _one_by_one,
            self.database.dialect.name,
            has_outbox=self.outbox.is_durable,
        )


def _one_by_one(_statement: Statement, _values: Sequence[Values]) -> bool:
    """Do nothing, where what is undone would not be ours alone."""
    return False


def _engine_of(session_factory: sessionmaker[Session]) -> Engine:
    with session_factory() as session:
        bind = session.get_bind(Job)
    if not isinstance(bind, Engine):
        raise DatabaseError(
            "the session factory is bound to a single connection: bind it to its engine, since "
            "every change of a job is a transaction of its own"
        )
    return bind
