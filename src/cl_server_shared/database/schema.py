"""The tables and indexes as the repository needs them.

Services migrate `jobs` with scripts of their own, so the mapped `Job` keeps exactly the columns
they know. What only the repository needs is added here, as columns that are nullable or defaulted:
older code goes on reading and writing the same table.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    literal_column,
    text,
)

from cl_server_shared.models import Base

# Literals, not parameters: a planner uses a partial index only where it can prove that the
# statement's condition implies the index's (https://www.sqlite.org/partialindex.html, section 3).
QUEUED: Final[ColumnElement[str]] = literal_column("'queued'", String())
PROCESSING: Final[ColumnElement[str]] = literal_column("'processing'", String())

MAPPED_JOBS = Base.metadata.tables["jobs"]
QUEUE_ENTRIES = Base.metadata.tables["queue_entries"]


def _jobs_table() -> Table:
    jobs = MAPPED_JOBS.to_metadata(MetaData())
    for column in (
        Column("available_at", BigInteger),
        Column("claim_number", BigInteger, nullable=False, server_default=text("0")),
        Column("lease_expires_at", BigInteger),
        Column("worker_id", String),
        Column("last_error", Text),
        Column("cancel_reason", Text),
        Column("attempts", Text),
        Column("event_seq", BigInteger, nullable=False, server_default=text("0")),
        Column("unannounced_at", BigInteger),
        Column("checkpoint", Text),
    ):
        jobs.append_column(column)
    return jobs


JOBS: Final = _jobs_table()
"""`jobs` with the columns of the mapped `Job` and the repository's own."""

VERSION_TABLE: Final = Table(
    "cl_server_shared_schema", MetaData(), Column("version", BigInteger, primary_key=True)
)
OWN_COLUMNS: Final = tuple(c for c in JOBS.columns if c.name not in MAPPED_JOBS.columns)

_waiting = and_(JOBS.c.status == QUEUED, JOBS.c.available_at.is_(None))
_delayed = and_(JOBS.c.status == QUEUED, JOBS.c.available_at.is_not(None))
_unannounced = JOBS.c.unannounced_at.is_not(None)
_leased = and_(JOBS.c.status == PROCESSING, JOBS.c.lease_expires_at.is_not(None))

# The status is a part of each index too: without statistics SQLite would rather use a service's own
# index on the status alone, and read every waiting job.
OWN_INDEXES: Final = (
    Index(
        "ix_jobs_waiting",
        JOBS.c.task_type,
        JOBS.c.priority.desc(),
        JOBS.c.id,
        sqlite_where=_waiting,
        postgresql_where=_waiting,
    ),
    Index(
        "ix_jobs_delayed",
        JOBS.c.status,
        JOBS.c.available_at,
        sqlite_where=_delayed,
        postgresql_where=_delayed,
    ),
    Index(
        "ix_jobs_leased",
        JOBS.c.status,
        JOBS.c.lease_expires_at,
        sqlite_where=_leased,
        postgresql_where=_leased,
    ),
    Index(
        "ix_jobs_unannounced",
        JOBS.c.unannounced_at,
        sqlite_where=_unannounced,
        postgresql_where=_unannounced,
    ),
)
