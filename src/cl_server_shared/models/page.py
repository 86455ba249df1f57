"""Asking for jobs, page by page."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from typing import Final, Literal, cast

from cl_server_shared.errors import InvalidJobError
from cl_server_shared.models.job import JobDetails, JobStatus, storable_text

type Order = Literal["newest", "oldest"]

_ORDERS: Final = ("newest", "oldest")
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs, and in which order; None asks for all. It keeps copies of its collections.

    Times are milliseconds since the epoch (UTC); each `_from` is included, each `_before` not.
    Jobs that have not ended are in no range of `finished_from` and `finished_before`. The newest
    job is the one that was added last.

    Raises:
        InvalidJobError: names the field whose value is of another type or kind; a single text
            where several are wanted would be one letter after the other.
    """

    statuses: Collection[JobStatus] | None = None
    task_types: Collection[str] | None = None
    created_by: str | None = None
    created_from: int | None = None
    created_before: int | None = None
    finished_from: int | None = None
    finished_before: int | None = None
    job_ids: Collection[str] | None = None
    order: Order = "newest"

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, cast("object", getattr(self, field.name))
            if value is not None or name == "order":
                object.__setattr__(self, name, _CHECKS.get(name, _time)(name, value))


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, in the order asked for; *next* is the token that asks for those after them."""

    jobs: tuple[JobDetails, ...]
    next: str | None


def _statuses(name: str, value: object) -> tuple[JobStatus, ...]:
    words = _texts(name, value)
    unknown = [word for word in words if word not in JobStatus]
    if unknown:
        raise _refused(name, unknown[0], f"one of {', '.join(JobStatus)}")
    return tuple(JobStatus(word) for word in words)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _refused(name, value, "a sequence of texts, or None")
    return tuple(_text(name, each) for each in value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refused(name, value, "text")
    return str.__str__(value)  # of an enumeration's member, too


def _storable(name: str, value: object) -> str:
    text = _text(name, value)
    if storable_text(text) != text:
        raise _refused(name, value, "text without NUL and lone surrogates")
    return text


def _time(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
        raise _refused(name, value, "a time in milliseconds since the epoch, or None")
    return value


def _order(name: str, value: object) -> str:
    if value not in _ORDERS:
        raise _refused(name, value, "'newest' or 'oldest'")
    return str(value)


def _refused(name: str, value: object, wanted: str) -> InvalidJobError:
    return InvalidJobError(f"{name} {value!r} of the filter must be {wanted}")


_CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "statuses": _statuses,
    "task_types": _texts,
    "created_by": _storable,
    "job_ids": _texts,
    "order": _order,
}
