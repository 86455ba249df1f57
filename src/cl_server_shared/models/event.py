"""What is announced when a job changes."""

from typing import Annotated, Final

from pydantic import BaseModel, Field

from cl_server_shared.models.job import JobStatus
from cl_server_shared.models.trusted import PROGRESS_MAX

SCHEMA_VERSION: Final = 1

TaskType = Annotated[str, Field(description="What the job is about.")]
Seq = Annotated[
    int,
    Field(
        ge=0, description="Grows by 1 with every change of the job, from 1; numbers may be skipped."
    ),
]
SchemaVersion = Annotated[int, Field(ge=0, description="The version of these keys.")]


class JobEvent(BaseModel, frozen=True, extra="forbid"):
    """One visible change of one job, announced after it was committed.

    `event_type` is the job's status after the change, `timestamp` the time of the change in
    milliseconds since the epoch (UTC), `progress` 0-100. `seq` grows with every change of that job,
    from 1; it begins anew when a job is removed and added again, with a later `created_at` (ms).
    Readers order by both and drop what they have seen. From publishers that send neither, both are
    0 and no order is known.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown field, an empty job_id, a progress
            outside 0-100, or a negative number.
    """

    job_id: str = Field(min_length=1, description="Which job.")
    event_type: JobStatus = Field(description="Its status after the change.")
    timestamp: int = Field(ge=0, description="When it changed, in ms since the epoch (UTC).")
    progress: int = Field(ge=0, le=PROGRESS_MAX, description="How much is done, in percent.")
    task_type: TaskType
    seq: Seq
    created_at: int = Field(
        default=0,
        ge=0,
        description="When the job was added, in ms since the epoch (UTC). If it is removed and "
        "added again, this is later and seq begins anew: order by created_at, then by seq.",
    )
    schema_version: SchemaVersion = SCHEMA_VERSION

    @property
    def event_id(self) -> str:
        """Return the same text for every delivery of this event, and another for any other one."""
        return f"{self.job_id}/{self.created_at}/{self.seq}"


_FIELDS: Final = frozenset(JobEvent.model_fields)


def trusted_event(  # noqa: PLR0913  # one for each field
    *,
    job_id: str,
    event_type: JobStatus,
    timestamp: int,
    progress: int,
    task_type: str,
    seq: int,
    created_at: int,
    schema_version: int = SCHEMA_VERSION,
) -> JobEvent:
    """Make an event of values that are known to be valid, as pickle does: nothing is checked.

    That takes two thirds of the time; each change of a job makes one.
    """
    return event_of(
        {
            "job_id": job_id,
            "event_type": event_type,
            "timestamp": timestamp,
            "progress": progress,
            "task_type": task_type,
            "seq": seq,
            "created_at": created_at,
            "schema_version": schema_version,
        }
    )


def event_of(values: dict[str, object]) -> JobEvent:
    """Make an event that keeps *values*, one for each field, all known to be valid."""
    event = object.__new__(JobEvent)
    event.__setstate__(
        {
            "__dict__": values,
            "__pydantic_fields_set__": set(_FIELDS),
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return event
