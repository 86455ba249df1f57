"""The connections that statements run on."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final, Protocol, final, override
from weakref import ref

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import (
    NullPool,
    PoolProxiedConnection,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from cl_server_shared.database.options import DatabaseOptions
from cl_server_shared.database.sqlite import execute, patiently, read_any_text, set_up
from cl_server_shared.errors import DatabaseError


class Connections(Protocol):
    """Lends connections, one caller each; every one comes back exactly once."""

    def patiently[T](self, act: Callable[[], T]) -> T:
        """Do *act*, again and again while another process holds SQLite's lock.

        Raises:
            sqlite3.OperationalError: it still does when the time is up.
        """
        ...

    def acquire(self) -> DBAPIConnection:
        """Lend a connection, waiting for one where there is a limit."""
        ...

    def begin(self, connection: DBAPIConnection) -> None:
        """Begin a transaction of several statements on a lent connection, able to write."""
        ...

    def commit(self, connection: DBAPIConnection) -> None:
        """Commit what `begin` began."""
        ...

    @property
    def can_undo(self) -> bool:
        """Tell whether a transaction holds nothing but what was done since `begin`."""
        ...

    def undo(self, connection: DBAPIConnection) -> None:
        """Undo what was done since `begin`, and begin again; only where `can_undo`."""
        ...

    def release(self, connection: DBAPIConnection) -> None:
        """Take back a connection whose statements went well and are committed."""
        ...

    def give_back(self, connection: DBAPIConnection) -> None:
        """Take back a connection that was only read from."""
        ...

    def discard(self, connection: DBAPIConnection) -> None:
        """Take back a connection that failed, and undo what it began."""
        ...

    def read_any_text(self) -> None:
        """From now on read text that is no UTF-8, instead of failing on its row (SQLite)."""
        ...

    def close(self) -> None:
        """Close what is not lent."""
        ...

    def before_pool_closes(self, connection: DBAPIConnection) -> None:
        """Let the pool close a connection of its own."""
        ...


def connections_for(engine: Engine, options: DatabaseOptions) -> Connections:
    """Choose how this engine's connections can be used."""
    if isinstance(engine.pool, StaticPool | SingletonThreadPool):
        return SharedConnection(engine)
    return PrivateConnections(engine, options)


@final
class PrivateConnections(Connections):
    """Connections that the engine's pool made and gave up, in autocommit mode.

    They obey the engine's events and arguments, and there are at most as many at a time as the pool
    allows; but a caller's sessions never see them, since autocommit and `synchronous` are theirs
    alone. A pool check-out for each statement would cost a tenth of SQLite's own time.
    """

    def __init__(self, engine: Engine, options: DatabaseOptions) -> None:
        self._engine = ref(engine)
        self._options = options
        self._idle: deque[DBAPIConnection] = deque()
        most = _most_connections(engine)
        self._places: Final = None if most is None else _tokens(most)
        self._reads_any_text = False
        self._keeps_idle = not isinstance(engine.pool, NullPool)

    @override
    def patiently[T](self, act: Callable[[], T]) -> T:
        return patiently(act, self._options.lock_timeout_seconds)

    @override
    def acquire(self) -> DBAPIConnection:
        if self._places is not None:
            self._places.get()
        try:
            return self._idle.pop()
        except IndexError:
            return self._open_or_give_up_place()

    @override
    def begin(self, connection: DBAPIConnection) -> None:
        # IMMEDIATE: a transaction that reads first could not become a writing one any more once
        # another process has written (https://www.sqlite.org/lang_transaction.html, 2.2).
        is_sqlite = living(self._engine).dialect.name == "sqlite"
        begin = "BEGIN IMMEDIATE" if is_sqlite else "BEGIN"
        self.patiently(partial(execute, connection, begin))

    @override
    def commit(self, connection: DBAPIConnection) -> None:
        self.patiently(partial(execute, connection, "COMMIT"))

    @property
    @override
    def can_undo(self) -> bool:
        return True

    @override
    def undo(self, connection: DBAPIConnection) -> None:
        execute(connection, "ROLLBACK")
        self.begin(connection)

    @override
    def release(self, connection: DBAPIConnection) -> None:
        if self._keeps_idle:
            self._idle.append(connection)
        else:
            connection.close()
        self._give_up_place()

    @override
    def give_back(self, connection: DBAPIConnection) -> None:
        self.release(connection)

    @override
    def discard(self, connection: DBAPIConnection) -> None:
        """Close it, and the idle ones too: what broke one, such as a restart, broke them all."""
        try:
            connection.close()
            self.close()
        finally:
            self._give_up_place()

    @override
    def read_any_text(self) -> None:
        self._reads_any_text = True
        self.close()

    @override
    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @override
    def before_pool_closes(self, connection: DBAPIConnection) -> None:
        """Do nothing: what is lent here is none of the pool's."""

    def _open_or_give_up_place(self) -> DBAPIConnection:
        try:
            return self._open()
        except BaseException:
            self._give_up_place()
            raise

    def _give_up_place(self) -> None:
        if self._places is not None:
            self._places.put(None)

    def _open(self) -> DBAPIConnection:
        engine = living(self._engine)
        lent = engine.raw_connection()
        connection = _raw(lent)
        lent.detach()
        engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
        if engine.dialect.name == "sqlite":
            set_up(connection, self._options)
        if self._reads_any_text:
            read_any_text(connection)
        return connection


