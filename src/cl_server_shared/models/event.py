"""What the world is told when a job changes."""

from dataclasses import dataclass

from cl_server_shared.models.job import JobStatus

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One visible change of one job, announced after it was committed.

    `event_type` is the job's status after the change, `timestamp` the time of the change in
    milliseconds since the epoch (UTC), `progress` 0-100. `seq` grows with every change of that job,
    from 1; it begins anew when a job is removed and added again, with a later `created_at` (ms).
    Readers order by both and drop what they have seen. From publishers that tell neither, both are
    0 and no order is known.
    """

    job_id: str
    event_type: JobStatus
    timestamp: int
    progress: int
    task_type: str
    seq: int
    created_at: int = 0
    schema_version: int = SCHEMA_VERSION

    @property
    def event_id(self) -> str:
        """Return the same text for every delivery of this event, and another for any other one."""
        return f"{self.job_id}/{self.created_at}/{self.seq}"
