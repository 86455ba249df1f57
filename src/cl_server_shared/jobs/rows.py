"""Between records and rows: pure, and distrustful of what other code may have written."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic import ValidationError

from cl_server_shared.jobs.column_values import (
    STATUSES,
    count,
    integer,
    json_object,
    output_text,
    readers,
    required_text,
    status_of,
    trusted_check,
)
from cl_server_shared.jobs.job_state import JobState, KnownJob
from cl_server_shared.models import JobDetails, JobEvent, JobRecord, JobStatus
from cl_server_shared.models.event import trusted_event
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.models.trusted import PROGRESS_MAX, is_trusted, trusted_object
from cl_server_shared.models.validation import reasons

_new_tuple: Final = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # its stub names no items
"""Makes a named tuple as `_make` does, at a third of its price."""


class JobRow(NamedTuple):
    """A row of `jobs`, as the database has it: JSON as text, and any value of any type.

    The columns that a job's life changes are its `state`; `state_of` makes sure of their types.
    """

    id: int
    job_id: str
    task_type: str
    params: str
    created_by: str | None
    priority: int
    created_at: int
    updated_at: int | None
    state: JobState


_HEAD: Final = len(JobRow._fields) - 1
ROW_COLUMNS: Final = (*JobRow._fields[:_HEAD], *JobState._fields)
"""What every statement that reads a `JobRow` selects, in this order."""

_RECORD_FIELDS: Final = (*JobRecord.model_fields,)
_STATE_READERS: Final = (*readers(JobState, JobState._fields, output=output_text).values(),)
_is_trusted_state: Final = trusted_check(JobState)
_DETAIL_READERS: Final = readers(
    JobDetails, [n for n in JobDetails.model_fields if n not in _RECORD_FIELDS], priority=integer
)


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


def row_of(found: tuple[object, ...]) -> JobRow:
    """Return what a statement found in `ROW_COLUMNS`."""
    return _new_tuple(JobRow, (*found[:_HEAD], _new_tuple(JobState, found[_HEAD:])))


def event_of_unannounced(row: UnannouncedRow) -> JobEvent:
    """Return what is told of a job's present state; total, as `state_of` is."""
    created_at = count(row.created_at)
    return trusted_event(
        job_id=str(row.job_id),
        event_type=status_of(row.status),
        timestamp=count(row.updated_at) or created_at,
        progress=min(count(row.progress), PROGRESS_MAX),
        task_type=str(row.task_type),
        seq=count(row.event_seq),
        created_at=created_at,
    )


def record_of(row: JobRow) -> JobRecord | Unreadable:
    """Read a row as a record, or tell why no record can hold it; total."""
    return _trusted_record(row) or _validated_record(row)


def _trusted_record(row: JobRow) -> JobRecord | None:
    """Read a row that is beyond doubt valid, at a fifth of what validating it costs; else None."""
    state = row.state
    params = trusted_object(row.params)
    output = None if state.output is None else trusted_object(state.output)
    if (
        params is None
        or (output is None and state.output is not None)
        or state.status not in STATUSES
        or not is_trusted(row.job_id, row.task_type, state.progress, state.error_message)
    ):
        return None
    values = _record_values(row)
    values["params"], values["output"] = params, output
    values["status"] = STATUSES[state.status]
    return _unpickled(JobRecord, values)


def _record_values(row: JobRow) -> dict[str, object]:
    """Return the columns of a record: the names and params, then the first of its state."""
    return dict(zip(_RECORD_FIELDS, (*row[1:4], *row.state[:4]), strict=True))


def _unpickled[R: JobRecord](kind: type[R], values: dict[str, object]) -> R:
    """Make a record as pickle does: a fifth of the price of `model_construct`."""
    record = object.__new__(kind)
    put = object.__setattr__  # what pydantic's `__setstate__` calls
    put(record, "__dict__", values)
    put(record, "__pydantic_fields_set__", set(values))
    put(record, "__pydantic_extra__", None)
    put(record, "__pydantic_private__", None)
    return record


def checkpoint_of(text: str | None) -> JsonObject | None:
    """Read a checkpoint; None where there is none, or other code wrote no JSON object."""
    try:
        return None if text is None else json_object("checkpoint", text)
    except (TypeError, ValueError, RecursionError):
        return None


def _validated_record(row: JobRow) -> JobRecord | Unreadable:
    state = row.state
    try:
        read = {
            "job_id": required_text("job_id", row.job_id),
            "task_type": required_text("task_type", row.task_type),
            "params": json_object("params", row.params) or {},
            "output": None if state.output is None else json_object("output", state.output),
            "status": JobStatus(state.status),
        }
        return JobRecord.model_validate(_record_values(row) | read)
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
        status=JobStatus.error,
        error_message=record.reason,
    )


def details_of(row: JobRow) -> JobDetails:
    """Read a row with all that is told of a job; total, as `readable` is."""
    columns = _columns(row)
    details = {name: read(columns[name]) for name, read in _DETAIL_READERS.items()}
    return _unpickled(JobDetails, {**readable(row).__dict__, **details})


def version_of(row: JobRow) -> JobVersion:
    """Return what tells whether the job of a row has changed."""
    columns = _columns(row)
    return JobVersion._make([columns[name] for name in JobVersion._fields])


def state_of(row: JobRow) -> JobState:
    """Read what a job's life changes; total, whatever other code wrote.

    An unknown status is final like `error`; a number that is none, or is negative, counts as 0.
    """
    state = row.state
    if _is_trusted_state(state):
        return _new_tuple(JobState, (STATUSES[state.status], *state[1:]))
    read = [reader(value) for reader, value in zip(_STATE_READERS, state, strict=True)]
    return _new_tuple(JobState, read)


def known_job(row: JobRow) -> KnownJob:
    """Read a row as the job that it shows; total, as `state_of` is."""
    return KnownJob(row.id, row.job_id, row.task_type, count(row.created_at), state_of(row))


def _columns(row: JobRow) -> dict[str, object]:
    return dict(zip(ROW_COLUMNS, (*row[:_HEAD], *row.state), strict=True))
