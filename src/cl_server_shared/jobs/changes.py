"""Read -> decide -> store, if nothing changed meanwhile; else look and decide anew."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

from cl_server_shared.jobs import rows
from cl_server_shared.jobs.claims import Claims, Seen
from cl_server_shared.jobs.lifecycle import Applied, Decision, JobState
from cl_server_shared.jobs.rows import JobRow
from cl_server_shared.jobs.store import JobStore
from cl_server_shared.protocols import Clock


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no job of that id."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Progress that came too soon after the last; its latest value is stored within a second."""


type Outcome = Decision | Deferred | NotFound
"""`Applied | Unchanged | Refused | Deferred | NotFound`."""


@final
class Changes:
    """Carries decisions out on one store, and tells *done* of each job that was changed.

    Args:
        store: where the jobs are.
        claims: how the jobs that this repository claimed looked when it last saw them.
        clock: tells the time.
        done: called with the job as it now is, and the time of the change in ms.
    """

    def __init__(
        self, store: JobStore, claims: Claims, clock: Clock, done: Callable[[Seen, int], object]
    ) -> None:
        self._store: Final = store
        self._claims: Final = claims
        self._clock: Final = clock
        self._done: Final = done

    def change(self, job_id: str, decide: Callable[[JobState], Decision]) -> Outcome:
        """Decide on a job and store what was decided."""
        seen = self._claims.get(job_id)
        while True:
            if seen is None:
                row = self._store.read(job_id)
                if row is None:
                    self._claims.end(job_id)
                    return NotFound()
                seen = seen_in(row)
            decision = decide(seen.state)
            if not isinstance(decision, Applied) or self.store(seen, decision.state):
                return decision
            seen = None

    def store(self, seen: Seen, state: JobState) -> bool:
        """Store *state*; False if the job is no longer as it was seen."""
        now_ms = self._clock.now_ms()
        stored = self._store.store(seen.row_id, seen.state, state, now_ms)
        if stored is None:
            return False
        self._done(replace(seen, state=stored), now_ms)
        return True


def seen_in(row: JobRow) -> Seen:
    """Read a row as the job that it shows."""
    return Seen(row.id, row.job_id, row.task_type, rows.state_of(row))
