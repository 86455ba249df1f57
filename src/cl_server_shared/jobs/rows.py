"""Between records and rows: pure, and distrustful of what other code may have written."""

import json
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import from_json

from cl_server_shared.jobs.job_state import FINAL, JobState
from cl_server_shared.jobs.validation import (
    Submission,
    is_percentage,
    is_trusted_message,
    is_trusted_name,
)
from cl_server_shared.models import JobEvent, JobRecord, JobStatus
from cl_server_shared.models.job import PROGRESS_MAX, storable_text
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.models.validation import reasons

_STATUSES: Final = {status.value: status for status in JobStatus}
_FIELDS: Final = frozenset(JobRecord.model_fields)


class JobRow(NamedTuple):
    """A row of `jobs` as every reading statement gives it, in this order; JSON as text."""

    id: int
    job_id: str
    task_type: str
    params: str
    status: str
    progress: int
    output: str | None
    error_message: str | None
    started_at: int | None
    completed_at: int | None
    available_at: int | None
    lease_expires_at: int | None
    worker_id: str | None
    claim_number: int
    retry_count: int
    max_retries: int
    last_error: str | None
    cancel_reason: str | None
    attempts: str | None
    event_seq: int
    created_at: int
    priority: int


class UnannouncedRow(NamedTuple):
    """What is told of a job, read from its row in this order."""

    job_id: str
    task_type: str
    status: str
    progress: int
    event_seq: int
    created_at: int
    updated_at: int | None


class JobVersion(NamedTuple):
    """What of a row tells whether its job has changed; its columns, read without their values."""

    job_id: str
    id: int
    created_at: int
    claim_number: int
    event_seq: int
    status: str
    progress: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that other code wrote and no record can hold."""

    reason: str


def new_row(new: Submission, *, now_ms: int) -> dict[str, object]:
    """Return the columns of a new row that follow from what was submitted."""
    return {
        **new._asdict(),
        "status": str(new.status),
        "created_at": now_ms,
        "completed_at": now_ms if new.status in FINAL else None,
    }


def event_of_new(new: Submission, *, now_ms: int) -> JobEvent:
    """Return what is told of a job that was just added."""
    return JobEvent(
        job_id=new.job_id,
        event_type=new.status,
        timestamp=now_ms,
        progress=new.progress,
        task_type=new.task_type,
        seq=1,
        created_at=now_ms,
    )


def event_of_unannounced(row: UnannouncedRow) -> JobEvent:
    """Return what is told of a job's present state; total, as `state_of` is."""
    created_at = _count(row.created_at)
    return JobEvent(
        job_id=str(row.job_id),
        event_type=_status(row.status),
        timestamp=_count(row.updated_at) or created_at,
        progress=min(_count(row.progress), PROGRESS_MAX),
        task_type=str(row.task_type),
        seq=_count(row.event_seq),
        created_at=created_at,
    )


def record_of(row: JobRow) -> JobRecord | Unreadable:
    """Read a row as a record, or tell why no record can hold it; total."""
    return _trusted_record(row) or _validated_record(row)


def _trusted_record(row: JobRow) -> JobRecord | None:
    """Read a row that is beyond doubt valid, at a fifth of what validating it costs; else None."""
    params = _trusted_object(row.params)
    output = None if row.output is None else _trusted_object(row.output)
    if (
        params is None
        or (output is None and row.output is not None)
        or row.status not in _STATUSES
        or not _is_trusted(row)
    ):
        return None
    return _unpickled(
        {
            "job_id": row.job_id,
            "task_type": row.task_type,
            "params": params,
            "status": _STATUSES[row.status],
            "progress": row.progress,
            "output": output,
            "error_message": row.error_message,
        }
    )


