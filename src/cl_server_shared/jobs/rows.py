"""Between records and rows: pure, and distrustful of what other code may have written."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from pydantic import ValidationError

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.attempts import AttemptLog
from cl_server_shared.jobs.lifecycle import FINAL, Change, JobState
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.json_object import JsonObject, encode_object
from cl_server_shared.protocols import JobRecordLike, JobRecordUpdateLike

INT64: Final = range(-(2**63), 2**63)


class JobRow(NamedTuple):
    """A row of `jobs` as every reading statement gives it, in this order; JSON as text."""

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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that other code wrote and no record can hold."""

    reason: str


def checked_record(job: JobRecordLike) -> JobRecord:
    """Return *job* as a record of ours, checked now: a record may have been changed since made.

    Raises:
        InvalidJobError: it cannot be stored.
    """
    try:
        return JobRecord.model_validate(
            {name: cast("object", getattr(job, name)) for name in JobRecord.model_fields}
        )
    except ValidationError as error:
        raise _invalid("job", error) from error


def checked_change(updates: JobRecordUpdateLike, max_bytes: int) -> Change:
    """Return what *updates* asks for, checked.

    Raises:
        InvalidJobError: it cannot be stored.
    """
    try:
        update = JobRecordUpdate.model_validate(
            {name: cast("object", getattr(updates, name)) for name in JobRecordUpdate.model_fields}
        )
    except ValidationError as error:
        raise _invalid("update", error) from error
    return Change(
        status=update.status,
        progress=update.progress,
        output=None if update.output is None else json_text("output", update.output, max_bytes),
        error_message=update.error_message,
    )


def checked_priority(priority: object) -> int:
    """Return the priority to store, 0 by default.

    Raises:
        InvalidJobError: it is no signed 64-bit integer.
    """
    value = 0 if priority is None else priority
    if not isinstance(value, int) or isinstance(value, bool) or value not in INT64:
        raise InvalidJobError(f"priority {value!r} must be an integer from -2**63 to 2**63 - 1")
    return value


def checked_creator(created_by: object) -> str | None:
    """Return the creator's name as it can be stored.

    Raises:
        InvalidJobError: it is no text, or holds NUL.
    """
    if created_by is None:
        return None
    if not isinstance(created_by, str) or "\0" in created_by:
        raise InvalidJobError(f"created_by {created_by!r} must be text without NUL, or None")
    return created_by


def checked_task_types(task_types: object) -> list[str]:
    """Return the task types to claim from, each once.

    Raises:
        InvalidJobError: it is no sequence of texts; a single text is one letter after the other.
    """
    if isinstance(task_types, str) or not isinstance(task_types, Iterable):
        raise InvalidJobError(f"task_types {task_types!r} must be a sequence, such as ['resize']")
    types = list(dict.fromkeys(task_types))
    for task_type in types:
        if not isinstance(task_type, str):
            raise InvalidJobError(f"task type {task_type!r} must be text")
    return cast("list[str]", types)  # each was checked


def new_row(record: JobRecord, *, now_ms: int, json_max_bytes: int) -> dict[str, object]:
    """Return the columns of a new row that follow from its record.

    Raises:
        InvalidJobError: `params` or `output` is too long.
    """
    output = record.output
    return {
        "job_id": record.job_id,
        "task_type": record.task_type,
        "params": json_text("params", record.params, json_max_bytes),
        "status": record.status.value,
        "progress": record.progress,
        "output": None if output is None else json_text("output", output, json_max_bytes),
        "error_message": record.error_message,
        "created_at": now_ms,
        "completed_at": now_ms if record.status in FINAL else None,
    }


def json_text(field: str, value: Mapping[str, object], max_bytes: int) -> str:
    """Write `params` or `output` as JSON text.

    Raises:
        InvalidJobError: the text is longer than *max_bytes*, or no JSON.
    """
    try:
        text = encode_object(value)
    except ValueError as error:
        raise InvalidJobError(f"{field} cannot be stored: {error}") from error
    if len(text) > max_bytes:  # the text is ASCII: a character is a byte
        raise InvalidJobError(
            f"{field} takes {len(text)} bytes of JSON, more than JOB_JSON_MAX_BYTES={max_bytes}: "
            "store it as a file of the job and put its path here"
        )
    return text


def record_of(row: JobRow) -> JobRecord | Unreadable:
    """Read a row as a record, or tell why no record can hold it."""
    try:
        return JobRecord(
            job_id=row.job_id,
            task_type=row.task_type,
            params=_json(row.params) or {},
            status=JobStatus(row.status),
            progress=row.progress,
            output=None if row.output is None else _json(row.output),
            error_message=row.error_message,
        )
    except (TypeError, ValueError) as error:
        reason = _reason(error) if isinstance(error, ValidationError) else str(error)
        return Unreadable(f"this row cannot be read: {reason}")


def record_of_unreadable(row: JobRow, reason: str) -> JobRecord:
    """Return what can be told of an unreadable row: `error`, no params, and the reason."""
    return JobRecord.model_construct(
        job_id=row.job_id,
        task_type=row.task_type,
        params={},
        status=JobStatus.error,
        progress=0,
        output=None,
        error_message=reason,
    )


def state_of(row: JobRow) -> JobState:
    """Read what a job's life changes; total, whatever other code wrote.

    An unknown status is final like `error`, and a progress that is no number counts as 0.
    """
    progress = cast("object", row.progress)  # SQLite stores what it is given
    return JobState(
        status=JobStatus(row.status) if row.status in JobStatus else JobStatus.error,
        progress=progress if isinstance(progress, int) else 0,
        output=None if row.output == "null" else row.output,  # the original wrote JSON's null
        error_message=row.error_message,
        started_at=row.started_at,
        completed_at=row.completed_at,
        available_at=row.available_at,
        lease_expires_at=row.lease_expires_at,
        worker_id=row.worker_id,
        claim_number=row.claim_number,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        last_error=row.last_error,
        cancel_reason=row.cancel_reason,
        attempts=AttemptLog(row.attempts),
        event_seq=row.event_seq,
    )


def _json(text: str) -> JsonObject | None:
    value = cast("object", json.loads(text))  # json.loads returns Any
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} where a JSON object belongs")
    return cast("JsonObject | None", value)  # the record checks the rest


def _invalid(what: str, error: ValidationError) -> InvalidJobError:
    return InvalidJobError(f"this {what} was refused: {_reason(error)}")


def _reason(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_context=False)
    )
