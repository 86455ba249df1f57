"""What callers bring, checked before the database sees it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from pydantic import TypeAdapter, ValidationError

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.job_state import Change
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.base import Schema
from cl_server_shared.models.json_object import (
    JsonObject,
    StorableObject,
    encode_object,
)
from cl_server_shared.models.trusted import is_percentage, is_trusted_message, trusted_json
from cl_server_shared.models.validation import reasons
from cl_server_shared.protocols.jobs import JobRecordLike, JobRecordUpdateLike

_OBJECTS: Final[TypeAdapter[JsonObject]] = TypeAdapter(StorableObject)


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
    try:
        trusted = _trusted_change(updates) if type(updates) is JobRecordUpdate else None
    except AttributeError:  # it was made past its own checks, and lacks fields
        trusted = None
    change = trusted or _validated_change(updates)
    if change.output is not None:
        checked_length("output", change.output, policy.json_max_bytes)
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


def checked_checkpoint(data: object, policy: JobPolicy) -> str:
    """Return the text of a checkpoint, from any mapping that is a JSON object.

    Raises:
        InvalidJobError: it is no such mapping, or longer than allowed.
    """
    text = trusted_json(data)
    if text is None:
        try:
            text = json_text("checkpoint", _OBJECTS.validate_python(data))
        except ValidationError as error:
            raise InvalidJobError(
                f"this checkpoint was refused: {reasons(error, type(data).__name__)}"
            ) from error
    return checked_length("checkpoint", text, policy.json_max_bytes)


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


def json_text(field: str, value: Mapping[str, object]) -> str:
    """Write `params`, `output` or another object as JSON text.

    Raises:
        InvalidJobError: it is no JSON object.
    """
    try:
        return encode_object(value)
    except ValueError as error:
        raise InvalidJobError(f"{field} cannot be stored: {error}") from error


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
