"""Asking for jobs, page by page."""

from collections.abc import Collection
from dataclasses import dataclass

from cl_server_shared.models.job import JobRecord, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to find; None asks for all.

    Times are milliseconds since the epoch (UTC): `created_from` is included, `created_before` not.
    """

    statuses: Collection[JobStatus] | None = None
    task_types: Collection[str] | None = None
    created_by: str | None = None
    created_from: int | None = None
    created_before: int | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, the newest first; *next* is the token that asks for those after them."""

    jobs: tuple[JobRecord, ...]
    next: str | None
