"""Engine and sessions, the schema and its upgrade, and the connections that statements run on."""

from cl_server_shared.database.database import Database, Execute, database_of
from cl_server_shared.database.engine import make_engine, make_session_factory
from cl_server_shared.database.options import DatabaseOptions, PostgresOptions
from cl_server_shared.database.schema import JOBS, PROCESSING, QUEUED, include_object, upgrade
from cl_server_shared.database.statement import Row, Statement, Values
from cl_server_shared.database.transaction import Transaction
from cl_server_shared.database.watching import Answers, Waiter

__all__ = [
    "JOBS",
    "PROCESSING",
    "QUEUED",
    "Answers",
    "Database",
    "DatabaseOptions",
    "Execute",
    "PostgresOptions",
    "Row",
    "Statement",
    "Transaction",
    "Values",
    "Waiter",
    "database_of",
    "include_object",
    "make_engine",
    "make_session_factory",
    "upgrade",
]
