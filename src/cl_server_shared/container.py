"""The composition root: the only module that knows every part.

Each part is built by a small typed function, since dependency-injector does not check the arguments
that it passes on. A part is swapped by its name, in one line:

    container = Container(broadcaster=providers.Object(MemoryBroadcaster()))
"""

import random
from contextlib import ExitStack
from functools import cache
from secrets import token_hex
from types import TracebackType
from typing import final

import anyio
import anyio.to_thread
from dependency_injector import containers, providers
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cl_server_shared.config import Config, FolderlessSettings, Settings, load_settings
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
from cl_server_shared.process.clock import Clock, SystemClock
from cl_server_shared.process.sigterm import exit_on_sigterm
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.protocols.files import JobStorage
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.presence import Presence, WorkerRegistry


def _database_url(settings: Settings) -> str:
    return settings.STORE_DATABASE_URL


def _engine(database_url: str, settings: Settings, closing: ExitStack) -> Engine:
    engine = make_engine(
        database_url,
        PostgresOptions(
            pool_size=settings.DATABASE_POOL_SIZE,
            lock_timeout_seconds=settings.DATABASE_LOCK_TIMEOUT_SECONDS,
            statement_timeout_seconds=settings.DATABASE_STATEMENT_TIMEOUT_SECONDS,
            has_transaction_pooling=settings.DATABASE_TRANSACTION_POOLING,
        ),
    )
    closing.callback(engine.dispose)
    return engine


def _broadcaster(settings: FolderlessSettings, closing: ExitStack) -> Broadcaster:
    broadcaster = choose_broadcaster(settings)
    closing.callback(broadcaster.close)
    return broadcaster


def _worker_presence(
    settings: FolderlessSettings,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
    closing: ExitStack,
) -> Presence:
    status = new_status(
        settings.WORKER_ID, settings.WORKER_SUPPORTED_TASKS, clock.now_ms(), token_hex(8)
    )
    presence = choose_presence(settings, status, clock, memory_workers)
    closing.callback(presence.close)
    return presence


def _worker_registry(
    settings: FolderlessSettings,
    clock: Clock,
    memory_workers: MemoryWorkerRegistry,
    closing: ExitStack,
) -> WorkerRegistry:
    registry = choose_registry(settings, clock, memory_workers)
    closing.callback(registry.close)
    return registry


def _leases(settings: FolderlessSettings, clock: Clock) -> LeaseKeeper:
    return LeaseKeeper(lease_seconds=settings.JOB_LEASE_SECONDS, clock=clock)


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


def _outbox(broadcaster: Broadcaster, clock: Clock, closing: ExitStack) -> OutboxRelay:
    outbox = OutboxRelay(broadcaster, clock)
    closing.callback(outbox.close)
    return outbox


def _parts(
    settings: FolderlessSettings, outbox: OutboxRelay, clock: Clock, leases: LeaseKeeper
) -> RepositoryParts:
    return RepositoryParts(
        outbox=outbox,
        clock=clock,
        leases=leases,
        worker_id=f"{settings.WORKER_ID}:{token_hex(4)}",
        jitter=random.random,
        policy=_policy(settings),
        options=_database_options(settings),
    )


def _job_repository(
    session_factory: sessionmaker[Session], parts: RepositoryParts
) -> JobManagement:
    return SqlJobRepository(session_factory, parts)


def _async_job_repository(job_repository: JobManagement) -> AsyncJobRepository:
    return AsyncJobRepository(job_repository)


def _job_storage(settings: Settings) -> JobStorage:
    return LocalJobStorage(settings.COMPUTE_STORAGE_DIR, fsync=settings.STORAGE_FSYNC)


def _media_storage(settings: Settings) -> JobStorage:
    return LocalJobStorage(settings.MEDIA_STORAGE_DIR, fsync=settings.STORAGE_FSYNC)


