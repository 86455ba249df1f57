"""What callers bring, checked before the database sees it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobFilter, JobStatus
from cl_server_shared.models.job import storable_text

_INT64: Final = range(-(2**63), 2**63)
_RETRIES: Final = range(2**31)
_LIMITS: Final = range(1, 2**31)
_TEN_YEARS_SECONDS: Final = 315_360_000
TERMS: Final = ("created_by", "priority", "max_retries")
"""The columns of a new row that its record does not tell."""


def checked_terms(
    created_by: object, priority: object, max_retries: object, policy: JobPolicy
) -> dict[str, object]:
    """Return the values of `TERMS`.

    Raises:
        InvalidJobError: *created_by* is no text, *priority* no signed 64-bit integer, or
            *max_retries* not in 0 to 2**31 - 1.
    """
    if created_by is not None and not _is_storable(created_by):
        raise InvalidJobError(
            f"created_by {created_by!r} must be text without NUL and lone surrogates, or None"
        )
    retries = policy.max_retries if max_retries is None else max_retries
    checked = (
        created_by,
        _integer("priority", 0 if priority is None else priority, _INT64),
        _integer("max_retries", retries, _RETRIES),
    )
    return dict(zip(TERMS, checked, strict=True))


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


def checked_job_id(job_id: object) -> str:
    """Return the id of a job that may exist.

    Raises:
        InvalidJobError: it is no text.
    """
    if not isinstance(job_id, str):
        raise InvalidJobError(
            f"job_id {job_id!r} must be text: this is of type {type(job_id).__name__}"
        )
    return job_id


def checked_run_at(run_at: object, status: JobStatus, now_ms: int) -> int | None:
    """Return until when a new job is delayed (ms); None: not at all, since that time is past.

    Raises:
        InvalidJobError: *run_at* is no time, or the job would not wait for it.
    """
    if not isinstance(run_at, int) or isinstance(run_at, bool) or run_at not in _INT64:
        raise InvalidJobError(
            f"run_at {run_at!r} must be a time in milliseconds since the epoch, or None"
        )
    if status is not JobStatus.queued:
        raise InvalidJobError(
            f"run_at {run_at!r} is for jobs that wait: this one is added as {status}"
        )
    return run_at if run_at > now_ms else None


def checked_retry_after_ms(seconds: object) -> int | None:
    """Return after how many milliseconds a failed job is tried again; None: after the backoff.

    Raises:
        InvalidJobError: it is no number from 0 to ten years, nor None.
    """
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or not 0 <= seconds <= _TEN_YEARS_SECONDS:
        raise InvalidJobError(
            f"retry_after_seconds {seconds!r} must be a number from 0 to {_TEN_YEARS_SECONDS}, "
            "or None for the backoff"
        )
    return int(seconds * 1000)


def checked_message(message: object) -> str:
    """Return a message as it can be stored.

    Raises:
        InvalidJobError: it is no text.
    """
    if not isinstance(message, str):
        raise InvalidJobError(f"message {message!r} must be a text for people to read")
    return storable_text(message)


def checked_filter(jobs: object) -> JobFilter:
    """Return which jobs are asked for.

    Raises:
        InvalidJobError: it is no JobFilter.
    """
    if not isinstance(jobs, JobFilter):
        raise InvalidJobError(
            f"jobs must be a JobFilter, such as JobFilter(statuses=['error']): this is of type "
            f"{type(jobs).__name__}"
        )
    return jobs


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


def _is_storable(value: object) -> bool:
    return isinstance(value, str) and (value.isprintable() or storable_text(value) == value)


def _integer(name: str, value: object, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise InvalidJobError(
            f"{name} {value!r} must be an integer from {allowed[0]} to {allowed[-1]}"
        )
    return value
