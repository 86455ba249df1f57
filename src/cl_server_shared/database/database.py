"""The one `Database` that belongs to each engine of the process."""

import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, final
from weakref import finalize, ref

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from cl_server_shared.database.changes.hub import ChangeHub
from cl_server_shared.database.changes.sources import source_for
from cl_server_shared.database.connections import Connections
from cl_server_shared.database.engine import DatabaseOptions, require_engine, require_supported
from cl_server_shared.database.group_commit import GroupCommit, Write
from cl_server_shared.database.migration import require_schema
from cl_server_shared.database.private_connections import PrivateConnections
from cl_server_shared.database.shared_connection import SharedConnection
from cl_server_shared.database.sqlite import is_locked
from cl_server_shared.database.statement import (
    Compiled,
    Row,
    Statement,
    Values,
    failed,
    run,
    run_within,
)
from cl_server_shared.database.transaction import Transaction
from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.fork import renew_after_fork


@final
class Database:
    """Runs statements on an engine's database, each one its own committed transaction.

    Thread-safe. A forked child gets connections of its own. The schema is completed before the
    first statement.

    Raises:
        DatabaseError: the database cannot be used with this library.
    """

    def __init__(self, engine: Engine, options: DatabaseOptions) -> None:
        require_supported(engine)
        self.dialect: Final = engine.dialect
        self.has_private_connections: Final = not isinstance(
            engine.pool, StaticPool | SingletonThreadPool
        )
        """Whether nobody shares a connection, and so a transaction, with a caller's session."""
        self.is_for_one_thread: Final = isinstance(engine.pool, SingletonThreadPool)
        """Whether only the thread that used this database first can reach it."""
        self.hub: Final = ChangeHub(
            self.read,
            lambda: source_for(require_engine(self._engine), self._connections),
            must_notify=engine.dialect.name == "postgresql",
        )
        """Who waits for changes of this database, and who tells other processes of them."""
        self._engine: Final = ref(engine)  # the registry must not keep its own keys alive
        self._options: Final = options
        self._failures: Final = (self.dialect.loaded_dbapi.Error, SQLAlchemyError)
        self._inherited: Final[list[Connections]] = []
        self._start(engine)
        renew_after_fork(self)
        event.listen(engine, "engine_disposed", self._close)
        if isinstance(engine.pool, StaticPool):
            event.listen(engine.pool, "close", self._before_pool_closes)

    def execute(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement* and commit it; return its rows, as `run` does.

        Raises:
            DatabaseError: the database refused it or failed; nothing was changed, unless the
                connection broke while it was committing.
            SchemaError: tables are missing, and may not be made.
        """
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = statement.compiled(self.dialect)
        if not compiled.is_change:
            return self._run(compiled, values)
        if self._group_commit is not None:
            return self._write(self._group_commit, compiled, values)
        rows = self._run(compiled, values)
        if rows:
            self.hub.note_change()
        return rows

    def read(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement*, which only reads; on a shared connection it ends nobody's transaction.

        Raises:
            DatabaseError: the database failed.
        """
        return self._run(statement.compiled(self.dialect), values, only_reads=True)

    @contextmanager
    def transaction(self, name: str) -> Generator[Transaction]:
        """Run the statements of a `with` block as one transaction, called *name* in messages.

        It commits at the end of the block and undoes everything when the block raises.

        Raises:
            DatabaseError: as for `execute`, from the block's statements and from its end.
        """
        turn = nullcontext() if self._group_commit is None else self._group_commit.turn()
        with turn, self._lent(name) as (connections, connection):
            connections.begin(connection)
            yield Transaction(self.dialect, connections, connection)
            connections.commit(connection)
        self.hub.note_change()

    def prepare(self) -> None:
        """Complete the schema, if this process has not done so yet.

        Raises:
            SchemaError: tables are missing, and may not be made.
        """
        if self._is_prepared:
            return
        with self._preparing:
            if not self._is_prepared:
                require_schema(require_engine(self._engine), self._options)
                self._is_prepared = True

    def after_fork(self) -> None:
        """Keep the parent's connections unused and open, for closing them would end its sessions.

        See https://docs.sqlalchemy.org/en/21/core/pooling.html#pooling-multiprocessing and section
        2.6 of https://www.sqlite.org/howtocorrupt.html.
        """
        engine = self._engine()
        if engine is None:
            return
        self._inherited.append(self._connections)
        self.hub.after_fork()
        self._start(engine)
        engine.dispose(close=False)

    def _write(
        self, group_commit: GroupCommit, statement: Compiled, values: Values
    ) -> Sequence[Row]:
        write = Write(statement, values)
        waiter = group_commit.waiter(write)
        try:
            writes = group_commit.wait(waiter)
            if len(writes) > 1:
                self._try_together(writes)
            if write.rows is None and write.error is None:
                write.rows = self._run(statement, values)
        finally:
            waiter.has_left = True  # an assignment: see `GroupCommit`
            group_commit.wake_next()
        if write.error is not None:
            raise DatabaseError(str(write.error)) from write.error.__cause__
        return write.rows or ()

    def _try_together(self, writes: Sequence[Write]) -> None:
        try:
            with self._lent("write together") as (connections, connection):
                connections.begin(connection)
                rows = [run(connection, each.statement, each.values) for each in writes]
                connections.commit(connection)
                for write, its_rows in zip(writes, rows, strict=True):
                    write.rows = its_rows
        except DatabaseError as error:
            if is_locked(error.__cause__):  # to try again would be to wait twice as long
                for write in writes:
                    write.error = error
            # Else whose error it was shows when each is alone.

    def _run(
        self, statement: Compiled, values: Values, *, only_reads: bool = False
    ) -> Sequence[Row]:
        """Do what `_lent` does without its generator, which costs each statement 2 us."""
        if not self._is_prepared:
            self.prepare()
        connections = self._connections
        try:
            connection = connections.acquire()
            try:
                rows = run_within(self._options.lock_timeout_seconds, connection, statement, values)
            except BaseException:
                connections.discard(connection)
                raise
            (connections.give_back if only_reads else connections.release)(connection)
        except self._failures as error:
            self._read_any_text_or_raise(statement.name, error)
            return self._run(statement, values, only_reads=only_reads)
        return rows

    def _read_any_text_or_raise(self, name: str, error: Exception) -> None:
        """Help where other code stored bytes that are no text.

        Reading them as such costs every statement, so it begins when it is needed.
        """
        if self._reads_any_text or "decode to UTF-8" not in str(error):
            raise failed(name, error) from error
        self._reads_any_text = True
        self._connections.read_any_text()

    @contextmanager
    def _lent(self, name: str) -> Generator[tuple[Connections, DBAPIConnection]]:
        self.prepare()
        connections = self._connections
        try:
            connection = connections.acquire()
            try:
                yield connections, connection
            except BaseException:
                connections.discard(connection)
                raise
            connections.release(connection)
        except self._failures as error:
            raise failed(name, error) from error

    def _start(self, engine: Engine) -> None:
        is_shared = not self.has_private_connections
        self._connections: Connections = (
            SharedConnection(engine) if is_shared else PrivateConnections(engine, self._options)
        )
        commits_in_groups = self.dialect.name == "sqlite" and not is_shared
        self._group_commit = (
            GroupCommit(self._options.lock_timeout_seconds) if commits_in_groups else None
        )
        self._compiled: dict[Statement, Compiled] = {}
        self._reads_any_text = False
        self._preparing = threading.Lock()
        self._is_prepared = False
        finalize(engine, _end, self.hub, self._connections, os.getpid())

    def _before_pool_closes(self, connection: DBAPIConnection, _record: object) -> None:
        self._connections.before_pool_closes(connection)

    def _close(self, _engine: Engine) -> None:
        self.hub.close(within_seconds=2)
        self._connections.close()


def _end(hub: ChangeHub, connections: Connections, owner_pid: int) -> None:
    """End what an engine leaves behind, unless it is a parent's."""
    if owner_pid == os.getpid():
        hub.close()
        connections.close()
