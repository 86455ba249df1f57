"""Workers for proofs in one process: real repositories whose time, chance and renewals are ours."""

from dataclasses import dataclass
from itertools import count
from typing import Final, final

from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from cl_server_shared.database import DatabaseOptions, make_session_factory
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.jobs.repository import RepositoryParts, SqlJobRepository
from cl_server_shared.models import Job, JobEvent
from tests.support.repositories import ManualClock

LEASE_SECONDS: Final = 30
DEFAULT_RETRIES: Final = 1
OPTIONS: Final = DatabaseOptions(sqlite_synchronous="OFF", lock_timeout_seconds=5)
_POLICY: Final = JobPolicy(max_retries=DEFAULT_RETRIES, progress_max_per_second=1_000_000)


@dataclass(frozen=True, slots=True)
class Worker:
    """A repository as a process of its own would have it, and what renews its leases."""

    jobs: SqlJobRepository
    leases: LeaseKeeper


@final
class Jitter:
    """Practically one half, and never the same twice: claim numbers begin with it."""

    def __init__(self) -> None:
        self._calls: Final = count()

    def __call__(self) -> float:
        return 0.5 + next(self._calls) * 2.0**-30


@final
class InProcessEnvironment:
    """One database with a complete schema, one time and one audience, for several workers."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine
        self.clock: Final = ManualClock()
        self._events: Final[list[JobEvent]] = []
        self._broadcaster: Final = MemoryBroadcaster(max_kept_events=0)
        self._broadcaster.subscribe(self._events.append)
        self._jitter: Final = Jitter()

    def clear(self) -> None:
        """Begin again without jobs."""
        with Session(self.engine) as session:
            session.execute(delete(Job))
            session.commit()
        self._events.clear()

    def worker(self, name: str, *, engine: Engine | None = None) -> Worker:
        """Make a worker whose leases are renewed only by `worker.leases.renew()`."""
        leases = LeaseKeeper(lease_seconds=LEASE_SECONDS, clock=self.clock)
        # The keeper starts its thread where it has none: here this one calls `renew`.
        leases.is_keeping = True
        parts = RepositoryParts(
            outbox=OutboxRelay(self._broadcaster, self.clock),
            clock=self.clock,
            leases=leases,
            worker_id=name,
            jitter=self._jitter,
            policy=_POLICY,
            options=OPTIONS,
        )
        sessions = make_session_factory(engine or self.engine)
        return Worker(SqlJobRepository(sessions, parts), leases)

    def take_events(self) -> list[JobEvent]:
        """Return what was told since the last call."""
        taken = self._events.copy()
        self._events.clear()
        return taken
