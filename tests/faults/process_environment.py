"""Where the processes of a fault test meet: one database, and how each of them uses it."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlmodel import Session, col, func, select

from cl_server_shared.database import make_engine
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Job, JobStatus
from cl_server_shared.protocols.events import Broadcaster
from tests.support.repositories import repository_on

LEASE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class ProcessEnvironment:
    """A database that several processes share, and the settings that all of them have."""

    url: str
    sqlite_wal: bool = True
    lease_seconds: float = LEASE_SECONDS
    max_retries: int = 1000

    def repository(
        self, engine: Engine | None = None, broadcaster: Broadcaster | None = None
    ) -> SqlJobRepository:
        """Build a repository as each process has it: own claims, own lease keeper."""
        return repository_on(
            make_engine(self.url) if engine is None else engine,
            broadcaster=broadcaster,
            JOB_RETRY_BASE_SECONDS=0.01,
            SQLITE_WAL=self.sqlite_wal,
            JOB_LEASE_SECONDS=self.lease_seconds,
            JOB_MAX_RETRIES=self.max_retries,
        )


def number_of(engine: Engine, *states: JobStatus) -> int:
    """Count the jobs in some states."""
    counted = select(func.count()).select_from(Job).where(col(Job.status).in_(states))
    with Session(engine) as session:
        return session.exec(counted).one()


def integrity_of(engine: Engine) -> str:
    """Ask the database whether what it holds is whole: "ok", or what is wrong."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            found: list[object] = list(connection.scalars(text("PRAGMA integrity_check")))
            return "; ".join(map(str, found))
        return _integrity_of_postgres(connection)


def _integrity_of_postgres(connection: Connection) -> str:
    """Check the table, and that each of its rows is in each index that should have it."""
    connection.execute(text("CREATE EXTENSION amcheck"))
    wrong: list[object] = list(connection.scalars(text("SELECT msg FROM verify_heapam('jobs')")))
    indexes = (
        "SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = 'jobs'::regclass"
    )
    connection.execute(text(indexes))  # raises where one is broken
    connection.rollback()
    return "; ".join(map(str, wrong)) or "ok"
