"""Connections that callers' sessions never see: of a SQLite file, and of PostgreSQL."""

from collections import deque
from queue import SimpleQueue
from typing import Final, final, override
from weakref import ref

from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool, QueuePool

from cl_server_shared.database.connections import Connections
from cl_server_shared.database.engine import DatabaseOptions, driver_connection, require_engine
from cl_server_shared.database.sqlite import execute, read_any_text, retry_while_locked, set_up


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
        self._permits: Final = None if most is None else _tokens(most)
        self._reads_any_text = False
        self._keeps_idle = not isinstance(engine.pool, NullPool)

    @override
    def acquire(self) -> DBAPIConnection:
        if self._permits is not None:
            self._permits.get()
        try:
            return self._idle.pop()
        except IndexError:
            return self._open_or_return_permit()

    @override
    def begin(self, connection: DBAPIConnection) -> None:
        # IMMEDIATE: a transaction that reads first could not become a writing one any more once
        # another process has written (https://www.sqlite.org/lang_transaction.html, 2.2).
        is_sqlite = require_engine(self._engine).dialect.name == "sqlite"
        begin = "BEGIN IMMEDIATE" if is_sqlite else "BEGIN"
        retry_while_locked(self._options.lock_timeout_seconds, execute, connection, begin)

    @override
    def commit(self, connection: DBAPIConnection) -> None:
        retry_while_locked(self._options.lock_timeout_seconds, execute, connection, "COMMIT")

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
        self._return_permit()

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
            self._return_permit()

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

    def _open_or_return_permit(self) -> DBAPIConnection:
        try:
            return self._open()
        except BaseException:
            self._return_permit()
            raise

    def _return_permit(self) -> None:
        if self._permits is not None:
            self._permits.put(None)

    def _open(self) -> DBAPIConnection:
        engine = require_engine(self._engine)
        lent = engine.raw_connection()
        connection = driver_connection(lent)
        lent.detach()
        try:
            self._set_up(engine, connection)
        except BaseException:
            connection.close()  # nobody else knows of it
            raise
        return connection

    def _set_up(self, engine: Engine, connection: DBAPIConnection) -> None:
        engine.dialect.set_isolation_level(connection, "AUTOCOMMIT")
        if engine.dialect.name == "sqlite":
            set_up(connection, self._options)
        if self._reads_any_text:
            read_any_text(connection)


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
