"""What tells that a database may have changed: a file, a connection, or notifications."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Final, Protocol, cast, final, override
from weakref import ref

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection

from cl_server_shared.database.changes.notifier import CHANNEL
from cl_server_shared.database.connections import Connections
from cl_server_shared.database.engine import open_unpooled, require_engine
from cl_server_shared.database.shared_connection import SharedConnection
from cl_server_shared.database.sqlite import is_locked
from cl_server_shared.errors import DatabaseError
from cl_server_shared.process.fork import no_fork

_POLL_SECONDS: Final = 0.01


class ChangeSource(Protocol):
    """Tells when something may have changed; used by one thread."""

    def changed(self, within_seconds: float) -> bool:
        """Wait for a change, at most that long; True too when it only now begins to listen.

        What it raises ends the listening: `close` it, and call again.
        """
        ...

    def close(self) -> None:
        """Stop listening; harmless when repeated."""
        ...


def source_for(engine: Engine, connections: Connections) -> ChangeSource:
    """Choose how the changes of this engine's database can be noticed."""
    if isinstance(connections, SharedConnection):
        return SharedConnectionChanges(connections)
    if engine.dialect.name == "sqlite":
        return FileChanges(engine)
    return Notifications(engine)


@final
class FileChanges(ChangeSource):
    """Polls a SQLite file for commits of other connections, of any process.

    `PRAGMA data_version` reads one page, takes 3 us, and leaves no lock and no transaction behind
    (https://www.sqlite.org/pragma.html#pragma_data_version).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = ref(engine)
        self._connection: DBAPIConnection | None = None
        self._version: object = None

    @override
    def changed(self, within_seconds: float) -> bool:
        if self._connection is None:
            self._open()
            return True
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            before, self._version = self._version, self._read_version(self._connection)
            if self._version != before:
                return True
        return False

    @override
    def close(self) -> None:
        if self._connection is not None:
            with no_fork():
                self._connection.close()
            self._connection = None

    def _open(self) -> None:
        with no_fork():
            self._connection = open_unpooled(require_engine(self._engine))
            _first_value(self._connection, "PRAGMA busy_timeout=0")
        self._version = self._read_version(self._connection)

    def _read_version(self, connection: DBAPIConnection) -> object:
        try:
            with no_fork():
                return _first_value(connection, "PRAGMA data_version")
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            return self._version  # a rollback journal: its writer is about to commit


@final
class SharedConnectionChanges(ChangeSource):
    """Polls the single connection of an in-memory database, between the transactions on it."""

    def __init__(self, connections: Connections) -> None:
        self._connections: Final = connections
        self._version: object = None

    @override
    def changed(self, within_seconds: float) -> bool:
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            before, self._version = self._version, self._read_version()
            if self._version != before:
                return True
            time.sleep(_POLL_SECONDS)
        return False

    @override
    def close(self) -> None:
        self._version = None

    def _read_version(self) -> object:
        """Read what its own commits change, and for a file those of others."""
        with no_fork():
            connection = self._connections.acquire()
            try:
                return self._version_on(connection)
            finally:
                self._connections.give_back(connection)

    def _version_on(self, connection: DBAPIConnection) -> object:
        if not isinstance(connection, sqlite3.Connection) or connection.in_transaction:
            return self._version
        return connection.total_changes, _first_value(connection, "PRAGMA data_version")


class _Listening(DBAPIConnection, Protocol):
    """What is used of `psycopg.Connection`, which need not be installed."""

    def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> Iterator[object]: ...


@final
class Notifications(ChangeSource):
    """Listens to what every writing process notifies (PostgreSQL, psycopg 3).

    Raises:
        DatabaseError: from `changed`, when the engine's driver cannot listen.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = ref(engine)
        self._connection: _Listening | None = None

    @override
    def changed(self, within_seconds: float) -> bool:
        if self._connection is None:
            self._open()
            return True
        return bool(list(self._connection.notifies(timeout=within_seconds, stop_after=1)))

    @override
    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        engine = require_engine(self._engine)
        if engine.dialect.driver != "psycopg":
            raise DatabaseError(
                f"the driver {engine.dialect.driver} cannot listen for notifications: "
                "use postgresql+psycopg"
            )
        connection = open_unpooled(engine)
        _first_value(connection, f"LISTEN {CHANNEL}")
        self._connection = cast("_Listening", connection)  # psycopg's own


def _first_value(connection: DBAPIConnection, sql: str) -> object:
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        found = cursor.fetchone() if cursor.description else None
        row = cast("tuple[object, ...] | None", found)  # the DBAPI's types say Any
        return None if row is None else row[0]
    finally:
        cursor.close()