@final
class Container(containers.DeclarativeContainer):
    """Builds every part once, at its first use; one container per process, and one per test.

    | provider | builds | from |
    |---|---|---|
    | `settings` | `Settings` | the environment |
    | `clock` | `Clock` | the system's time |
    | `closing` | `ExitStack` | what `running` closes at its end, the last built first |
    | `database_url` | `str` | `STORE_DATABASE_URL` |
    | `engine`, `session_factory` | SQLAlchemy's | `database_url`, `DATABASE_...` |
    | `broadcaster` | `Broadcaster` | `BROADCAST_TYPE` |
    | `outbox` | `OutboxRelay` | `broadcaster`: sends again what was not acknowledged |
    | `worker_presence` | `Presence` | `WORKER_ID`, `WORKER_SUPPORTED_TASKS`, `BROADCAST_TYPE` |
    | `worker_registry` | `WorkerRegistry` | `BROADCAST_TYPE` |
    | `memory_workers` | `MemoryWorkerRegistry` | what both share where that is `memory` |
    | `leases` | `LeaseKeeper` | `JOB_LEASE_SECONDS` |
    | `repository_parts` | `RepositoryParts` | the parts above and the `JOB_...` settings |
    | `job_repository`, `async_job_repository` | the jobs, for threads and for event loops | |
    | `job_storage` | `JobStorage` | `COMPUTE_STORAGE_DIR` |
    | `media_storage` | `JobStorage` | `MEDIA_STORAGE_DIR` |

    Give a replacement to the constructor, `Container(clock=providers.Object(my_clock))`: a part
    that was built before its own parts were overridden would keep the old ones.

    Raises:
        AttributeError: the constructor was given a name that is no provider.
        ConfigError: from a provider: a setting is missing or wrong.
        DatabaseError: from `engine` and what needs it: the URL cannot be used.
    """

    settings: providers.Provider[Settings] = providers.ThreadSafeSingleton(load_settings)
    clock: providers.Provider[Clock] = providers.ThreadSafeSingleton(SystemClock)
    closing: providers.Provider[ExitStack] = providers.ThreadSafeSingleton(ExitStack)
    database_url: providers.Provider[str] = providers.ThreadSafeSingleton(_database_url, settings)
    engine: providers.Provider[Engine] = providers.ThreadSafeSingleton(
        _engine, database_url, settings, closing
    )
    session_factory: providers.Provider[sessionmaker[Session]] = providers.ThreadSafeSingleton(
        make_session_factory, engine
    )
    broadcaster: providers.Provider[Broadcaster] = providers.ThreadSafeSingleton(
        _broadcaster, settings, closing
    )
    memory_workers: providers.Provider[MemoryWorkerRegistry] = providers.ThreadSafeSingleton(
        MemoryWorkerRegistry
    )
    worker_presence: providers.Provider[Presence] = providers.ThreadSafeSingleton(
        _worker_presence, settings, clock, memory_workers, closing
    )
    worker_registry: providers.Provider[WorkerRegistry] = providers.ThreadSafeSingleton(
        _worker_registry, settings, clock, memory_workers, closing
    )
    leases: providers.Provider[LeaseKeeper] = providers.ThreadSafeSingleton(
        _leases, settings, clock
    )
    outbox: providers.Provider[OutboxRelay] = providers.ThreadSafeSingleton(
        _outbox, broadcaster, clock, closing
    )
    repository_parts: providers.Provider[RepositoryParts] = providers.ThreadSafeSingleton(
        _parts, settings, outbox, clock, leases
    )
    job_repository: providers.Provider[JobManagement] = providers.ThreadSafeSingleton(
        _job_repository, session_factory, repository_parts
    )
    async_job_repository: providers.Provider[AsyncJobRepository] = providers.ThreadSafeSingleton(
        _async_job_repository, job_repository
    )
    job_storage: providers.Provider[JobStorage] = providers.ThreadSafeSingleton(
        _job_storage, settings
    )
    media_storage: providers.Provider[JobStorage] = providers.ThreadSafeSingleton(
        _media_storage, settings
    )


@final
class running:  # noqa: N801  # reads as a statement: `with running(Container()) as container:`
    """A container for the length of a `with` or `async with` block.

    At the end it closes what was built, the last first and each even if another fails: events
    are delivered for at most 2 s, then the database's connections close. A container may run
    again afterwards.

    SIGTERM, if the program has no handler of its own, ends a `with` block by SystemExit(143). In
    `async with` signals are the affair of whoever runs the event loop: servers handle them.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._signals = ExitStack()

    def __enter__(self) -> Container:
        self._signals.enter_context(exit_on_sigterm())
        return self._container

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._signals:
            self._close()

    async def __aenter__(self) -> Container:
        return self._container

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        try:
            self._container.closing().close()
        finally:
            self._container.reset_singletons()


@cache
def process_container() -> Container:
    """Return the process's own container, which serves what is built without one.

    `JobRepositoryService(session_factory)` takes its broadcaster, clock and policy from it: all
    such repositories of a process share one connection to the broker and one lease keeper.
    """
    return Container(settings=providers.Object(Config))
