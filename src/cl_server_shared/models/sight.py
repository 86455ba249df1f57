"""What somebody who waits for a job sees of it."""

from dataclasses import dataclass

from cl_server_shared.models.job import JobRecord


@dataclass(frozen=True, slots=True)
class JobSight:
    """A job at one look; *record* is None where it never was, or was removed.

    After the last sight there is nothing to wait for: the job is final, or not there.
    """

    record: JobRecord | None
    is_last: bool
