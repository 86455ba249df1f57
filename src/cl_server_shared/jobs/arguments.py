"""What callers bring, checked before the database sees it."""

import math
from collections.abc import Iterable
from typing import Final

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models.job import storable_text

_INT64: Final = range(-(2**63), 2**63)
_RETRIES: Final = range(2**31)
_LIMITS: Final = range(1, 2**31)
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
