"""The job: its states, what callers hold (`JobRecord`, `JobDetails`), and the row (`Job`).

A job's fields are defined here, and in `database.schema` those that only the repository has. Rows,
states, filters and statements derive their lists of them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, final, override

from pydantic import BeforeValidator, ConfigDict, StringConstraints
from sqlalchemy import JSON, BigInteger, CheckConstraint, Integer, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field

from cl_server_shared.models.base import Schema
from cl_server_shared.models.json_object import StorableObject
from cl_server_shared.models.trusted import NAME_MAX_LENGTH, PROGRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cl_server_shared.models.json_object import JsonInput


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
    """A job as callers hold it; checked in full when it is made, with copies of its mappings.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown field, a progress outside 0-100, an
            empty, over-long or control-character job_id or task_type, or JSON that cannot be kept.
    """

    if not TYPE_CHECKING:  # sqlmodel types this differently; a class keyword is dropped silently
        model_config = ConfigDict(extra="forbid")

    if TYPE_CHECKING:  # any mapping is accepted, and the attribute is a dict

        def __init__(  # noqa: PLR0913  # one for each field  # pyright: ignore[reportMissingSuperCall]  # no body
            self,
            *,
            job_id: str,
            task_type: str,
            params: Mapping[str, JsonInput] = ...,
            status: JobStatus = ...,
            progress: int = ...,
            output: Mapping[str, JsonInput] | None = ...,
            error_message: str | None = ...,
        ) -> None: ...

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

    if TYPE_CHECKING:  # see JobRecord

        def __init__(  # pyright: ignore[reportMissingSuperCall]  # no body
            self,
            *,
            status: JobStatus | None = ...,
            progress: int | None = ...,
            output: Mapping[str, JsonInput] | None = ...,
            error_message: str | None = ...,
        ) -> None: ...

    status: JobStatus | None = None
    progress: int | None = Field(default=None, ge=0, le=PROGRESS_MAX)
    output: StorableObject | None = None
    error_message: Message | None = None


class _StoredJob(JobRecord):
    """What the repository tells of a job beside its record; what `Job` and `JobDetails` share."""

    created_by: str | None = Field(default=None, sa_type=String, index=True)
    priority: int = Field(default=0, sa_type=_BIG)
    created_at: int = Field(sa_type=BigInteger, index=True)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    completed_at: int | None = Field(default=None, sa_type=BigInteger)
    updated_at: int | None = Field(default=None, sa_type=BigInteger)
    retry_count: int = 0
    max_retries: int = 3


class Job(_StoredJob, table=True):
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


class JobDetails(_StoredJob):
    """A job with all that the repository knows of it, as it was when it was read.

    Times are milliseconds since the epoch (UTC). `priority`: the highest is served first.
    `retry_count` tries of at most `max_retries` were made again so far. A queued job with an
    `available_at` is not claimed before. `worker_id` claimed it last, and its claim ends at
    `lease_expires_at` unless that is renewed. `cancel_reason` is why somebody cancelled it,
    `last_error` why its last try failed, also when a later one succeeded.
    """

    available_at: int | None = None
    worker_id: str | None = None
    lease_expires_at: int | None = None
    cancel_reason: str | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to add, with what its record does not say.

    Args:
        job: the job.
        created_by: whose job it is.
        priority: a signed 64-bit integer, 0 by default; the highest is served first.
        max_retries: tries after the first, 0 or more; `JOB_MAX_RETRIES` by default.
        run_at: the time (ms since the epoch, UTC) before which it is not claimed; only for a job
            of status `queued`, and a time that is past is now.
    """

    job: JobRecord
    created_by: str | None = None
    priority: int | None = None
    max_retries: int | None = None
    run_at: int | None = None
