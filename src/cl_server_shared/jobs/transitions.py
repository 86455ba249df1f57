"""After the commit: what this repository remembers, and what the world is told."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs import job_state, rows
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import Applied, Decision, JobState
from cl_server_shared.jobs.job_table import JobTable
from cl_server_shared.jobs.leases import Claims, KnownJob
from cl_server_shared.jobs.rows import JobRow
from cl_server_shared.models import JobEvent
from cl_server_shared.process.clock import Clock

_LOOKS: Final = 1000


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no job of that id."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Progress that came too soon after the last; its latest value is stored within a second."""


type Outcome = Decision | Deferred | NotFound
"""`Applied | Unchanged | Refused | Deferred | NotFound`."""


@final
class Transitions:
    """Carries decisions out on one store, and tells *done* of each job that was changed.

    Args:
        store: where the jobs are.
        claims: how the jobs that this repository claimed looked when it last saw them.
        clock: tells the time.
        done: called with the job as it now is, and the time of the change in ms.
    """

    def __init__(
        self, store: JobTable, claims: Claims, clock: Clock, done: Callable[[KnownJob, int], object]
    ) -> None:
        self._store: Final = store
        self._claims: Final = claims
        self._clock: Final = clock
        self._done: Final = done

    def change(self, job_id: str, decide: Callable[[JobState], Decision]) -> Outcome:
        """Decide on a job and store what was decided.

        A claimed job is decided on as it was last seen; only if that is no change that can be
        stored, the row is looked at.

        Raises:
            DatabaseError: others changed the job each time between the look and the change.
        """
        held = self._claims.get(job_id)
        if held is not None:
            decision = decide(held.state)
            if isinstance(decision, Applied) and self.store(held, decision.state):
                return decision
        for _ in range(_LOOKS):
            row = self._store.read(job_id)
            if row is None:
                return NotFound()
            seen = seen_in(row)
            decision = decide(seen.state)
            if not isinstance(decision, Applied) or self.store(seen, decision.state):
                return decision
        raise DatabaseError(f"job {job_id!r} was changed by others {_LOOKS} times on end: repeat")

    def change_each(self, decisions: Mapping[str, Callable[[JobState], Decision]]) -> list[Outcome]:
        """Decide on several jobs, by job id, and store what was decided; first of its transaction.

        Jobs that this repository claimed, and nobody changed since, are stored at the speed of the
        database; the others one after the other.
        """
        claimed = self._change_claimed(decisions)
        return [
            claimed.get(job_id) or self.change(job_id, decide)
            for job_id, decide in decisions.items()
        ]

    def _change_claimed(
        self, decisions: Mapping[str, Callable[[JobState], Decision]]
    ) -> dict[str, Applied]:
        applied: list[tuple[KnownJob, Applied]] = []
        for job_id, decide in decisions.items():
            held = self._claims.get(job_id)
            decided = None if held is None else decide(held.state)
            if held is not None and isinstance(decided, Applied):
                applied.append((held, decided))
        return self._store_each(applied) if applied else {}

    def _store_each(self, applied: Sequence[tuple[KnownJob, Applied]]) -> dict[str, Applied]:
        now_ms = self._clock.now_ms()
        stored = self._store.save_states(
            [(seen.row_id, seen.state, decided.state) for seen, decided in applied], now_ms
        )
        done = [(seen, decided) for seen, decided in applied if seen.row_id in stored]
        for seen, decided in done:
            self._done(seen.in_state(decided.state.numbered(seen.state.event_seq + 1)), now_ms)
        return {seen.job_id: decided for seen, decided in done}

    def store(self, seen: KnownJob, state: JobState, *, expired_at: int | None = None) -> bool:
        """Store *state*; False if the job is no longer as it was seen.

        Args:
            seen: the job that the decision was about.
            state: what was decided.
            expired_at: for a takeover, the time (ms) at which its lease must have ended.
        """
        now_ms = self._clock.now_ms()
        stored = self._store.save_state(seen.row_id, seen.state, state, now_ms, expired_at)
        if stored is None:
            return False
        self._done(seen.in_state(stored), now_ms)
        return True


def seen_in(row: JobRow) -> KnownJob:
    """Read a row as the job that it shows."""
    return KnownJob(row.id, row.job_id, row.task_type, rows.added_at(row), rows.state_of(row))


_LOG: Final = logging.getLogger(__name__)


@final
class Announcer:
    """Takes note of committed changes.

    Args:
        claims: the claims of this repository.
        jobs: where the changed jobs are.
    """

    def __init__(self, claims: Claims, jobs: JobDatabase) -> None:
        self._claims: Final = claims
        self._jobs: Final = jobs

    def added(self, event: JobEvent) -> None:
        """Take note of a new job; what was claimed under its id before was another one."""
        self._claims.end(event.job_id)
        self.tell(event)

    def claimed(self, seen: KnownJob) -> None:
        """Take note of a claim of ours."""
        self._claims.hold(seen)
        self.tell(_event(seen, seen.state.started_at or 0))

    def changed(self, seen: KnownJob, now_ms: int) -> None:
        """Take note of a change, by whomever it was asked for."""
        self._remember(seen)
        self.tell(_event(seen, now_ms))

    def tell(self, event: JobEvent) -> None:
        """Tell the world; what is committed stays so, whatever a broadcaster does."""
        try:
            self._jobs.delivery.announce(event)
        except Exception:  # noqa: BLE001  # anybody's broadcaster: what it raises is logged
            _LOG.exception("job %s: event %d was not announced", event.job_id, event.seq)

    def _remember(self, seen: KnownJob) -> None:
        held = self._claims.number(seen.job_id)
        if held is None:
            return
        if seen.state.claim_number != held:
            self._claims.lose(seen.job_id, held)
        elif job_state.is_final(seen.state):
            self._claims.end(seen.job_id)
        else:
            self._claims.hold(seen)


def _event(seen: KnownJob, now_ms: int) -> JobEvent:
    return JobEvent(
        job_id=seen.job_id,
        event_type=seen.state.status,
        timestamp=now_ms,
        progress=seen.state.progress,
        task_type=seen.task_type,
        seq=seen.state.event_seq,
        created_at=seen.created_at,
    )
