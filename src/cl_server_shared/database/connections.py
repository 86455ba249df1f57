"""The connections that statements run on: what `Database` asks of them."""

from typing import Protocol

from sqlalchemy.engine.interfaces import DBAPIConnection


class Connections(Protocol):
    """Lends connections, one caller each; every one comes back exactly once."""

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
