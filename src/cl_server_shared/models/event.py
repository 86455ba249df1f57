"""What the world is told when a job changes."""

from dataclasses import dataclass

from cl_server_shared.models.job import JobStatus

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One visible change of one job, announced after it was committed.

    `event_type` is the job's status after the change, `timestamp` the time of the change in
    milliseconds since the epoch (UTC), `progress` 0-100. `seq` grows with every change of that job:
    readers order by it and drop what they have seen.
    """

    job_id: str
    event_type: JobStatus
    timestamp: int
    progress: int
    task_type: str
    seq: int
    schema_version: int = SCHEMA_VERSION
