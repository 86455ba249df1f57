"""The real database drivers, watched: somebody sees each statement before and after it is run."""

import sqlite3
from typing import Protocol, Self, override

import psycopg
from psycopg.abc import Params, Query
from psycopg.rows import TupleRow
from sqlalchemy import Engine, StaticPool, create_engine, make_url


class Watcher(Protocol):
    """Sees every statement, BEGIN and COMMIT included; what it raises, the driver raises."""

    def before(self, sql: str) -> None:
        """See a statement that the database has not got yet."""
        ...

    def after(self, sql: str) -> None:
        """See a statement that the database has carried out, all its rows read."""
        ...


def watched_engine(url: str, watcher: Watcher, *, pool_size: int = 1) -> Engine:
    """Build an engine for so many connections at a time: with one, a place not given back shows."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        watched = {"cursor_factory": _postgresql_cursor(watcher)}
        return create_engine(url, connect_args=watched, pool_size=pool_size, max_overflow=0)
    arguments = {"factory": _sqlite_connection(watcher), "check_same_thread": False}
    if parsed.database == ":memory:":
        return create_engine(url, connect_args=arguments, poolclass=StaticPool)
    return create_engine(url, connect_args=arguments)


def _sqlite_connection(watcher: Watcher) -> type[sqlite3.Connection]:
    class WatchedCursor(sqlite3.Cursor):
        _sql: str = ""

        @override
        def execute(self, sql: str, parameters: object = (), /) -> Self:
            self._sql = sql
            watcher.before(sql)
            super().execute(sql, parameters)  # pyright: ignore[reportArgumentType]  # its type is private
            if self.description is None:
                watcher.after(sql)
            return self

        @override
        def fetchall(self) -> list[object]:
            rows = super().fetchall()
            watcher.after(self._sql)
            return rows

    class WatchedConnection(sqlite3.Connection):
        @override
        def cursor(self, factory: object = None) -> WatchedCursor:
            return super().cursor(WatchedCursor)

        @override
        def commit(self) -> None:
            watcher.before("COMMIT")
            super().commit()
            watcher.after("COMMIT")

    return WatchedConnection


def _postgresql_cursor(watcher: Watcher) -> type[psycopg.Cursor[TupleRow]]:
    class WatchedCursor(psycopg.Cursor[TupleRow]):
        @override
        def execute(
            self,
            query: Query,
            params: Params | None = None,
            *,
            prepare: bool | None = None,
            binary: bool | None = None,
        ) -> Self:
            watcher.before(str(query))
            super().execute(query, params, prepare=prepare, binary=binary)  # pyright: ignore[reportArgumentType]  # overloaded for templates
            watcher.after(str(query))
            return self

    return WatchedCursor
