"""How the container builds each part, and what it does with it at its end.

Small typed functions, since dependency-injector does not check the arguments that it passes on.
What a function registers in `closing` is done at the end of a run, the last first. A part that a
user gave was not built here: nobody closes it, but the outbox its broadcaster.
"""

import random
from contextlib import ExitStack
from secrets import token_hex

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.config import FolderlessSettings, Settings
from cl_server_shared.database import (
    DatabaseOptions,
    PostgresOptions,
    make_engine,
    make_session_factory,
)
from cl_server_shared.events.factory import choose_broadcaster
from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.policy import JobPolicy, RetryPolicy
from cl_server_shared.jobs.repository import RepositoryParts, SqlJobRepository
from cl_server_shared.presence.factory import choose_presence, choose_registry
from cl_server_shared.presence.memory import MemoryWorkerRegistry
from cl_server_shared.presence.payload import new_status
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.closed_part import close_part
from cl_server_shared.protocols.events import Broadcaster, ConfirmingBroadcaster
from cl_server_shared.protocols.files import JobStorage
from cl_server_shared.protocols.fitting import require_port
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.presence import Presence, WorkerRegistry


def database_url(settings: Settings) -> str:
    """Return where the jobs are."""
    return settings.STORE_DATABASE_URL


def engine(database_url: str, settings: Settings, closing: ExitStack) -> Engine:
    """Build the engine; its connections close with it."""
    built = make_engine(
        database_url,
        PostgresOptions(
            pool_size=settings.DATABASE_POOL_SIZE,
            lock_timeout_seconds=settings.DATABASE_LOCK_TIMEOUT_SECONDS,
            statement_timeout_seconds=settings.DATABASE_STATEMENT_TIMEOUT_SECONDS,
            has_transaction_pooling=settings.DATABASE_TRANSACTION_POOLING,
        ),
    )
    closing.callback(built.dispose)
    closing.callback(close_part, "engine", built, Engine)  # first: nobody connects meanwhile
    return built


def session_factory(engine: Engine, closing: ExitStack) -> sessionmaker[Session]:
    """Build the sessions of the engine."""
    built = make_session_factory(engine)
    closing.callback(close_part, "session_factory", built, sessionmaker)
    return built


def broadcaster(settings: FolderlessSettings, closing: ExitStack) -> Broadcaster:
    """Build the broadcaster that `BROADCAST_TYPE` chooses; closing it delivers what waits."""
    built = choose_broadcaster(settings)
    closing.callback(close_part, "broadcaster", built, ConfirmingBroadcaster)
    closing.callback(built.close)
    return built


def memory_workers(closing: ExitStack) -> MemoryWorkerRegistry:
    """Build what presences and the registry of one process share; `worker_registry` is it then."""
    built = MemoryWorkerRegistry()
    closing.callback(close_part, "worker_registry", built, WorkerRegistry)
    closing.callback(built.close)
    return built


def worker_presence(
    settings: FolderlessSettings,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
    closing: ExitStack,
) -> Presence:
    """Build what tells that this worker is there; closing it tells that it is gone."""
    require_port("clock", clock, Clock)
    status = new_status(
        settings.WORKER_ID, settings.WORKER_SUPPORTED_TASKS, clock.now_ms(), token_hex(8)
    )
    built = choose_presence(settings, status, clock, memory_workers)
    closing.callback(close_part, "worker_presence", built, Presence)
    closing.callback(built.close)
    return built


def worker_registry(
    settings: FolderlessSettings,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
    closing: ExitStack,
) -> WorkerRegistry:
    """Build what knows the workers; in memory that is *memory_workers* itself."""
    require_port("clock", clock, Clock)
    built = choose_registry(settings, clock, memory_workers)
    if built is not memory_workers:
        closing.callback(close_part, "worker_registry", built, WorkerRegistry)
        closing.callback(built.close)
    return built


def leases(settings: FolderlessSettings, clock: Clock, closing: ExitStack) -> LeaseKeeper:
    """Build what keeps claims alive; at its end it lets them go, for others to take over."""
    require_port("clock", clock, Clock)
    built = LeaseKeeper(lease_seconds=settings.JOB_LEASE_SECONDS, clock=clock)
    closing.callback(built.close)
    return built


def outbox(broadcaster: Broadcaster, clock: Clock, closing: ExitStack) -> OutboxRelay:
    """Build what announces again what was not acknowledged; closing it records what was."""
    require_port("broadcaster", broadcaster, Broadcaster)
    require_port("clock", clock, Clock)
    built = OutboxRelay(broadcaster, clock)
    closing.callback(close_part, "outbox", built, OutboxRelay)
    closing.callback(built.close)
    return built


def repository_parts(
    settings: FolderlessSettings, outbox: OutboxRelay, clock: Clock, leases: LeaseKeeper
) -> RepositoryParts:
    """Gather what a repository works with."""
    require_port("clock", clock, Clock)
    return RepositoryParts(
        outbox=outbox,
        clock=clock,
        leases=leases,
        worker_id=f"{settings.WORKER_ID}:{token_hex(4)}",
        jitter=random.random,
        policy=_policy(settings),
        options=_database_options(settings),
    )


def _policy(settings: FolderlessSettings) -> JobPolicy:
    return JobPolicy(
        max_retries=settings.JOB_MAX_RETRIES,
        retry=RetryPolicy(
            base_seconds=settings.JOB_RETRY_BASE_SECONDS,
            max_seconds=settings.JOB_RETRY_MAX_SECONDS,
        ),
        progress_max_per_second=settings.PROGRESS_MAX_PER_SECOND,
        json_max_bytes=settings.JOB_JSON_MAX_BYTES,
    )


def _database_options(settings: FolderlessSettings) -> DatabaseOptions:
    return DatabaseOptions(
        may_upgrade=settings.SCHEMA_AUTO_UPGRADE,
        sqlite_wal=settings.SQLITE_WAL,
        sqlite_synchronous=settings.SQLITE_SYNCHRONOUS,
        lock_timeout_seconds=settings.DATABASE_LOCK_TIMEOUT_SECONDS,
    )


def job_repository(
    session_factory: sessionmaker[Session], parts: RepositoryParts, closing: ExitStack
) -> JobManagement:
    """Build the jobs for threads."""
    built = SqlJobRepository(session_factory, parts)
    closing.callback(close_part, "job_repository", built, SqlJobRepository)
    return built


def async_job_repository(job_repository: JobManagement, closing: ExitStack) -> AsyncJobRepository:
    """Build the jobs for event loops."""
    require_port("job_repository", job_repository, JobManagement)
    built = AsyncJobRepository(job_repository)
    closing.callback(close_part, "async_job_repository", built, AsyncJobRepository)
    return built


def job_storage(settings: Settings, closing: ExitStack) -> JobStorage:
    """Build the files of the jobs."""
    return _storage("job_storage", settings.COMPUTE_STORAGE_DIR, settings, closing)


def media_storage(settings: Settings, closing: ExitStack) -> JobStorage:
    """Build the files of the store."""
    return _storage("media_storage", settings.MEDIA_STORAGE_DIR, settings, closing)


def _storage(name: str, folder: str, settings: Settings, closing: ExitStack) -> JobStorage:
    built = LocalJobStorage(folder, fsync=settings.STORAGE_FSYNC)
    closing.callback(close_part, name, built, JobStorage)
    return built
