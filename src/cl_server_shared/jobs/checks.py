"""What callers bring, checked before the database sees it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

from pydantic import ValidationError

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.lifecycle import Change
from cl_server_shared.jobs.plain import is_percentage, is_plain_message
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.models.job import storable_text
from cl_server_shared.models.json_object import encode_object, plain_json
from cl_server_shared.protocols import JobRecordLike, JobRecordUpdateLike

_INT64: Final = range(-(2**63), 2**63)
_RETRIES: Final = range(2**31)
_LIMITS: Final = range(1, 2**31)


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
    plain = _plain_change(updates) if type(updates) is JobRecordUpdate else None
    if plain is None:
        return _validated_change(updates, policy)
    checked_length("output", plain.output or "", policy.json_max_bytes)
    return plain


def _plain_change(update: JobRecordUpdate) -> Change | None:
    """Take an update that is beyond doubt valid, at a fifth of what validating it costs."""
    given = update.output
    output = None if given is None else plain_json(given)
    if output is None and given is not None:
        return None
    plain = Change(
        status=update.status,
        progress=update.progress,
        output=output,
        error_message=update.error_message,
    )
    return plain if _is_plain(plain) else None


def _is_plain(change: Change) -> bool:
    return (
        (change.status is None or type(change.status) is JobStatus)
        and (change.progress is None or is_percentage(change.progress))
        and is_plain_message(change.error_message)
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


def checked_terms(
    created_by: object, priority: object, max_retries: object, policy: JobPolicy
) -> dict[str, object]:
    """Return the columns of a new row that its record does not tell.

    Raises:
        InvalidJobError: *created_by* is no text, *priority* no signed 64-bit integer, or
            *max_retries* not in 0 to 2**31 - 1.
    """
    if created_by is not None and not _is_storable(created_by):
        raise InvalidJobError(
            f"created_by {created_by!r} must be text without NUL and lone surrogates, or None"
        )
    retries = policy.max_retries if max_retries is None else max_retries
    return {
        "created_by": created_by,
        "priority": _integer("priority", 0 if priority is None else priority, _INT64),
        "max_retries": _integer("max_retries", retries, _RETRIES),
    }


def checked_limit(limit: object) -> int:
    """Return how many rows are asked for.

    Raises:
        InvalidJobError: it is no integer, or below 1.
    """
    return _integer("limit", limit, _LIMITS)


def checked_timeout(timeout_seconds: object) -> float:
    """Return for how many seconds to wait.

    Raises:
        InvalidJobError: it is no number of 0 or more, nor None, which is for ever.
    """
    if timeout_seconds is None:
        return math.inf
    if not isinstance(timeout_seconds, int | float) or not timeout_seconds >= 0:
        raise InvalidJobError(
            f"timeout_seconds {timeout_seconds!r} must be 0 or more, or None to wait for ever"
        )
    return timeout_seconds


def checked_reason(reason: object) -> str:
    """Return a reason as it can be stored.

    Raises:
        InvalidJobError: it is no text, or empty.
    """
    if not isinstance(reason, str) or not reason:
        raise InvalidJobError(f"reason {reason!r} must be a text for people to read")
    return storable_text(reason)


def checked_task_types(task_types: object) -> list[str]:
    """Return the task types to claim from, each once.

    Raises:
        InvalidJobError: it is no sequence of texts; a single text is one letter after the other.
    """
    if isinstance(task_types, str) or not isinstance(task_types, Iterable):
        raise InvalidJobError(f"task_types {task_types!r} must be a sequence, such as ['resize']")
    types: dict[str, None] = {}
    for task_type in task_types:
        if not isinstance(task_type, str):
            raise InvalidJobError(f"task type {task_type!r} must be text")
        types[str.__str__(task_type)] = None  # a plain text also of an enumeration's member
    return [each for each in types if _is_storable(each)]  # no job can be of another type


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


def _is_storable(value: object) -> bool:
    return isinstance(value, str) and (value.isprintable() or storable_text(value) == value)


def _integer(name: str, value: object, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise InvalidJobError(
            f"{name} {value!r} must be an integer from {allowed[0]} to {allowed[-1]}"
        )
    return value


def _invalid(what: str, error: ValidationError) -> InvalidJobError:
    return InvalidJobError(f"this {what} was refused: {reasons(error)}")


def reasons(error: ValidationError) -> str:
    """Return what a validation found, field by field, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_context=False)
    )
