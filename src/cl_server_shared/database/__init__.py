"""The database: engine and sessions, the schema and its upgrade, statements and transactions.

`database_of(engine, options)` gives the one `Database` of an engine. It runs each `Statement` on a
connection of its own (`connections`, `private_connections`, `shared_connection`); threads that
write to SQLite share commits (`group_commit`), and its `hub` wakes who waits for a change
(`changes`).
"""

from cl_server_shared.database.changes.watcher import Answers, ChangeSubscription
from cl_server_shared.database.database import Database
from cl_server_shared.database.engine import (
    DatabaseOptions,
    PostgresOptions,
    make_engine,
    make_session_factory,
)
from cl_server_shared.database.migration import include_object, upgrade
from cl_server_shared.database.registry import database_of
from cl_server_shared.database.schema import JOBS, PROCESSING, QUEUED
from cl_server_shared.database.statement import Execute, Row, Statement, Values
from cl_server_shared.database.transaction import Transaction, execute_on

__all__ = [
    "JOBS",
    "PROCESSING",
    "QUEUED",
    "Answers",
    "ChangeSubscription",
    "Database",
    "DatabaseOptions",
    "Execute",
    "PostgresOptions",
    "Row",
    "Statement",
    "Transaction",
    "Values",
    "database_of",
    "execute_on",
    "include_object",
    "make_engine",
    "make_session_factory",
    "upgrade",
]
