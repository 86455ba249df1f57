"""What a worker tells of itself."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker, as it was at *timestamp* (milliseconds since the epoch, UTC).

    *capabilities* are the task types that it runs, *idle_count* (0 or more) how many jobs it could
    take now. *session* is another text for each start of a worker, and sorts by the time of that
    start; it is empty for workers that tell none.
    """

    worker_id: str
    capabilities: tuple[str, ...]
    idle_count: int
    timestamp: int
    session: str = ""
