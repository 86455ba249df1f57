"""Between records and rows: pure, and distrustful of what other code may have written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from pydantic import ValidationError

from cl_server_shared.jobs.attempts import AttemptLog
from cl_server_shared.jobs.checks import json_text, reasons
from cl_server_shared.jobs.lifecycle import FINAL, JobState
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobEvent, JobRecord, JobStatus
from cl_server_shared.models.job import storable_text
from cl_server_shared.models.json_object import JsonObject


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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that other code wrote and no record can hold."""

    reason: str


def new_row(record: JobRecord, *, now_ms: int, policy: JobPolicy) -> dict[str, object]:
    """Return the columns of a new row that follow from its record.

    Raises:
        InvalidJobError: `params` or `output` is too long.
    """
    max_bytes, output = policy.json_max_bytes, record.output
    return {
        "job_id": record.job_id,
        "task_type": record.task_type,
        "params": json_text("params", record.params, max_bytes),
        "status": record.status.value,
        "progress": record.progress,
        "output": None if output is None else json_text("output", output, max_bytes),
        "error_message": record.error_message,
        "created_at": now_ms,
        "completed_at": now_ms if record.status in FINAL else None,
    }


def event_of_new(row: Mapping[str, object]) -> JobEvent:
    """Return what is told of a job that was just added."""
    return JobEvent(
        job_id=str(row["job_id"]),
        event_type=JobStatus(str(row["status"])),
        timestamp=int(str(row["created_at"])),
        progress=int(str(row["progress"])),
        task_type=str(row["task_type"]),
        seq=1,
    )


def record_of(row: JobRow) -> JobRecord | Unreadable:
    """Read a row as a record, or tell why no record can hold it; total."""
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


def state_of(row: JobRow) -> JobState:
    """Read what a job's life changes; total, whatever other code wrote.

    An unknown status is final like `error`; a number that is none, or is negative, counts as 0.
    """
    output = _shown(row.output)
    return JobState(
        status=JobStatus(row.status) if row.status in JobStatus else JobStatus.error,
        progress=_count(row.progress),
        output=None if output == "null" else output,  # the original library wrote JSON's null
        error_message=_shown(row.error_message),
        started_at=row.started_at,
        completed_at=row.completed_at,
        available_at=row.available_at,
        lease_expires_at=row.lease_expires_at,
        worker_id=row.worker_id,
        claim_number=_count(row.claim_number),
        retry_count=_count(row.retry_count),
        max_retries=_count(row.max_retries),
        last_error=_shown(row.last_error),
        cancel_reason=_shown(row.cancel_reason),
        attempts=AttemptLog(row.attempts),
        event_seq=_count(row.event_seq),
    )


def _count(value: object) -> int:
    """Read a number that SQLite may have stored as anything."""
    return value if isinstance(value, int) and value >= 0 else 0


def _shown(value: object) -> str | None:
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
