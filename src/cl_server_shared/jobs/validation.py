"""What callers bring, checked before the database sees it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from pydantic import ValidationError

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.job_state import Change
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.job import NAME_MAX_LENGTH, PROGRESS_MAX
from cl_server_shared.models.json_object import encode_object, trusted_json
from cl_server_shared.models.validation import reasons
from cl_server_shared.protocols.jobs import JobRecordLike, JobRecordUpdateLike


class Submission(NamedTuple):
    """What a new job is to be; `params` and `output` are JSON text."""

    job_id: str
    task_type: str
    params: str
    status: JobStatus
    progress: int
    output: str | None
    error_message: str | None


def checked_submission(job: JobRecordLike, policy: JobPolicy) -> Submission:
    """Return *job* as it will be stored, checked now: a record may have been changed since made.

    Raises:
        InvalidJobError: it cannot be stored.
    """
    trusted = _trusted_submission(job) if type(job) is JobRecord else None
    if trusted is None:
        return _validated_submission(job, policy.json_max_bytes)
    checked_length("params", trusted.params, policy.json_max_bytes)
    checked_length("output", trusted.output or "", policy.json_max_bytes)
    return trusted


def _trusted_submission(job: JobRecord) -> Submission | None:
    """Take a record that is beyond doubt valid, at a fifth of what validating it costs."""
    given = job.output
    params, output = trusted_json(job.params), None if given is None else trusted_json(given)
    if params is None or (output is None and given is not None):
        return None
    trusted = Submission(
        job.job_id, job.task_type, params, job.status, job.progress, output, job.error_message
    )
    return trusted if _is_trusted_submission(trusted) else None


def _is_trusted_submission(submission: Submission) -> bool:
    return (
        is_trusted_name(submission.job_id)
        and is_trusted_name(submission.task_type)
        and type(submission.status) is JobStatus
        and is_percentage(submission.progress)
        and is_trusted_message(submission.error_message)
    )


def _validated_submission(job: JobRecordLike, max_bytes: int) -> Submission:
    record = checked_record(job)
    output = record.output
    return Submission(
        record.job_id,
        record.task_type,
        json_text("params", record.params, max_bytes),
        record.status,
        record.progress,
        None if output is None else json_text("output", output, max_bytes),
        record.error_message,
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
        InvalidJobError: it cannot be stored.
    """
    try:
        return JobRecord.model_validate(
            {name: cast("object", getattr(job, name)) for name in JobRecord.model_fields}
        )
    except ValidationError as error:
        raise _invalid("job", error) from error


def checked_change(updates: JobRecordUpdateLike, policy: JobPolicy) -> Change:
    """Return what *updates* asks for, checked.

    Raises:
        InvalidJobError: it cannot be stored.
    """
    trusted = _trusted_change(updates) if type(updates) is JobRecordUpdate else None
    if trusted is None:
        return _validated_change(updates, policy)
    checked_length("output", trusted.output or "", policy.json_max_bytes)
    return trusted


def _trusted_change(update: JobRecordUpdate) -> Change | None:
    """Take an update that is beyond doubt valid, at a fifth of what validating it costs."""
    given = update.output
    output = None if given is None else trusted_json(given)
    if output is None and given is not None:
        return None
    trusted = Change(
        status=update.status,
        progress=update.progress,
        output=output,
        error_message=update.error_message,
    )
    return trusted if _is_trusted_change(trusted) else None


def _is_trusted_change(change: Change) -> bool:
    return (
        (change.status is None or type(change.status) is JobStatus)
        and (change.progress is None or is_percentage(change.progress))
        and is_trusted_message(change.error_message)
    )


def _validated_change(updates: JobRecordUpdateLike, policy: JobPolicy) -> Change:
    try:
        update = JobRecordUpdate.model_validate(
            {name: cast("object", getattr(updates, name)) for name in JobRecordUpdate.model_fields}
        )
    except ValidationError as error:
        raise _invalid("update", error) from error
    output = update.output
    return Change(
        status=update.status,
        progress=update.progress,
        output=None if output is None else json_text("output", output, policy.json_max_bytes),
        error_message=update.error_message,
    )


def checked_each[T, R](items: Sequence[T], check: Callable[[T], R]) -> list[R]:
    """Check every item of a batch.

    Raises:
        InvalidJobError: names the position, from 0, of the first that was refused.
    """
    checked: list[R] = []
    for position, item in enumerate(items):
        try:
            checked.append(check(item))
        except InvalidJobError as error:
            raise InvalidJobError(f"at position {position}: {error}") from error
    return checked


def json_text(field: str, value: Mapping[str, object], max_bytes: int) -> str:
    """Write `params` or `output` as JSON text.

    Raises:
        InvalidJobError: the text is longer than *max_bytes*, or no JSON.
    """
    try:
        text = encode_object(value)
    except ValueError as error:
        raise InvalidJobError(f"{field} cannot be stored: {error}") from error
    return checked_length(field, text, max_bytes)


def checked_length(field: str, text: str, max_bytes: int) -> str:
    """Return the JSON text of `params` or `output`, if it is no longer than allowed.

    Raises:
        InvalidJobError: it is longer than *max_bytes*.
    """
    if len(text) > max_bytes:  # the text is ASCII: a character is a byte
        raise InvalidJobError(
            f"{field} takes {len(text)} bytes of JSON, more than JOB_JSON_MAX_BYTES={max_bytes}: "
            "store it as a file of the job and put its path here"
        )
    return text


def _invalid(what: str, error: ValidationError) -> InvalidJobError:
    return InvalidJobError(f"this {what} was refused: {reasons(error)}")
