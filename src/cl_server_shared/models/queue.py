"""The jobs that wait to be claimed, live."""

from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    String,
    Table,
    cast,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.orm import Mapped, synonym
from sqlmodel import col

from cl_server_shared.models.base import Base
from cl_server_shared.models.job import Job, JobStatus

# Services' migrations make this table and check that it exists. Nobody reads or writes it.
_LEGACY_QUEUE_ENTRIES = Table(
    "queue_entries",
    Base.metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", String, nullable=False, unique=True, index=True),
    Column("priority", Integer, nullable=False),
    Column("enqueued_at", BigInteger, nullable=False, index=True),
)


def _waiting_jobs() -> FromClause:
    """Read the queued jobs, with `available_at` where the database has that column.

    A service may read this before the repository has completed the table. An unqualified name is
    looked up from the inside out: in the job's own row, then, where that lacks it, in `absent`.
    """
    job = Base.metadata.tables["jobs"]
    own = job.alias("own")
    absent = select(cast(null(), BigInteger).label("available_at")).subquery("absent")
    available_at: ColumnElement[int] = literal_column("available_at", BigInteger())
    run_at = select(available_at).where(own.c.id == job.c.id).correlate(job, absent)
    waiting = select(job, run_at.scalar_subquery().label("run_at")).join_from(job, absent, true())
    return waiting.where(col(Job.status) == JobStatus.queued).subquery("waiting")


_WAITING = _waiting_jobs()


class QueueEntry(Base):
    """A job that waits to be claimed: a query over `jobs`, so it cannot disagree with them.

    Read-only. `enqueued_at` and `run_at` are in milliseconds since the epoch (UTC): a job with a
    `run_at` is not claimed before. Claim order is
    `order_by(QueueEntry.priority.desc(), QueueEntry.id)`.
    """

    __table__: ClassVar[FromClause] = _WAITING
    if not TYPE_CHECKING:  # sqlalchemy declares this name as an instance variable
        __mapper_args__ = {
            "primary_key": [_WAITING.c.id],
            "include_properties": ["id", "job_id", "task_type", "priority", "created_at", "run_at"],
        }

    id: Mapped[int]
    job_id: Mapped[str]
    task_type: Mapped[str]
    priority: Mapped[int]
    run_at: Mapped[int | None]
    enqueued_at: Mapped[int] = synonym("created_at")
