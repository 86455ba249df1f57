"""Engine and sessions, the schema and its upgrade, and the connections that statements run on."""

from cl_server_shared.database.changes.watcher import Answers, ChangeSubscription
from cl_server_shared.database.database import Database, Execute, database_of
from cl_server_shared.database.engine import (
    DatabaseOptions,
    PostgresOptions,
    make_engine,
    make_session_factory,
)
from cl_server_shared.database.migration import include_object, upgrade
from cl_server_shared.database.schema import JOBS, PROCESSING, QUEUED
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.database.transaction import Transaction

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
    "include_object",
    "make_engine",
    "make_session_factory",
    "upgrade",
]
