"""The composition root: it knows every part, and for how long each is open.

A part is swapped by its name, in one line:

    container = Container(broadcaster=providers.Object(MemoryBroadcaster()))
"""

from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from types import TracebackType
from typing import Final, Self, cast, final
from weakref import WeakKeyDictionary

import anyio
from dependency_injector import containers, providers
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

import cl_server_shared.factories as factories  # noqa: PLR0402  # from the package: a circle
from cl_server_shared.config import Config, FolderlessSettings, Settings, load_settings
from cl_server_shared.errors import ConfigError
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.repository import RepositoryParts
from cl_server_shared.presence.memory import MemoryWorkerRegistry
from cl_server_shared.process.clock import Clock, SystemClock
from cl_server_shared.process.entries import Entries
from cl_server_shared.process.off_loop import off_loop
from cl_server_shared.process.sigterm import exit_on_sigterm
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.protocols.files import JobStorage
from cl_server_shared.protocols.fitting import refuse_provider, require_port
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.presence import Presence, WorkerRegistry


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
    that was built before its own parts were overridden would keep the old ones. A replacement is
    yours: it is neither closed nor made to refuse calls when the container closes; a broadcaster
    alone is closed by the `outbox`, which then records what was delivered.

    Raises:
        AttributeError: the constructor was given a name that is no provider.
        ConfigError: a replacement does not fit: from the constructor for an object, from the
            provider where it is built later. Or a setting is missing or wrong.
        DatabaseError: from `engine` and what needs it: the URL cannot be used.
    """

    settings: providers.Provider[Settings] = providers.ThreadSafeSingleton(load_settings)
    clock: providers.Provider[Clock] = providers.ThreadSafeSingleton(SystemClock)
    closing: providers.Provider[ExitStack] = providers.ThreadSafeSingleton(ExitStack)
    database_url: providers.Provider[str] = providers.ThreadSafeSingleton(
        factories.database_url, settings
    )
    engine: providers.Provider[Engine] = providers.ThreadSafeSingleton(
        factories.engine, database_url, settings, closing
    )
    session_factory: providers.Provider[sessionmaker[Session]] = providers.ThreadSafeSingleton(
        factories.session_factory, engine, closing
    )
    broadcaster: providers.Provider[Broadcaster] = providers.ThreadSafeSingleton(
        factories.broadcaster, settings, closing
    )
    memory_workers: providers.Provider[MemoryWorkerRegistry] = providers.ThreadSafeSingleton(
        factories.memory_workers, closing
    )
    worker_presence: providers.Provider[Presence] = providers.ThreadSafeSingleton(
        factories.worker_presence, settings, clock, memory_workers, closing
    )
    worker_registry: providers.Provider[WorkerRegistry] = providers.ThreadSafeSingleton(
        factories.worker_registry, settings, clock, memory_workers, closing
    )
    leases: providers.Provider[LeaseKeeper] = providers.ThreadSafeSingleton(
        factories.leases, settings, clock, closing
    )
    outbox: providers.Provider[OutboxRelay] = providers.ThreadSafeSingleton(
        factories.outbox, broadcaster, clock, closing
    )
    repository_parts: providers.Provider[RepositoryParts] = providers.ThreadSafeSingleton(
        factories.repository_parts, settings, outbox, clock, leases
    )
    job_repository: providers.Provider[JobManagement] = providers.ThreadSafeSingleton(
        factories.job_repository, session_factory, repository_parts, closing
    )
    async_job_repository: providers.Provider[AsyncJobRepository] = providers.ThreadSafeSingleton(
        factories.async_job_repository, job_repository, closing
    )
    job_storage: providers.Provider[JobStorage] = providers.ThreadSafeSingleton(
        factories.job_storage, settings, closing
    )
    media_storage: providers.Provider[JobStorage] = providers.ThreadSafeSingleton(
        factories.media_storage, settings, closing
    )

    def __new__(cls, **replacements: object) -> Self:
        """Return a container with these replacements."""
        checked = {name: _checked(name, part) for name, part in replacements.items()}
        return super().__new__(cls, **checked)


_PORTS: Final[dict[str, type]] = {
    "settings": FolderlessSettings,
    "clock": Clock,
    "closing": ExitStack,
    "database_url": str,
    "engine": Engine,
    "session_factory": sessionmaker,
    "broadcaster": Broadcaster,
    "memory_workers": MemoryWorkerRegistry,
    "worker_presence": Presence,
    "worker_registry": WorkerRegistry,
    "leases": LeaseKeeper,
    "outbox": OutboxRelay,
    "repository_parts": RepositoryParts,
    "job_repository": JobManagement,
    "async_job_repository": AsyncJobRepository,
    "job_storage": JobStorage,
    "media_storage": JobStorage,
}


def _checked(name: str, replacement: object) -> providers.Provider[object]:
    """Return a provider of what fits: an object is checked now, another when it is built."""
    if not isinstance(replacement, providers.Provider):
        return providers.Object(_fitting(name, replacement))
    given = cast("providers.Provider[object]", replacement)  # isinstance tells no type argument
    if isinstance(given, providers.Object):
        _fitting(name, given())
        return given
    return providers.Callable(_fitting, name, given)


def _fitting(name: str, part: object) -> object:
    if name in _PORTS and part is not Config:
        require_port(name, part, _PORTS[name])
    return part


@final
class running:  # noqa: N801  # reads as a statement: `with running(Container()) as container:`
    """A container for the length of a `with` or `async with` block.

    Blocks on one container may be nested, in any mixture and in several threads: the last to end
    closes it. Then what the container built is closed, the last first and each even if another
    fails: events are delivered for at most 2 s, then the database's connections close. Every part
    that it built raises ContainerClosedError from then on. The container may run again, and builds
    its parts anew.

    SIGTERM, if the program has no handler of its own, ends the outermost `with` block of the main
    thread by SystemExit(143). In `async with` signals are the affair of whoever runs the event
    loop: servers handle them.

    Raises:
        ConfigError: what was given is no container, such as the class `Container` itself.
    """

    def __init__(self, container: Container) -> None:
        _require_container(container)
        self._container = container
        self._entries = _ENTRIES.setdefault(container, Entries())
        self._signals: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Container:
        signals = exit_on_sigterm()
        signals.__enter__()
        self._signals.append(signals)
        self._entries.enter()
        return self._container

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with ExitStack() as signals:
            signals.push(self._signals.pop())
            self._entries.leave(self._close)

    async def __aenter__(self) -> Container:
        await off_loop(self._entries.enter)  # it waits while another thread closes
        return self._container

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await off_loop(partial(self._entries.leave, self._close))

    def _close(self) -> None:
        try:
            self._container.closing().close()
        finally:
            self._container.reset_singletons()


_ENTRIES: Final[WeakKeyDictionary[Container, Entries]] = WeakKeyDictionary()


def _require_container(container: object) -> None:
    if isinstance(container, containers.DynamicContainer):  # what calling `Container` gives
        return
    if isinstance(container, type):
        raise ConfigError(
            f"running got the class {container.__name__} itself: call it, as in "
            f"`running({container.__name__}())`"
        )
    refuse_provider("container", container, "Container")
    raise ConfigError(
        f"running got an object of type {type(container).__name__}: give it a `Container()`"
    )


@cache
def process_container() -> Container:
    """Return the process's own container, which serves what is built without one.

    `JobRepositoryService(session_factory)` takes its broadcaster, clock and policy from it: all
    such repositories of a process share one connection to the broker and one lease keeper.
    """
    return Container(settings=providers.Object(Config))
