"""What a worker announces on its own topic, as JSON text, and back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cl_server_shared.errors import ConfigError
from cl_server_shared.models import WorkerStatus
from cl_server_shared.models.validation import reasons
from cl_server_shared.mqtt.messages import IncomingMessage
from cl_server_shared.mqtt.topics import text_fault, topic_level, topic_name

SESSION: Final = "session"
"""Name of the user property that says which session an empty message clears."""


@final
@dataclass(frozen=True, slots=True)
class Cleared:
    """The worker has ended: an empty message; *session* is None if that was not sent along."""

    session: str | None


@final
@dataclass(frozen=True, slots=True)
class NotAWorker:
    """A message that is no worker's, and why."""

    reason: str


type PresenceMessage = WorkerStatus | Cleared | NotAWorker


def _or_empty(value: object) -> object:
    return "" if value is None else value


_Id = Annotated[str, BeforeValidator(_or_empty)]


@final
class WorkerPresence(BaseModel):
    """A worker that lives, and what it can do; ignore keys that are not named here."""

    if not TYPE_CHECKING:  # pydantic declares this name as a mutable class variable
        model_config = ConfigDict(strict=True, extra="ignore")

    # Of the two ids older workers send only one; they have no sessions.
    id: _Id = Field(default="", description="The same as worker_id.")
    worker_id: _Id = Field(default="", description="Which worker.")
    capabilities: list[str] = Field(description="The task types that it works on.")
    idle_count: int = Field(ge=0, description="How many jobs it could take now.")
    timestamp: int = Field(ge=0, description="When it said so, in ms since the epoch (UTC).")
    session: str = Field(
        default="",
        description="Another text each time that the worker starts; it sorts by that time.",
    )


def new_status(
    worker_id: str, capabilities: Sequence[str], now_ms: int, token: str
) -> WorkerStatus:
    """Describe a worker that starts now, and is not idle yet.

    Its session sorts by *now_ms*; *token*, a random text, tells apart what starts together.

    Raises:
        ConfigError: *worker_id* is no level of a topic, or a task type is empty or no text.
    """
    for each in capabilities:
        if (fault := text_fault(each)) is not None:
            raise ConfigError(
                f"worker {worker_id!r} cannot have the task type {each!r}: it {fault}"
            )
    return WorkerStatus(
        worker_id=topic_level(worker_id),
        capabilities=tuple(capabilities),
        idle_count=0,
        timestamp=now_ms,
        session=f"{now_ms:012x}-{token}",
    )


def worker_topic(prefix: str, worker_id: str) -> str:
    """Return the topic of one worker.

    Raises:
        ConfigError: *worker_id* is no level of a topic, or *prefix* no topic.
    """
    return topic_name(f"{topic_name(prefix)}/{topic_level(worker_id)}")


def encode_status(status: WorkerStatus) -> bytes:
    """Write *status* as one compact JSON object in ASCII; its id stands there under two names."""
    fields = {
        "id": status.worker_id,
        "worker_id": status.worker_id,
        "capabilities": status.capabilities,
        "idle_count": status.idle_count,
        "timestamp": status.timestamp,
        "session": status.session,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def read_presence(message: IncomingMessage) -> PresenceMessage:
    """Read a message on a worker's topic; whatever the bytes are, never an error."""
    if not message.payload:
        return Cleared(message.properties.get(SESSION))
    try:
        read = WorkerPresence.model_validate_json(message.payload)
    except ValidationError as error:
        return NotAWorker(reasons(error, "payload"))
    named = {read.id, read.worker_id} - {""}
    worker_id = worker_id_of(message.topic)
    if named != {worker_id}:
        return NotAWorker(f"its ids are {sorted(named)}, its topic is {worker_id!r}'s")
    return WorkerStatus(
        worker_id=worker_id,
        capabilities=tuple(read.capabilities),
        idle_count=read.idle_count,
        timestamp=read.timestamp,
        session=read.session,
    )


def worker_id_of(topic: str) -> str:
    """Return whose topic it is."""
    return topic.rpartition("/")[2]
