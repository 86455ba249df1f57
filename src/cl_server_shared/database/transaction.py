"""Statements in one transaction: one of our own, or a caller's."""

from collections.abc import Sequence
from typing import Final, cast, final

from sqlalchemy import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

from cl_server_shared.database.connections import Connections
from cl_server_shared.database.statement import Row, Statement, Values, failed, run


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


def execute_on(connection: Connection, statement: Statement, values: Values) -> Sequence[Row]:
    """Run *statement* in the transaction of a caller's connection; return its rows, as `run` does.

    Raises:
        DatabaseError: the database refused it or failed.
    """
    compiled = statement.compiled(connection.dialect)
    bound = compiled.arrange(values)
    try:
        result = connection.exec_driver_sql(
            compiled.text, bound if isinstance(bound, tuple) else dict(bound)
        )
        return [tuple(row) for row in result] if result.returns_rows else [()] * result.rowcount
    except SQLAlchemyError as error:  # also what the driver raised, wrapped
        raise failed(statement.name, error) from error
