"""A try at a job that failed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try that failed: by whom, from when to when (ms since the epoch), and why."""

    attempt: int
    worker: str
    started_at: int | None
    ended_at: int
    error: str
