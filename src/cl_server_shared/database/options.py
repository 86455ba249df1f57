"""How the library uses a database: what the settings say, as values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How the library uses a database; see the settings of the same names."""

    may_upgrade: bool = True
    sqlite_wal: bool = True
    sqlite_synchronous: Literal["OFF", "NORMAL", "FULL"] = "NORMAL"
    lock_timeout_seconds: float = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How a PostgreSQL is used.

    Args:
        pool_size: how many connections a process holds at most, 1 or more.
        lock_timeout_seconds: how long a statement waits for a row's lock, 0: for ever.
        statement_timeout_seconds: how long a statement may take, 0: for ever.
        has_transaction_pooling: whether each transaction may run on another server connection
            (PgBouncer's `pool_mode = transaction`): then no statement is prepared, since the next
            connection would not know it, and no timeout is set, since it would stay there.
    """

    pool_size: int = 15
    lock_timeout_seconds: float = 0
    statement_timeout_seconds: float = 0
    has_transaction_pooling: bool = False
