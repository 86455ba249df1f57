"""Read, decide, store if nothing changed meanwhile; then remember the job and announce it."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, final

from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import ChangedTo, Decision, JobState, KnownJob, Request
from cl_server_shared.jobs.job_table import JobTable
from cl_server_shared.jobs.leases import Claims
from cl_server_shared.jobs.lifecycle import decide
from cl_server_shared.jobs.rows import JobRow, known_job
from cl_server_shared.models import JobEvent
from cl_server_shared.models.event import SCHEMA_VERSION, event_of
from cl_server_shared.models.outcome import NotFound

_MOST_READS: Final = 1000


@final
class Transitions:
    """Carries decisions out: what was committed is remembered, and announced.

    Args:
        jobs: where the jobs are.
        claims: how the jobs that this repository claimed were when it last read or wrote them.
        batch: the table within a transaction, whose end announces what was changed.
    """

    def __init__(self, jobs: JobDatabase, claims: Claims, batch: JobTable | None = None) -> None:
        self._jobs: Final = jobs
        self._claims: Final = claims
        self._batch: Final = batch
        self._uncommitted: Final[list[tuple[KnownJob, int]]] = []

    @property
    def table(self) -> JobTable:
        """The jobs, as this object changes them."""
        return self._jobs.table if self._batch is None else self._batch

    @contextmanager
    def batch(self, name: str) -> Generator["Transitions"]:
        """Change several jobs in one transaction, called *name* in messages.

        Raises:
            DatabaseError: the database failed; nothing was changed.
        """
        with self._jobs.batch(name) as table:
            batch = Transitions(self._jobs, self._claims, table)
            yield batch
        for known, now_ms in batch._uncommitted:
            self._changed(known, now_ms)

    def apply(self, job_id: str, request: Request) -> Decision | NotFound:
        """Decide on a job and store what was decided.

        A claimed job is decided on as it was last known; only if that is no change that can be
        stored, its row is read.

        Raises:
            DatabaseError: others changed the job each time between the read and the change.
        """
        held = self._claims.get(job_id)
        if held is not None:
            decision = self._apply_to(held, request)
            if isinstance(decision, ChangedTo):
                return decision
        for _ in range(_MOST_READS):
            row = self.table.read(job_id)
            decision = NotFound() if row is None else self._apply_to(known_job(row), request)
            if decision is not None:
                return decision
        raise DatabaseError(
            f"job {job_id!r} was changed by others {_MOST_READS} times on end: repeat the call"
        )

    def apply_each(self, requests: Mapping[str, Request]) -> list[Decision | NotFound]:
        """Decide on several jobs, by job id, and store what was decided; first of its transaction.

        Jobs that this repository claimed, and nobody changed since, are stored at the speed of the
        database; the others one after the other.
        """
        held = [known for job_id in requests if (known := self._claims.get(job_id)) is not None]
        stored = self._save_each((known, requests[known.job_id]) for known in held)
        return [
            stored.get(job_id) or self.apply(job_id, request)
            for job_id, request in requests.items()
        ]

    def apply_to_rows(self, found: Sequence[JobRow], request: Request) -> list[str]:
        """Do what is asked to jobs that were just read, and return the ids of those it changed.

        What somebody changed since it was read is left as it is. First writes of its transaction.
        """
        known = [known_job(row) for row in found]
        changed = set(self._save_each((job, request) for job in known))
        changed.update(
            job.job_id
            for job in known
            if job.job_id not in changed
            and isinstance(decision := decide(job.state, request), ChangedTo)
            and self.save(job, decision.state, request.now_ms)
        )
        return [job.job_id for job in known if job.job_id in changed]

    def save(
        self, known: KnownJob, state: JobState, now_ms: int, *, expired_at: int | None = None
    ) -> bool:
        """Store *state*; False if the job is no longer as it was known.

        Args:
            known: the job that the decision was about.
            state: what was decided.
            now_ms: the time of the change.
            expired_at: for a takeover, the time (ms) at which its lease must have ended.
        """
        table = self._batch or self._jobs.table
        stored = table.save_state(known.row_id, known.state, state, now_ms, expired_at)
        if stored is None:
            return False
        self._changed(known.in_state(stored), now_ms)
        return True

    def added(self, event: JobEvent) -> None:
        """Announce a new job; what was claimed under its id before was another one."""
        if self._claims.has_any:
            self._claims.end(event.job_id)
        self._jobs.outbox.announce(event)

    def claimed(self, known: KnownJob, now_ms: int) -> None:
        """Remember and announce a claim of ours."""
        self._claims.hold(known)
        self._jobs.outbox.announce(_event(known, now_ms))

    def _apply_to(self, known: KnownJob, request: Request) -> Decision | None:
        """Decide and store; None: the job is no longer as it was known."""
        decision = decide(known.state, request)
        if not isinstance(decision, ChangedTo):
            return decision
        return decision if self.save(known, decision.state, request.now_ms) else None

    def _save_each(self, asked: Iterable[tuple[KnownJob, Request]]) -> dict[str, ChangedTo]:
        decided = [
            (known, decision, request.now_ms)
            for known, request in asked
            if isinstance(decision := decide(known.state, request), ChangedTo)
        ]
        if not decided:
            return {}
        now_ms = decided[0][2]
        stored = self.table.save_states(
            [(known.row_id, known.state, decision.state) for known, decision, _ in decided], now_ms
        )
        applied = [(known, decision) for known, decision, _ in decided if known.row_id in stored]
        for known, decision in applied:
            state = decision.state.numbered(known.state.event_seq + 1)
            self._changed(known.in_state(state), now_ms)
        return {known.job_id: decision for known, decision in applied}

    def _changed(self, known: KnownJob, now_ms: int) -> None:
        if self._batch is not None:
            self._uncommitted.append((known, now_ms))
            return
        self._claims.follow(known)
        self._jobs.outbox.announce(_event(known, now_ms))


def _event(known: KnownJob, now_ms: int) -> JobEvent:
    return event_of(
        {
            "job_id": known.job_id,
            "event_type": known.state.status,
            "timestamp": now_ms,
            "progress": known.state.progress,
            "task_type": known.task_type,
            "seq": known.state.event_seq,
            "created_at": known.created_at,
            "schema_version": SCHEMA_VERSION,
        }
    )
