"""The one `Database` that belongs to each engine of the process."""

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final, final
from weakref import WeakKeyDictionary, finalize, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import (
    SingletonThreadPool,
    StaticPool,
)

from cl_server_shared.database.changes.notifier import NOTIFY, Notifier
from cl_server_shared.database.changes.sources import ChangeSource, source_for
from cl_server_shared.database.changes.watcher import ChangeSubscription, ChangeWatcher
from cl_server_shared.database.connections import Connections
from cl_server_shared.database.engine import DatabaseOptions, require_engine
from cl_server_shared.database.group_commit import GroupCommit, Write
from cl_server_shared.database.migration import require_schema
from cl_server_shared.database.private_connections import PrivateConnections
from cl_server_shared.database.shared_connection import SharedConnection
from cl_server_shared.database.sqlite import (
    is_in_transaction,
    is_locked,
)
from cl_server_shared.database.statement import Row, Statement, Values, run
from cl_server_shared.database.transaction import Transaction
from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.fork import renew_after_fork

type Execute = Callable[[Statement, Values], Sequence[Row]]
"""Runs one statement with its values; returns its rows, empty ones where it only changes some."""

_OLDEST_SQLITE: Final = (3, 35, 0)  # the first with RETURNING


@final
class Database:
    """Runs statements on an engine's database, each one its own committed transaction.

    Thread-safe. A forked child gets connections of its own. The schema is completed before the
    first statement.

    Raises:
        DatabaseError: the database cannot be used with this library.
    """

    def __init__(self, engine: Engine, options: DatabaseOptions) -> None:
        _require_supported(engine)
        self.dialect: Final = engine.dialect
        self.has_private_connections: Final = not isinstance(
            engine.pool, StaticPool | SingletonThreadPool
        )
        """Whether threads of our own may use this database without harm to a caller's session.

        False for one in memory, where everybody shares one connection, and with it a transaction.
        """
        self.is_bound_to_thread: Final = isinstance(engine.pool, SingletonThreadPool)
        """Whether only the thread that first used this database can reach it."""
        self._engine = ref(engine)  # the registry below must not keep its own keys alive
        self._options = options
        self._inherited: list[Connections] = []
        self._watch: Final = ChangeWatcher(self.look, self._make_source)
        self._notifier: Final = (
            Notifier(self._notify) if engine.dialect.name == "postgresql" else None
        )
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
        if self._writes is not None and statement.is_change(self.dialect):
            return self._writes.execute(statement, values)
        rows = self._execute_alone(statement, values)
        if self._notifier is not None and rows and statement.is_change(self.dialect):
            self._notifier.note_change()
        return rows

    def _execute_alone(self, statement: Statement, values: Values) -> Sequence[Row]:
        try:
            return self._execute(statement, values)
        except DatabaseError as error:
            self._read_any_text_or_raise(error)
            return self._execute(statement, values)

    def _execute_together(self, writes: Sequence[Write]) -> None:
        """Run several statements in one transaction, and tell each its rows once it is committed.

        That is told for sure: Ctrl-C in the moment of the commit, or of telling, must not make
        somebody else do again what is done; nor is done what SQLite undid when its commit failed.
        """
        with self._lent("write together") as (connections, connection):
            connections.begin(connection)
            rows = [run(self.dialect, connection, each.statement, each.values) for each in writes]

            def tell() -> None:
                for write, its_rows in zip(writes, rows, strict=True):
                    write.rows = its_rows

            try:
                connections.commit(connection)
                tell()
            except BaseException as error:
                if not (is_in_transaction(connection) or self._came_of_database(error)):
                    tell()
                raise

    def _came_of_database(self, error: BaseException) -> bool:
        """Tell whether the driver failed, also if Ctrl-C came before that was told."""
        failures = self.dialect.loaded_dbapi.Error
        return isinstance(error, failures) or isinstance(error.__context__, failures)

    def _read_any_text_or_raise(self, error: DatabaseError) -> None:
        """Help where other code stored bytes that are no text.

        Reading them as such costs every statement, so it begins when it is needed.
        """
        if self._reads_any_text or "decode to UTF-8" not in str(error):
            raise error
        self._reads_any_text = True
        self._connections.read_any_text()

    def _execute(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Do what `_lent` does without its two generators, which cost each statement 3 us."""
        if not self._prepared:
            self.prepare()
        connections = self._connections
        try:
            connection = connections.acquire()
            try:
                rows = self._run(connections, connection, statement, values)
            except BaseException:
                connections.discard(connection)
                raise
            connections.release(connection)
        except (self.dialect.loaded_dbapi.Error, SQLAlchemyError) as error:
            raise _failed(statement.name, error) from error
        return rows

    def look(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement*, which only reads; on a shared connection it ends nobody's transaction.

        Raises:
            DatabaseError: the database failed.
        """
        try:
            return self._look(statement, values)
        except DatabaseError as error:
            self._read_any_text_or_raise(error)
            return self._look(statement, values)

    def _look(self, statement: Statement, values: Values) -> Sequence[Row]:
        with self._lent(statement.name, only_reads=True) as (connections, connection):
            return self._run(connections, connection, statement, values)

    def _run(
        self,
        connections: Connections,
        connection: DBAPIConnection,
        statement: Statement,
        values: Values,
    ) -> Sequence[Row]:
        try:
            return run(self.dialect, connection, statement, values)
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
        return connections.retry_while_locked(
            partial(run, self.dialect, connection, statement, values)
        )

    def watch(self, waiter: ChangeSubscription) -> None:
        """Wake *waiter* when what it waits for may have changed; harmless when repeated.

        Raises:
            DatabaseError: only the caller's thread can reach this database.
        """
        if self.is_bound_to_thread:
            url = require_engine(self._engine).url
            raise DatabaseError(
                f"{url!r} cannot be waited on: no other thread can reach it to change it; "
                "use a file, or create_engine(url, poolclass=StaticPool, "
                "connect_args={'check_same_thread': False})"
            )
        self._watch.add(waiter)

    def unwatch(self, waiter: ChangeSubscription) -> None:
        """Let *waiter* be; harmless when repeated."""
        self._watch.discard(waiter)

    def note_change(self) -> None:
        """Tell those who wait, elsewhere too, of a change that a caller's session committed."""
        if self._notifier is not None:
            self._notifier.note_change()

    def _notify(self) -> None:
        self.look(NOTIFY, {})

    def _make_source(self) -> ChangeSource:
        return source_for(require_engine(self._engine), self._connections)

    def execute_on(
        self, connection: Connection, statement: Statement, values: Values
    ) -> Sequence[Row]:
        """Run *statement* in the transaction of a caller's connection.

        Raises:
            DatabaseError: the database refused it or failed.
        """
        compiled = statement.compiled(self.dialect)
        bound = compiled.arrange(values)
        with self._errors_as_ours(statement.name):
            result = connection.exec_driver_sql(
                compiled.text, bound if isinstance(bound, tuple) else dict(bound)
            )
            return [tuple(row) for row in result] if result.returns_rows else [()] * result.rowcount

    @contextmanager
    def transaction(self, name: str) -> Generator[Transaction]:
        """Run the statements of a `with` block as one transaction, called *name* in messages.

        It commits at the end of the block and undoes everything when the block raises.

        Raises:
            DatabaseError: as for `execute`, from the block's statements and from its end.
        """
        turn = nullcontext() if self._writes is None else self._writes.turn()
        with turn, self._lent(name) as (connections, connection):
            connections.begin(connection)
            yield Transaction(self.dialect, connections, connection)
            connections.commit(connection)
        self.note_change()

    @contextmanager
    def _lent(
        self, name: str, *, only_reads: bool = False
    ) -> Generator[tuple[Connections, DBAPIConnection]]:
        self.prepare()
        connections = self._connections
        with self._errors_as_ours(name):
            connection = connections.acquire()
            try:
                yield connections, connection
            except BaseException:
                connections.discard(connection)
                raise
            if only_reads:
                connections.give_back(connection)
            else:
                connections.release(connection)

    @contextmanager
    def _errors_as_ours(self, name: str) -> Generator[None]:
        try:
            yield
        except (self.dialect.loaded_dbapi.Error, SQLAlchemyError) as error:
            raise _failed(name, error) from error

    def _start(self, engine: Engine) -> None:
        self._connections = connections_for(engine, self._options)
        finalize(engine, _close_own, self._connections, os.getpid())
        finalize(engine, _end_own, self._watch, self._notifier, os.getpid())
        is_sqlite = self.dialect.name == "sqlite"
        self._writes = (
            GroupCommit(
                self._execute_alone, self._execute_together, self._options.lock_timeout_seconds
            )
            if is_sqlite and self.has_private_connections
            else None
        )
        self._reads_any_text = False
        self._preparing = threading.Lock()
        self._prepared = False

    def prepare(self) -> None:
        """Complete the schema, if this process has not done so yet.

        Raises:
            SchemaError: tables are missing, and may not be made.
        """
        if self._prepared:
            return
        with self._preparing, self._errors_as_ours("prepare the schema"):
            if not self._prepared:
                require_schema(require_engine(self._engine), may_upgrade=self._options.may_upgrade)
                self._prepared = True

    def after_fork(self) -> None:
        """Keep the parent's connections unused and open, for closing them would end its sessions.

        See https://docs.sqlalchemy.org/en/21/core/pooling.html#pooling-multiprocessing and section
        2.6 of https://www.sqlite.org/howtocorrupt.html.
        """
        engine = self._engine()
        if engine is None:
            return
        self._inherited.append(self._connections)
        self._watch.after_fork()
        if self._notifier is not None:
            self._notifier.after_fork()
        self._start(engine)
        engine.dispose(close=False)

    def _before_pool_closes(self, connection: DBAPIConnection, _record: object) -> None:
        self._connections.before_pool_closes(connection)

    def _close(self, _engine: Engine) -> None:
        _end_own(self._watch, self._notifier, os.getpid())
        self._watch.join()
        self._connections.close()


def _end_own(watch: ChangeWatcher, notifier: Notifier | None, owner_pid: int) -> None:
    """End the waits, and let nobody miss the last changes."""
    if owner_pid != os.getpid():
        return
    watch.close()
    if notifier is not None:
        notifier.close()


def _failed(name: str, error: Exception) -> DatabaseError:
    return DatabaseError(f"{name}: the database failed: {error}")


def _close_own(connections: Connections, owner_pid: int) -> None:
    if owner_pid == os.getpid():
        connections.close()


def _require_supported(engine: Engine) -> None:
    if engine.dialect.name not in {"sqlite", "postgresql"}:
        raise DatabaseError(f"{engine.dialect.name} is not supported: use SQLite or PostgreSQL")
    if engine.dialect.name == "sqlite" and sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise DatabaseError(
            f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is the first with RETURNING"
        )


# Repositories are built per request, their engine once: what is expensive belongs to the engine.
_DATABASES: WeakKeyDictionary[Engine, Database] = WeakKeyDictionary()
_DATABASES_LOCK = threading.Lock()


def database_of(engine: Engine, options: DatabaseOptions) -> Database:
    """Return the process's one `Database` for *engine*; the first caller's options hold."""
    with _DATABASES_LOCK:
        found = _DATABASES.get(engine)
        if found is None:
            found = _DATABASES[engine] = Database(engine, options)
        return found


def connections_for(engine: Engine, options: DatabaseOptions) -> Connections:
    """Choose how this engine's connections can be used."""
    if isinstance(engine.pool, StaticPool | SingletonThreadPool):
        return SharedConnection(engine)
    return PrivateConnections(engine, options)
