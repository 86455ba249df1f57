"""Statements on one connection."""

from collections.abc import Sequence
from typing import Final, cast, final

from sqlalchemy import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection

from cl_server_shared.database.connections import Connections
from cl_server_shared.database.statement import Row, Statement, Values, run


@final
class Transaction:
    """Statements that are committed together, or not at all."""

    def __init__(
        self, dialect: Dialect, connections: Connections, connection: DBAPIConnection
    ) -> None:
        self._dialect: Final = dialect
        self._connections: Final = connections
        self._connection: Final = connection

    def execute(self, statement: Statement, values: Values) -> Sequence[Row]:
        """Run *statement*; return its rows, as `run` does."""
        return run(self._dialect, self._connection, statement, values)

    def execute_each(self, statement: Statement, values: Sequence[Values]) -> bool:
        """Run *statement*, which returns no rows, with each of *values*, as fast as the driver can.

        False: not each of them changed a row, so all of the transaction so far was undone; or this
        connection's transaction is not ours alone, so nothing was done.
        """
        if not self._connections.can_undo:
            return False
        compiled = statement.compiled(self._dialect)
        bound = [compiled.arrange(each) for each in values]
        cursor = self._connection.cursor()
        try:
            # The types want one kind of parameters; each dialect has one, but not both the same.
            cursor.executemany(
                compiled.text,
                cast("list[dict[str, object]]", bound),  # or of tuples: see above
            )
            changed = cursor.rowcount
        finally:
            cursor.close()
        if changed == len(values):
            return True
        self._connections.undo(self._connection)
        return False
