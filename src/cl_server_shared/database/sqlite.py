"""What SQLite's connections need: their modes, its locks, and text that is none."""

import sqlite3
import time
from collections.abc import Callable
from typing import Final, cast

from sqlalchemy.engine.interfaces import DBAPIConnection

from cl_server_shared.database.engine import DatabaseOptions

_PRIMARY_CODE: Final = 0xFF  # https://www.sqlite.org/rescode.html#primary_result_codes
# While it waits for a lock, SQLite tries after 1, 2, 5, 10 ... 100 ms: who has waited long tries
# seldom, and others overtake. So its wait is ended early and begun anew (`retry_while_locked`).
_LONGEST_PAUSE_MS: Final = 4


def is_locked(error: BaseException | None) -> bool:
    """Tell whether a statement failed only because another connection is writing."""
    # Absent where Python itself, or a wrapper of the driver, raised it.
    code = cast("int", getattr(error, "sqlite_errorcode", 0))  # getattr gives Any
    return code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def retry_while_locked[*Ts, T](within_seconds: float, act: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call *act*, again and again while another process holds SQLite's lock.

    Raises:
        sqlite3.OperationalError: it still does when the time is up, or something else is wrong.
    """
    deadline = 0.0
    while True:
        try:
            return act(*args)
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            deadline = deadline or now + within_seconds
            if not is_locked(error) or now >= deadline:
                raise


def execute(connection: DBAPIConnection, sql: str) -> None:
    """Run a statement without values and rows."""
    cursor = connection.cursor()
    cursor.execute(sql)
    cursor.close()


def read_any_text(connection: DBAPIConnection) -> None:
    """Read text that is no UTF-8 too; what is none of it becomes lone surrogates."""
    if isinstance(connection, sqlite3.Connection):
        connection.text_factory = _any_text


def _any_text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")


def set_up(connection: DBAPIConnection, options: DatabaseOptions) -> None:
    """Make a new connection do as *options* say.

    Raises:
        sqlite3.OperationalError: the database stayed locked.
    """
    timeout_ms = int(options.lock_timeout_seconds * 1000)
    execute(connection, f"PRAGMA busy_timeout={timeout_ms}")
    if options.sqlite_wal:
        _enter_wal(connection, options)
    # Reads the file, and so waits for a lock where there is no WAL.
    execute(connection, f"PRAGMA synchronous={options.sqlite_synchronous}")
    execute(connection, f"PRAGMA busy_timeout={min(_LONGEST_PAUSE_MS, timeout_ms)}")


def _enter_wal(connection: DBAPIConnection, options: DatabaseOptions) -> None:
    """Switch the database file to WAL, once for all its connections.

    SQLite does not wait for the lock that the switch needs, so we do.
    """
    deadline = time.monotonic() + options.lock_timeout_seconds
    while True:
        try:
            execute(connection, "PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