@final
class SharedConnection(Connections):
    """The single connection of an in-memory database, which callers' sessions use too.

    Raises:
        DatabaseError: from `acquire`, when the pool gives each thread a database of its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = ref(engine)
        self._turn = threading.RLock()
        # Kept, because giving it back would roll back what a caller's session has begun on it.
        self._lent: PoolProxiedConnection | None = None
        self._only_thread = (
            threading.get_ident() if isinstance(engine.pool, SingletonThreadPool) else None
        )

    @override
    def patiently[T](self, act: Callable[[], T]) -> T:
        """Do *act*: no other process can hold a lock in this one's memory."""
        return act()

    @override
    def acquire(self) -> DBAPIConnection:
        engine = living(self._engine)
        if self._only_thread not in {None, threading.get_ident()}:
            raise DatabaseError(
                f"{engine.url!r} is an empty database of its own in every thread: use a file, or "
                "create_engine(url, poolclass=StaticPool, "
                "connect_args={'check_same_thread': False})"
            )
        self._turn.acquire()
        try:
            if self._lent is None:
                self._lent = engine.raw_connection()
            return _raw(self._lent)
        except BaseException:
            self._turn.release()
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
            self._turn.release()

    @override
    def give_back(self, connection: DBAPIConnection) -> None:
        """Let the next caller in, and leave open what a caller's session may have begun."""
        self._turn.release()

    @override
    def discard(self, connection: DBAPIConnection) -> None:
        try:
            connection.rollback()
        finally:
            self._turn.release()

    @override
    def read_any_text(self) -> None:
        with self._turn:
            if self._lent is not None:
                read_any_text(_raw(self._lent))

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
        with self._turn:
            connection.close()


def open_beside(engine: Engine) -> DBAPIConnection:
    """Open a connection in autocommit mode that is none of the pool's, nor counted by it.

    It is made as the pool makes its own, with the engine's events and arguments.
    """
    lent = engine.pool.recreate().connect()
    connection = _raw(lent)
    lent.detach()
    engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
    return connection


def living(engine: ref[Engine]) -> Engine:
    """Return the engine, which only its owner keeps alive.

    Raises:
        DatabaseError: its owner let it go.
    """
    found = engine()
    if found is None:
        raise DatabaseError("the engine of this repository is gone: keep a reference to it")
    return found


def _raw(lent: PoolProxiedConnection) -> DBAPIConnection:
    if lent.dbapi_connection is None:
        raise DatabaseError("the engine's pool lent no connection")
    return lent.dbapi_connection


def _tokens(number: int) -> SimpleQueue[None]:
    """Return what counts as a semaphore does, whose Python would cost each statement 1 us."""
    tokens = SimpleQueue[None]()
    for _ in range(number):
        tokens.put(None)
    return tokens


def _most_connections(engine: Engine) -> int | None:
    pool = engine.pool
    if engine.dialect.name == "sqlite" or not isinstance(pool, QueuePool):
        return None
    overflow = pool._max_overflow  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # not told otherwise
    return None if overflow < 0 or pool.size() == 0 else pool.size() + overflow
