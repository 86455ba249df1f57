"""What the world is told: one event as JSON text, and back."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from cl_server_shared.models import JobEvent, JobStatus
from cl_server_shared.models.validation import reasons


@final
@dataclass(frozen=True, slots=True)
class NotAnEvent:
    """A payload that tells of no job, and why."""

    reason: str


@final
class EventPayload(BaseModel):
    """One change of one job; ignore keys that are not named here.

    From publishers that leave out the keys after `progress`, an event is of task type `""`, of
    sequence number 0 (no order is known), added at 0 and of schema version 0.
    """

    if not TYPE_CHECKING:  # pydantic declares this name as a mutable class variable
        model_config = ConfigDict(strict=True, extra="ignore")

    job_id: str = Field(min_length=1, description="Which job.")
    event_type: JobStatus = Field(description="Its status after the change.")
    timestamp: int = Field(ge=0, description="When it changed, in ms since the epoch (UTC).")
    progress: int = Field(ge=0, le=100, description="How much is done, in percent.")
    task_type: str = Field(default="", description="What the job is about.")
    seq: int = Field(
        default=0,
        ge=0,
        description="Grows by 1 with every change of the job, from 1; numbers may be skipped.",
    )
    created_at: int = Field(
        default=0,
        ge=0,
        description="When the job was added, in ms since the epoch (UTC). If it is removed and "
        "added again, this is later and seq begins anew: order by created_at, then by seq.",
    )
    schema_version: int = Field(default=0, ge=0, description="The version of these keys.")

    @computed_field(description="The same text for every delivery of this event, and only for it.")
    @property
    def event_id(self) -> str:
        """Return what tells this event from all others."""
        return self.as_event().event_id

    def as_event(self) -> JobEvent:
        """Return what was read."""
        return JobEvent(
            job_id=self.job_id,
            event_type=self.event_type,
            timestamp=self.timestamp,
            progress=self.progress,
            task_type=self.task_type,
            seq=self.seq,
            created_at=self.created_at,
            schema_version=self.schema_version,
        )


def encode_event(event: JobEvent) -> bytes:
    """Write *event* as one compact JSON object in ASCII."""
    fields = {
        "job_id": event.job_id,
        "event_type": event.event_type,
        "timestamp": event.timestamp,
        "progress": event.progress,
        "task_type": event.task_type,
        "seq": event.seq,
        "created_at": event.created_at,
        "event_id": event.event_id,
        "schema_version": event.schema_version,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode_event(payload: bytes) -> JobEvent | NotAnEvent:
    """Read an event; whatever else the bytes are is a `NotAnEvent`, never an error."""
    try:
        return EventPayload.model_validate_json(payload).as_event()
    except ValidationError as error:
        return NotAnEvent(reasons(error, "payload"))
