"""The connection that callers' sessions use too: of a database in memory."""

import threading
from typing import final, override
from weakref import ref

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import PoolProxiedConnection, SingletonThreadPool

from cl_server_shared.database.connections import Connections
from cl_server_shared.database.engine import driver_connection, require_engine
from cl_server_shared.database.sqlite import read_any_text
from cl_server_shared.errors import DatabaseError


@final
class SharedConnection(Connections):
    """The single connection of an in-memory database, which callers' sessions use too.

    SQLAlchemy gives each thread an empty database of its own unless told otherwise: one of those
    serves the thread that uses it first, and others are refused.

    Raises:
        DatabaseError: from `acquire`, in another thread than the only one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = ref(engine)
        self._in_use = threading.RLock()
        # Kept, because giving it back would roll back what a caller's session has begun on it.
        self._lent: PoolProxiedConnection | None = None
        self._only_thread = (
            threading.get_ident() if isinstance(engine.pool, SingletonThreadPool) else None
        )

    @override
    def acquire(self) -> DBAPIConnection:
        engine = require_engine(self._engine)
        if self._only_thread not in {None, threading.get_ident()}:
            raise DatabaseError(
                f"{engine.url!r} is an empty database of its own in every thread: use a file, or "
                "create_engine(url, poolclass=StaticPool, "
                "connect_args={'check_same_thread': False})"
            )
        self._in_use.acquire()
        try:
            if self._lent is None:
                self._lent = engine.raw_connection()
            return driver_connection(self._lent)
        except BaseException:
            self._in_use.release()
            raise

    @override
    def begin(self, connection: DBAPIConnection) -> None:
        """Do nothing: the driver itself begins with the first statement that writes."""

    @override
    def commit(self, connection: DBAPIConnection) -> None:
        connection.commit()

    @property
    @override
    def can_undo(self) -> bool:
        """False: a caller's session may have begun something on this connection."""
        return False

    @override
    def undo(self, connection: DBAPIConnection) -> None:
        """Do nothing."""

    @override
    def release(self, connection: DBAPIConnection) -> None:
        """Commit a single statement, for which nothing was begun, and let the next caller in."""
        try:
            connection.commit()
        finally:
            self._in_use.release()

    @override
    def give_back(self, connection: DBAPIConnection) -> None:
        """Let the next caller in, and leave open what a caller's session may have begun."""
        self._in_use.release()

    @override
    def discard(self, connection: DBAPIConnection) -> None:
        try:
            connection.rollback()
        finally:
            self._in_use.release()

    @override
    def read_any_text(self) -> None:
        with self._in_use:
            if self._lent is not None:
                read_any_text(driver_connection(self._lent))

    @override
    def close(self) -> None:
        """Give the connection back to the engine, which owns it."""
        if self._lent is not None:
            self._lent.close()
            self._lent = None

    @override
    def before_pool_closes(self, connection: DBAPIConnection) -> None:
        """Close it between two statements; the pool closes it once more, which is harmless.

        Python's sqlite3 ends the process when a connection is closed while another thread runs a
        statement on it (seen with CPython 3.12.1).
        """
        with self._in_use:
            connection.close()
