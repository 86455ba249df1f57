"""What a worker announces of itself."""

from typing import final

from pydantic import BaseModel, Field


@final
class WorkerStatus(BaseModel, frozen=True, extra="forbid"):
    """One worker, as it was at *timestamp* (milliseconds since the epoch, UTC).

    *capabilities* are the task types that it runs, *idle_count* (0 or more) how many jobs it could
    take now. *session* is another text for each start of a worker, and sorts by the time of that
    start; it is empty for workers that send none.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown field, or a negative number.
    """

    worker_id: str
    capabilities: tuple[str, ...]
    idle_count: int = Field(ge=0)
    timestamp: int = Field(ge=0)
    session: str = ""
