"""A try at a job that failed."""

from pydantic import BaseModel


class Attempt(BaseModel, frozen=True):
    """One try that failed: by whom, from when to when (ms since the epoch), and why.

    Unknown fields are ignored: the log of a newer release can be read.
    """

    attempt: int
    worker: str
    started_at: int | None
    ended_at: int
    error: str
