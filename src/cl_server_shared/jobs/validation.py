"""What callers bring, checked before the database sees it."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from pydantic import ValidationError

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.job_state import Change
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.base import Schema
from cl_server_shared.models.job import NAME_MAX_LENGTH, PROGRESS_MAX
from cl_server_shared.models.json_object import encode_object, trusted_json
from cl_server_shared.models.validation import reasons
from cl_server_shared.protocols.jobs import JobRecordLike, JobRecordUpdateLike


class Submission(NamedTuple):
    """A new job: a valid record, its `params` and its `output` as JSON text."""

    record: JobRecord
    params: str
    output: str | None


def checked_submission(job: JobRecordLike, policy: JobPolicy) -> Submission:
    """Return *job* as it will be stored, checked now: a record may have been changed since made.

    Raises:
        InvalidJobError: it is no record, or cannot be stored.
    """
    trusted = _trusted_submission(job) if type(job) is JobRecord else None
    new = trusted or _validated_submission(job)
    checked_length("params", new.params, policy.json_max_bytes)
    checked_length("output", new.output or "", policy.json_max_bytes)
    return new


def _trusted_submission(job: JobRecord) -> Submission | None:
    """Take a record that is beyond doubt valid, at a fifth of what validating it costs."""
    given = job.output
    params, output = trusted_json(job.params), None if given is None else trusted_json(given)
    if (
        params is None
        or (output is None and given is not None)
        or type(job.status) is not JobStatus
        or not is_trusted(job.job_id, job.task_type, job.progress, job.error_message)
    ):
        return None
    return Submission(job, params, output)


def _validated_submission(job: JobRecordLike) -> Submission:
    record = checked_record(job)
    output = None if record.output is None else json_text("output", record.output)
    return Submission(record, json_text("params", record.params), output)


def is_trusted(job_id: object, task_type: object, progress: object, message: object) -> bool:
    """Tell whether these fields of a record are beyond doubt valid."""
    return (
        is_trusted_name(job_id)
        and is_trusted_name(task_type)
        and is_percentage(progress)
        and is_trusted_message(message)
    )


def is_trusted_name(value: object) -> bool:
    """Tell whether *value* is a job_id or task_type without any odd character."""
    return type(value) is str and 0 < len(value) <= NAME_MAX_LENGTH and value.isprintable()


def is_trusted_message(value: object) -> bool:
    """Tell whether *value* is a text in one line without any odd character, or None."""
    return value is None or (type(value) is str and value.isprintable())


def is_percentage(value: object) -> bool:
    """Tell whether *value* is an integer from 0 to 100."""
    return type(value) is int and 0 <= value <= PROGRESS_MAX


def checked_record(job: JobRecordLike) -> JobRecord:
    """Return *job* as a record of ours, checked in full.

    Raises:
        InvalidJobError: it is no record, or cannot be stored.
    """
    return _validated("job", job, JobRecord)


def checked_change(updates: JobRecordUpdateLike, policy: JobPolicy) -> Change:
    """Return what *updates* asks for, checked.

    Raises:
        InvalidJobError: it is no update, or cannot be stored.
    """
    trusted = _trusted_change(updates) if type(updates) is JobRecordUpdate else None
    change = trusted or _validated_change(updates)
    checked_length("output", change.output or "", policy.json_max_bytes)
    return change


def _trusted_change(update: JobRecordUpdate) -> Change | None:
    """Take an update that is beyond doubt valid, at a fifth of what validating it costs."""
    given, status, progress = update.output, update.status, update.progress
    output = None if given is None else trusted_json(given)
    if (
        (output is None and given is not None)
        or (status is not None and type(status) is not JobStatus)
        or (progress is not None and not is_percentage(progress))
        or not is_trusted_message(update.error_message)
    ):
        return None
    return Change(status, progress, output, update.error_message)


def _validated_change(updates: JobRecordUpdateLike) -> Change:
    update = _validated("update", updates, JobRecordUpdate)
    output = None if update.output is None else json_text("output", update.output)
    return Change(update.status, update.progress, output, update.error_message)


def _validated[M: Schema](name: str, value: object, wanted: type[M]) -> M:
    """Read the fields of *wanted* from any object that has them, and validate them."""
    lacking = [field for field in wanted.model_fields if not hasattr(value, field)]
    if lacking:
        raise InvalidJobError(
            f"{name} must be a {wanted.__name__}, or an object with its fields: this "
            f"{type(value).__name__} has no {', '.join(lacking)}{_hint(value)}"
        )
    given = {field: cast("object", getattr(value, field)) for field in wanted.model_fields}
    try:
        return wanted.model_validate(given)
    except ValidationError as error:
        raise InvalidJobError(f"this {name} was refused: {reasons(error)}") from error


def _hint(value: object) -> str:
    if isinstance(value, Mapping):
        return ": make a record of it with `model_validate`"
    return ": it can be called, is the call missing?" if callable(value) else ""


def json_text(field: str, value: Mapping[str, object]) -> str:
    """Write `params`, `output` or another object as JSON text.

    Raises:
        InvalidJobError: it is no JSON object.
    """
    try:
        return encode_object(value)
    except ValueError as error:
        raise InvalidJobError(f"{field} cannot be stored: {error}") from error


def checked_json(field: str, value: object, policy: JobPolicy) -> str:
    """Write an object as JSON text that is no longer than allowed.

    Raises:
        InvalidJobError: it is no JSON object, or longer than `JOB_JSON_MAX_BYTES`.
    """
    if not isinstance(value, Mapping):
        raise InvalidJobError(
            f"{field} must be a mapping of texts to JSON values: this is a {type(value).__name__}"
        )
    text = json_text(field, cast("Mapping[str, object]", value))  # other keys are no JSON
    return checked_length(field, text, policy.json_max_bytes)


def checked_length(field: str, text: str, max_bytes: int) -> str:
    """Return the JSON text of `params`, `output` or another object, if it is not too long.

    Raises:
        InvalidJobError: it is longer than *max_bytes*.
    """
    if len(text) > max_bytes:  # the text is ASCII: a character is a byte
        raise InvalidJobError(
            f"{field} takes {len(text)} bytes of JSON, more than JOB_JSON_MAX_BYTES={max_bytes}: "
            "store it as a file of the job and put its path here"
        )
    return text
