"""The claims that one repository made: what makes fencing need no argument."""

import threading
from typing import Final, NamedTuple, final

from cl_server_shared.forking import renew_after_fork
from cl_server_shared.jobs.lifecycle import JobState

_LOST_CLAIMS_KEPT: Final = 10_000


class Seen(NamedTuple):
    """A job as this repository last saw it.

    *row_id* is its primary key, which another job may get when it was removed; together with
    *created_at* (ms) it is this job's alone.
    """

    row_id: int
    job_id: str
    task_type: str
    created_at: int
    state: JobState

    def in_state(self, state: JobState) -> "Seen":
        """Return the same job in another state."""
        return Seen(self.row_id, self.job_id, self.task_type, self.created_at, state)


@final
class Claims:
    """Remembers by job id under which claim number this repository works; thread-safe.

    A lost claim stays remembered, so that a late report is known for what it is: the oldest are
    forgotten beyond 10,000.
    """

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without claims: those of a parent are the parent's."""
        self._lock = threading.Lock()
        self._live: dict[str, Seen] = {}
        self._lost: dict[str, int] = {}
        self.late_reports: int = 0

    def hold(self, seen: Seen) -> None:
        """Remember a new claim, or how its job looks now."""
        with self._lock:
            self._live[seen.job_id] = seen
            self._lost.pop(seen.job_id, None)

    def get(self, job_id: str) -> Seen | None:
        """Return the claimed job as it was last seen; None without a live claim."""
        return self._live.get(job_id)

    def number(self, job_id: str) -> int | None:
        """Return the number of the claim on the job, live or lost; None if it was never claimed."""
        seen = self._live.get(job_id)
        return self._lost.get(job_id) if seen is None else seen.state.claim_number

    def end(self, job_id: str) -> None:
        """Forget a claim whose job is final or gone."""
        if job_id not in self._live and job_id not in self._lost:
            return  # as for nearly every job that is added
        with self._lock:
            self._live.pop(job_id, None)
            self._lost.pop(job_id, None)

    def lose(self, job_id: str, number: int) -> bool:
        """Remember that live claim *number* is no longer valid; False: it was ended meanwhile."""
        with self._lock:
            seen = self._live.get(job_id)
            if seen is None or seen.state.claim_number != number:
                return False
            del self._live[job_id]
            self._lost[job_id] = number
            while len(self._lost) > _LOST_CLAIMS_KEPT:
                del self._lost[next(iter(self._lost))]
            return True

    def count_late_report(self) -> None:
        """Count a report under a lost claim, in `late_reports`."""
        with self._lock:
            self.late_reports += 1

    def live(self) -> dict[str, int]:
        """Return the claim numbers of the live claims by job id."""
        with self._lock:
            return {job_id: seen.state.claim_number for job_id, seen in self._live.items()}
