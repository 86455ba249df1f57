"""SQL text compiled once per dialect by SQLAlchemy, and bound without it."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, final

from sqlalchemy import ClauseElement, Dialect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.sql.compiler import SQLCompiler

from cl_server_shared.database.sqlite import is_locked, retry_while_locked
from cl_server_shared.errors import DatabaseError

type Values = Mapping[str, object]
type Row = tuple[object, ...]


type Execute = Callable[["Statement", Values], Sequence[Row]]
"""Runs one statement with its values; returns its rows, empty ones where it only changes some."""


@final
class Statement:
    """One named SQL statement for every dialect.

    Executing through Core costs more than SQLite itself, so its compiler runs once per dialect and
    its text goes straight to the driver.

    Args:
        name: what the statement does, for error messages.
        build: makes the SQL, with parameters like `:name`, or a Core construct, for a dialect's
            name (`sqlite` or `postgresql`).
        is_visible: whether those who wait for jobs are told when it has changed something.
    """

    def __init__(
        self, name: str, build: Callable[[str], ClauseElement | str], *, is_visible: bool = True
    ) -> None:
        self.name = name
        self._build = build
        self._is_visible = is_visible
        self._compiled: dict[type[Dialect], Compiled] = {}  # a class for each driver

    def compiled(self, dialect: Dialect) -> "Compiled":
        """Return the statement for this dialect's driver."""
        found = self._compiled.get(type(dialect))
        if found is None:
            built = _compile(self.name, self._build(dialect.name), dialect)
            found = built if self._is_visible else built._replace(is_change=False)
            self._compiled[type(dialect)] = found
        return found


class Compiled(NamedTuple):
    """A statement as a driver takes it.

    `arrange` makes of the values, by name, what the driver wants beside the `text`. If it
    `is_change`, its rows are rows that it changed, and those who wait for jobs are told. The
    driver's own word on whether it `gives_rows` costs more than they do: it describes every column.
    """

    name: str
    text: str
    arrange: Callable[[Values], tuple[object, ...] | Values]
    is_change: bool
    gives_rows: bool


def _compile(name: str, built: ClauseElement | str, dialect: Dialect) -> Compiled:
    construct = text(built) if isinstance(built, str) else built
    compiled = construct.compile(dialect=dialect)
    names = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
    sql = " ".join(str(compiled).split())
    is_change = sql.startswith(("INSERT", "UPDATE", "DELETE"))
    return Compiled(name, sql, _arranging(names), is_change, not is_change or " RETURNING " in sql)


def _arranging(names: list[str] | None) -> Callable[[Values], tuple[object, ...] | Values]:
    """Return what puts values in the order of *names*; None: the driver takes them by name."""
    if names is None:
        return lambda values: values
    if len(names) > 1:
        return itemgetter(*names)  # for twenty names a third of a comprehension's time
    return lambda values: tuple([values[name] for name in names])


_CHANGED: Final[tuple[Row, ...]] = ((),)


def run(connection: DBAPIConnection, statement: Compiled, values: Values) -> Sequence[Row]:
    """Run *statement* on a driver's connection; return its rows.

    Of one that only changes rows, and gives none, return an empty row for each that it changed:
    SQLite collects what is RETURNING in a table of its own first.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(statement.text, statement.arrange(values))
        return cursor.fetchall() if statement.gives_rows else _CHANGED * cursor.rowcount
    finally:
        cursor.close()  # one that is left open keeps SQLite's lock, even on a closed connection


def run_within(
    lock_timeout_seconds: float, connection: DBAPIConnection, statement: Compiled, values: Values
) -> Sequence[Row]:
    """Do what `run` does, again and again while another process holds SQLite's lock."""
    try:
        return run(connection, statement, values)
    except sqlite3.OperationalError as error:
        if not is_locked(error):
            raise
    return retry_while_locked(lock_timeout_seconds, run, connection, statement, values)


def failed(name: str, error: Exception) -> DatabaseError:
    """Return what to raise from *error*, with which the statement of that name failed."""
    return DatabaseError(f"{name}: the database failed: {error}")
