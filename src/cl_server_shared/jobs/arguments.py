"""What callers bring, checked before the database sees it."""

import math
from collections.abc import Iterable
from typing import Final

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models import JobFilter
from cl_server_shared.models.job import storable_text

_LIMITS: Final = range(1, 2**31)
_LONGEST_SECONDS: Final = 10**9
"""About thirty years."""
_SHOWN_LENGTH: Final = 60


def checked_job_id(job_id: object) -> str:
    """Return which job is meant; there may be none of that id.

    Raises:
        InvalidJobError: it is no text.
    """
    if type(job_id) is str:
        return job_id
    if not isinstance(job_id, str):
        raise InvalidJobError(f"job_id must be text, not {_shown(job_id)}")
    return str.__str__(job_id)  # of an enumeration's member


def checked_filter(jobs: object) -> JobFilter:
    """Return which jobs are asked for.

    Raises:
        InvalidJobError: it is no JobFilter.
    """
    if not isinstance(jobs, JobFilter):
        raise InvalidJobError(
            "jobs must be a JobFilter, such as JobFilter(statuses=[JobStatus.error]), not "
            f"{_shown(jobs)}"
        )
    return jobs


def checked_limit(limit: object) -> int:
    """Return how many rows are asked for.

    Raises:
        InvalidJobError: it is no integer, or below 1.
    """
    return checked_integer("limit", limit, _LIMITS)


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


def checked_retry_after(retry_after_seconds: object) -> int | None:
    """Return the delay of the next try in milliseconds; None: as the policy says.

    Raises:
        InvalidJobError: it is no finite number of 0 or more.
    """
    if retry_after_seconds is None:
        return None
    seconds = retry_after_seconds
    if not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_SECONDS:
        raise InvalidJobError(
            f"retry_after_seconds must be a number from 0 to {_LONGEST_SECONDS}, or None for the "
            f"backoff, not {_shown(seconds)}"
        )
    return int(seconds * 1000)


def checked_message(message: object) -> str:
    """Return an error message as it can be stored; it may be empty.

    Raises:
        InvalidJobError: it is no text.
    """
    if not isinstance(message, str):
        raise InvalidJobError(f"message must be a text for people to read, not {_shown(message)}")
    return storable_text(message)


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
    return [each for each in types if is_storable(each)]  # no job can be of another type


def _shown(value: object) -> str:
    """Name a value and its type, in a line."""
    text = repr(value)
    short = text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
    return f"{short} ({type(value).__name__})"


def is_storable(value: object) -> bool:
    """Tell whether *value* is text that any database keeps as it is."""
    return isinstance(value, str) and (value.isprintable() or storable_text(value) == value)


def checked_integer(name: str, value: object, allowed: range) -> int:
    """Return an integer among those that are allowed.

    Raises:
        InvalidJobError: it is none of them.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise InvalidJobError(
            f"{name} {value!r} must be an integer from {allowed[0]} to {allowed[-1]}"
        )
    return value
