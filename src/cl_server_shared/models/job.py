"""The job: its states, what callers hold (`JobRecord`), and the row (`Job`)."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, final, override

from pydantic import BeforeValidator, ConfigDict, StringConstraints
from sqlalchemy import JSON, BigInteger, CheckConstraint, Integer, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field

from cl_server_shared.models.base import Schema
from cl_server_shared.models.json_object import StorableObject

NAME_MAX_LENGTH = 255
PROGRESS_MAX = 100

# SQLite counts rows in INTEGER only; PostgreSQL's INTEGER ends at 2**31.
_BIG = BigInteger().with_variant(Integer(), "sqlite")

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=NAME_MAX_LENGTH, pattern=r"\A\P{Cc}+\z")
]
"""1 to 255 characters, none of them a control character (Unicode category Cc)."""


def storable_text(text: str) -> str:
    """Make a message storable: a failure must not be lost because its text is odd.

    NUL becomes U+FFFD (PostgreSQL stores none); lone surrogates, as in names of undecodable files,
    become their escapes.
    """
    return text.encode(errors="backslashreplace").decode().replace("\0", "\ufffd")


def _storable(value: object) -> object:
    return storable_text(value) if isinstance(value, str) else value


Message = Annotated[str, BeforeValidator(_storable)]
"""Text for people: any text, with what no database can store written differently."""


class JobStatus(StrEnum):
    """The four words that a job's state is stored and announced as."""

    queued = "queued"
    processing = "processing"
    completed = "completed"
    error = "error"


@final
class _StatusWord(TypeDecorator[JobStatus]):
    """A status stored as its plain word, in a column of type VARCHAR."""

    impl = String
    cache_ok = True

    @override
    def process_bind_param(self, value: JobStatus | str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    @override
    def process_result_value(self, value: str | None, dialect: Dialect) -> JobStatus | None:
        """Read a word; one that other code invented is an `error` to every reader of ours."""
        if value is None:
            return None
        return JobStatus(value) if value in JobStatus else JobStatus.error


class JobRecord(Schema):
    """A job as callers hold it; checked in full when it is made.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown field, a progress outside 0-100, an
            empty, over-long or control-character job_id or task_type, or JSON that cannot be kept.
    """

    if not TYPE_CHECKING:  # sqlmodel types this differently; a class keyword is dropped silently
        model_config = ConfigDict(extra="forbid")

    job_id: Name = Field(sa_type=String, unique=True, index=True)
    task_type: Name = Field(sa_type=String)
    params: StorableObject = Field(default_factory=dict, sa_type=JSON, nullable=False)
    status: JobStatus = Field(default=JobStatus.queued, sa_type=_StatusWord, index=True)
    progress: int = Field(default=0, ge=0, le=PROGRESS_MAX)
    output: StorableObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    error_message: Message | None = Field(default=None, sa_type=Text)


class JobRecordUpdate(Schema):
    """What to change of a job; None means "leave as it is".

    Raises:
        pydantic.ValidationError: (a ValueError) as for `JobRecord`.
    """

    if not TYPE_CHECKING:  # see JobRecord
        model_config = ConfigDict(extra="forbid")

    status: JobStatus | None = None
    progress: int | None = Field(default=None, ge=0, le=PROGRESS_MAX)
    output: StorableObject | None = None
    error_message: Message | None = None


class Job(JobRecord, table=True):
    """The row of `jobs` as every service sees it: exactly the columns that deployments have.

    Times are milliseconds since the epoch (UTC). Like every SQLModel table, it does not validate:
    build a `JobRecord` and hand it to the repository. Columns that only the repository needs are
    in `database.JOBS`, not here, so that databases migrated by services stay readable.
    """

    if not TYPE_CHECKING:  # sqlmodel declares this name as a declared_attr
        __tablename__ = "jobs"
        __table_args__ = (
            CheckConstraint("progress BETWEEN 0 AND 100", name="ck_jobs_progress_range"),
        )

    id: int | None = Field(default=None, primary_key=True, sa_type=_BIG)
    priority: int = Field(default=0, sa_type=_BIG)
    created_at: int = Field(sa_type=BigInteger, index=True)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    completed_at: int | None = Field(default=None, sa_type=BigInteger)
    updated_at: int | None = Field(default=None, sa_type=BigInteger)
    retry_count: int = 0
    max_retries: int = 3
    created_by: str | None = Field(default=None, sa_type=String, index=True)