def _unpickled(values: dict[str, object]) -> JobRecord:
    """Make a record as pickle does: a quarter of the price of `model_construct`."""
    record = object.__new__(JobRecord)
    record.__setstate__(
        {
            "__dict__": values,
            "__pydantic_fields_set__": set(_FIELDS),
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return record


def _is_trusted(row: JobRow) -> bool:
    return (
        is_trusted_name(row.job_id)
        and is_trusted_name(row.task_type)
        and is_percentage(row.progress)
        and is_trusted_message(row.error_message)
    )


def _trusted_object(text: object) -> JsonObject | None:
    """Read an object from JSON in ASCII, as this library writes it; None if it is anything else."""
    if not isinstance(text, str) or not text.isascii() or "\\u0000" in text:
        return None
    try:
        found = cast("object", from_json(text, allow_inf_nan=False))  # from_json returns Any
    except ValueError:
        return None
    return cast("JsonObject", found) if isinstance(found, dict) else None


def _validated_record(row: JobRow) -> JobRecord | Unreadable:
    try:
        return JobRecord(
            job_id=_text("job_id", row.job_id),
            task_type=_text("task_type", row.task_type),
            params=_json("params", row.params) or {},
            status=JobStatus(row.status),
            progress=row.progress,
            output=None if row.output is None else _json("output", row.output),
            error_message=row.error_message,
        )
    except ValidationError as error:
        return Unreadable(f"this row cannot be read: {reasons(error)}")
    except (TypeError, ValueError, RecursionError) as error:
        return Unreadable(f"this row cannot be read: {error}")


def readable(row: JobRow) -> JobRecord:
    """Read a row as a record; an unreadable one as an `error` without params that tells why."""
    record = record_of(row)
    if isinstance(record, JobRecord):
        return record
    return JobRecord.model_construct(
        job_id=str(row.job_id),
        task_type=str(row.task_type),
        params={},
        status=JobStatus.error,
        progress=0,
        output=None,
        error_message=record.reason,
    )


def version_of(row: JobRow) -> JobVersion:
    """Return what tells whether the job of a row has changed."""
    return JobVersion(
        row.job_id,
        row.id,
        row.created_at,
        row.claim_number,
        row.event_seq,
        row.status,
        row.progress,
    )


def state_of(row: JobRow) -> JobState:
    """Read what a job's life changes; total, whatever other code wrote.

    An unknown status is final like `error`; a number that is none, or is negative, counts as 0.
    """
    output = _text_or_none(row.output)
    return JobState(
        status=_status(row.status),
        progress=_count(row.progress),
        output=None if output == "null" else output,  # the original library wrote JSON's null
        error_message=_text_or_none(row.error_message),
        started_at=row.started_at,
        completed_at=row.completed_at,
        available_at=row.available_at,
        lease_expires_at=row.lease_expires_at,
        worker_id=row.worker_id,
        claim_number=_count(row.claim_number),
        retry_count=_count(row.retry_count),
        max_retries=_count(row.max_retries),
        last_error=_text_or_none(row.last_error),
        cancel_reason=_text_or_none(row.cancel_reason),
        attempts=_text_or_none(row.attempts),
        event_seq=_count(row.event_seq),
    )


def added_at(row: JobRow) -> int:
    """Return when a job was added, in milliseconds since the epoch."""
    return _count(row.created_at)


def _status(value: str) -> JobStatus:
    return _STATUSES.get(value, JobStatus.error)


def _count(value: object) -> int:
    """Read a number that SQLite may have stored as anything."""
    return value if isinstance(value, int) and value >= 0 else 0


def _text_or_none(value: object) -> str | None:
    """Read a text that SQLite may have stored as anything, so that it can be stored again."""
    return None if value is None else storable_text(str(value))


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{field} is {type(value).__name__}, not text")
    return value


def _json(field: str, value: object) -> JsonObject | None:
    text = _text(field, value)
    text.encode()  # raises where the stored bytes are no UTF-8
    found = cast("object", json.loads(text))  # json.loads returns Any
    if found is not None and not isinstance(found, dict):
        raise TypeError(f"{field} is a JSON {type(found).__name__}, not an object")
    return cast("JsonObject | None", found)  # the record checks the rest
