"""What the world is told: one event as JSON text, and back."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cl_server_shared.models import JobEvent, JobStatus


@final
@dataclass(frozen=True, slots=True)
class NotAnEvent:
    """A payload that tells of no job, and why."""

    reason: str


@final
class _Payload(BaseModel):
    """The JSON object of an event; keys that are not named here are ignored.

    The last three are absent from what publishers without them send: such an event is of task type
    `""`, of sequence number 0 (no order is known) and of schema version 0.
    """

    if not TYPE_CHECKING:  # pydantic declares this name as a mutable class variable
        model_config = ConfigDict(strict=True, extra="ignore")

    job_id: str = Field(min_length=1)
    event_type: JobStatus
    timestamp: int = Field(ge=0)
    progress: int = Field(ge=0, le=100)
    task_type: str = ""
    seq: int = Field(default=0, ge=0)
    schema_version: int = Field(default=0, ge=0)


def encode_event(event: JobEvent) -> bytes:
    """Write *event* as one compact JSON object in ASCII."""
    fields = {
        "job_id": event.job_id,
        "event_type": event.event_type,
        "timestamp": event.timestamp,
        "progress": event.progress,
        "task_type": event.task_type,
        "seq": event.seq,
        "schema_version": event.schema_version,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode_event(payload: bytes) -> JobEvent | NotAnEvent:
    """Read an event; whatever else the bytes are is a `NotAnEvent`, never an error."""
    try:
        read = _Payload.model_validate_json(payload)
    except ValidationError as error:
        return NotAnEvent(_reason(error))
    return JobEvent(
        job_id=read.job_id,
        event_type=read.event_type,
        timestamp=read.timestamp,
        progress=read.progress,
        task_type=read.task_type,
        seq=read.seq,
        schema_version=read.schema_version,
    )


def _reason(error: ValidationError) -> str:
    """Say which keys are wrong; the values stay out, they may be long or private."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
