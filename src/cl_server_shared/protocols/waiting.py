"""What waits are made of, in threads and on event loops; internal to the library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from cl_server_shared.models import JobRecord


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job as one poll found it; *record* is None where it never was, or was removed.

    After the last snapshot there is nothing to wait for: the job is final, or not there.
    """

    record: JobRecord | None
    is_last: bool


class Watch[T](Protocol):
    """Polls for one thing, again and again; for one owner at a time."""

    def poll(self) -> T | None:
        """Read what is watched; None: no news, poll again once woken, or after a pause.

        After the first poll, a failure of the database is logged and counts as no news.
        """
        ...

    def pause_seconds(self) -> float:
        """Return after how many seconds to poll although nobody woke the owner."""
        ...

    def close(self) -> None:
        """Wake nobody any more; harmless when repeated, and not needed where it is dropped."""
        ...


class WatchSource(Protocol):
    """Makes the watches of a repository; *wake* is called from any thread, and returns at once."""

    def watch_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Watch[JobSnapshot]:
        """Watch one job; with *only_final*, what changes before its end is no news."""
        ...

    def watch_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Watch[Literal[True]]:
        """Watch for jobs of these types that can be claimed."""
        ...


@runtime_checkable
class HasWatches(Protocol):
    """A repository whose watches are woken by changes of its database."""

    @property
    def watches(self) -> WatchSource:
        """What makes the watches."""
        ...
