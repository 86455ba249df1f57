"""The waiting line, live."""

from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import BigInteger, Column, FromClause, Integer, String, Table, select
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

_WAITING = select(Job).where(col(Job.status) == JobStatus.queued).subquery("waiting")


class QueueEntry(Base):
    """A job that waits to be claimed: a query over `jobs`, so it cannot disagree with them.

    Read-only. `enqueued_at` is in milliseconds since the epoch (UTC). Claim order is
    `order_by(QueueEntry.priority.desc(), QueueEntry.id)`.
    """

    __table__: ClassVar[FromClause] = _WAITING
    if not TYPE_CHECKING:  # sqlalchemy declares this name as an instance variable
        __mapper_args__ = {
            "primary_key": [_WAITING.c.id],
            "include_properties": ["id", "job_id", "task_type", "priority", "created_at"],
        }

    id: Mapped[int]
    job_id: Mapped[str]
    task_type: Mapped[str]
    priority: Mapped[int]
    enqueued_at: Mapped[int] = synonym("created_at")
