"""What somebody who waits for a job sees of it."""

from dataclasses import dataclass
from typing import Protocol

from cl_server_shared.models.job import JobRecord


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one look; *record* is None where it never was, or was removed.

    After the last sight there is nothing to wait for: the job is final, or not there.
    """

    record: JobRecord | None
    is_last: bool


class Watch[T](Protocol):
    """Looks for one thing in the database, again and again; for one owner at a time."""

    def look(self) -> T | None:
        """Read the database; None: nothing to tell, look again once woken, or after a pause.

        After the first look, a failure of the database is logged and counts as nothing to tell.
        """
        ...

    def pause_seconds(self) -> float:
        """Return after how many seconds to look although nobody woke the owner."""
        ...

    def close(self) -> None:
        """Wake nobody any more; harmless when repeated, and not needed where it is dropped."""
        ...
