"""The types that a user of the library sees; checked by basedpyright, never executed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, assert_type, final, override

from dependency_injector import providers
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Mapped, Session, mapped_column, sessionmaker
from sqlmodel import select

from cl_server_shared import (
    ClServerError,
    Config,
    ConfigError,
    Container,
    ContainerClosedError,
    DatabaseError,
    EventStream,
    InOrder,
    InvalidJobError,
    InvalidPathError,
    JobDetails,
    JobEvent,
    JobFilter,
    JobPage,
    JobRecord,
    JobRecordUpdate,
    JobRepositoryService,
    JobStatus,
    JobStorageService,
    NewJob,
    SavedJobFile,
    SchemaError,
    Settings,
    WorkerStatus,
    running,
)
from cl_server_shared.database import make_engine, make_session_factory, upgrade
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.events.none import NoneBroadcaster
from cl_server_shared.events.stream import events
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.jobs.leases import LeaseKeeper
from cl_server_shared.jobs.outbox_relay import OutboxRelay
from cl_server_shared.jobs.repository import RepositoryParts
from cl_server_shared.models import Base, Job, QueueEntry
from cl_server_shared.models.json_object import JsonObject
from cl_server_shared.presence.memory import MemoryWorkerRegistry
from cl_server_shared.presence.none import NonePresence
from cl_server_shared.process.clock import Clock, SystemClock
from cl_server_shared.protocols.events import Broadcaster, Subscription
from cl_server_shared.protocols.files import AsyncFileLike, JobStorage
from cl_server_shared.protocols.jobs import (
    JobManagement,
    JobRecordLike,
    JobRecordUpdateLike,
    JobRepository,
)
from cl_server_shared.protocols.presence import Presence, WorkerRegistry

# Settings


def settings_have_the_type_of_their_field() -> None:
    assert_type(Config.MQTT_PORT, int)
    assert_type(Config.CL_SERVER_DIR, str)
    assert_type(Config.WORKER_POLL_INTERVAL, float)
    assert_type(Config.WORKER_SUPPORTED_TASKS, list[str])
    assert_type(Config.AUTH_DISABLED, bool)
    assert_type(Config.ADMIN_PASSWORD, SecretStr | None)


def a_setting_can_be_a_default(poll_interval: float = Config.WORKER_POLL_INTERVAL) -> float:
    return poll_interval


def a_misspelt_or_mistaken_setting_is_refused() -> None:
    _ = Config.MQTT_PROT  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    _port: str = Config.MQTT_PORT  # pyright: ignore[reportAssignmentType]


# Records and rows


def records_are_typed(record: JobRecord, update: JobRecordUpdate, saved: SavedJobFile) -> None:
    assert_type(record.job_id, str)
    assert_type(record.params, JsonObject)
    assert_type(record.output, JsonObject | None)
    assert_type(record.status, JobStatus)
    assert_type(record.progress, int)
    assert_type(update.progress, int | None)
    assert_type(update.status, JobStatus | None)
    assert_type(saved.size, int)


def records_are_made_by_name() -> None:
    JobRecord(job_id="a", task_type="t", params={"deep": [1, None, {"x": "y"}]})
    JobRecordUpdate(status=JobStatus.completed, output={"ok": True})
    JobRecord(job_id="a", task_type="t", params={"x": timedelta()})  # pyright: ignore[reportArgumentType]
    JobRecord(job_id="a")  # pyright: ignore[reportCallIssue]
    JobRecordUpdate(progess=5)  # pyright: ignore[reportCallIssue]


def any_mapping_is_given_and_a_dict_is_kept(
    sizes: dict[str, int], nested: Mapping[str, list[str]]
) -> None:
    assert_type(JobRecord(job_id="a", task_type="t", params=sizes).params, JsonObject)
    assert_type(JobRecordUpdate(output=nested).output, JsonObject | None)
    _details: JobRecord = JobDetails(job_id="a", task_type="t", created_at=5)
    JobRecord(job_id="a", task_type="t", params=sizes.keys())  # pyright: ignore[reportArgumentType]
    JobRecordUpdate(output={"deep": [timedelta()]})  # pyright: ignore[reportArgumentType]


def details_are_typed(page: JobPage) -> None:
    (details,) = page.jobs
    assert_type(details, JobDetails)
    assert_type(details.created_by, str | None)
    assert_type(details.created_at, int)
    assert_type(details.lease_expires_at, int | None)
    assert_type(page.next, str | None)


def a_filter_takes_collections_by_name() -> None:
    JobFilter(statuses=[JobStatus.error], task_types={"a"}, job_ids=("x",), order="oldest")
    JobFilter(statuses=["error"])  # pyright: ignore[reportArgumentType]
    JobFilter(order="random")  # pyright: ignore[reportArgumentType]
    JobFilter([JobStatus.error])  # pyright: ignore[reportCallIssue]


def a_new_job_is_a_record_and_its_terms(record: JobRecord) -> None:
    assert_type(NewJob(record, priority=5, run_at=1_800_000_000_000).job, JobRecord)
    NewJob(record, run_at="tomorrow")  # pyright: ignore[reportArgumentType]


def rows_are_typed(session: Session) -> None:
    row = session.scalars(select(Job).where(Job.status == JobStatus.queued)).one()
    assert_type(row, Job)
    assert_type(row.created_at, int)
    assert_type(row.started_at, int | None)
    entry = session.scalars(select(QueueEntry)).one()
    assert_type(entry.enqueued_at, int)
    assert_type(entry.run_at, int | None)


class ServiceConfig(Base):
    """A service's own table."""

    __tablename__: str = "service_config"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str | None]


def a_services_own_table_is_typed(config: ServiceConfig) -> None:
    assert_type(config.value, str | None)


# Repository and storage


def a_repository_needs_one_argument() -> JobRepository:
    engine = create_engine("sqlite://")
    sessions: sessionmaker[Session] = sessionmaker(bind=engine)
    return JobRepositoryService(sessions)


def the_five_verbs_are_typed(repository: JobRepository, record: JobRecord) -> None:
    assert_type(repository.add_job(record, created_by="me", priority=5), bool)
    assert_type(repository.add_job(record), bool)
    assert_type(repository.get_job("a"), JobRecord | None)
    assert_type(repository.update_job("a", JobRecordUpdate(progress=5)), bool)
    assert_type(repository.fetch_next_job(["t"]), JobRecord | None)
    assert_type(repository.delete_job("a"), bool)
    repository.add_job("a")  # pyright: ignore[reportArgumentType]
    repository.update_job("a", progress=5)  # pyright: ignore[reportCallIssue]


async def the_asynchronous_face_has_the_same_types(
    repository: AsyncJobRepository, record: JobRecord
) -> None:
    assert_type(await repository.add_job(record, created_by="me", priority=5), bool)
    assert_type(await repository.get_job("a"), JobRecord | None)
    assert_type(await repository.update_job("a", JobRecordUpdate(progress=5)), bool)
    assert_type(await repository.fetch_next_job(("t",)), JobRecord | None)
    assert_type(await repository.delete_job("a"), bool)


def a_storage_may_be_given_a_folder_or_none() -> Sequence[JobStorage]:
    return [JobStorageService(), JobStorageService("/data"), JobStorageService(base_dir=Path())]


async def a_storage_is_typed(storage: JobStorage, upload: "Upload") -> None:
    for source in (b"bytes", bytearray(), memoryview(b""), "/a/path", Path(), upload):
        assert_type(await storage.save("a", "input/x", source), SavedJobFile)
    assert_type(storage.allocate_path("a", "output/x", mkdirs=True), Path)
    assert_type(storage.resolve_path("a"), Path)
    assert_type(storage.remove("a"), bool)
    async with await storage.open("a", "input/x") as file:
        assert_type(file, AsyncFileLike)
        assert_type(await file.read(), bytes)
    await storage.save("a", "input/x", 5)  # pyright: ignore[reportArgumentType]


def a_storage_without_an_event_loop_is_typed(
    storage: JobStorage, file: BinaryIO, upload: "Upload"
) -> None:
    for source in (b"bytes", bytearray(), memoryview(b""), "/a/path", Path(), file):
        assert_type(storage.save_sync("a", "input/x", source), SavedJobFile)
    with storage.open_sync("a", "input/x") as stored:
        assert_type(stored, BinaryIO)
    storage.save_sync("a", "input/x", upload)  # pyright: ignore[reportArgumentType]


class Upload:
    """Has the shape of Starlette's UploadFile."""

    async def read(self, size: int = -1) -> bytes:
        """Read."""
        return b"" * size


# Foreign records


class ForeignRecord:
    """A record of cl_ml_tools' next release: the same shape, another class."""

    job_id: str = "a"
    task_type: str = "t"
    params: dict[str, str] = {}  # noqa: RUF012  # a type, not a value
    status: str = "queued"
    progress: int = 0
    output: dict[str, object] | None = None
    error_message: str | None = None


def a_record_of_the_same_shape_is_accepted(repository: JobRepository) -> None:
    repository.add_job(ForeignRecord())


# The container


@final
class OwnClock(Clock):
    """A user's clock."""

    @override
    def now_ms(self) -> int:
        return 0


@final
class OwnRepository(JobRepository):
    """A user's repository: a missing verb would be an error here."""

    @override
    def add_job(
        self, job: JobRecordLike, created_by: str | None = None, priority: int | None = None
    ) -> bool:
        return False

    @override
    def get_job(self, job_id: str) -> JobRecord | None:
        return None

    @override
    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        return False

    @override
    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        return None

    @override
    def delete_job(self, job_id: str) -> bool:
        return False


def waits_are_typed(jobs: JobManagement) -> None:
    assert_type(jobs.wait_for_job("a", 5), JobRecord | None)
    assert_type(jobs.watch_job("a"), Iterator[JobRecord])
    assert_type(jobs.wait_for_work(["t"], None), bool)


async def waits_on_an_event_loop_are_typed(jobs: AsyncJobRepository) -> None:
    assert_type(await jobs.wait_for_job("a", None), JobRecord | None)
    assert_type(await jobs.wait_for_work(["t"], 0.5), bool)
    async for job in jobs.watch_job("a", 5):
        assert_type(job, JobRecord)


def every_provider_is_typed(container: Container) -> None:
    assert_type(container.settings(), Settings)
    assert_type(container.clock(), Clock)
    assert_type(container.closing(), ExitStack)
    assert_type(container.database_url(), str)
    assert_type(container.engine(), Engine)
    assert_type(container.session_factory(), sessionmaker[Session])
    assert_type(container.broadcaster(), Broadcaster)
    assert_type(container.worker_presence(), Presence)
    assert_type(container.worker_registry(), WorkerRegistry)
    assert_type(container.memory_workers(), MemoryWorkerRegistry)
    assert_type(container.leases(), LeaseKeeper)
    assert_type(container.outbox(), OutboxRelay)
    assert_type(container.repository_parts(), RepositoryParts)
    assert_type(container.job_repository(), JobManagement)
    assert_type(container.async_job_repository(), AsyncJobRepository)
    assert_type(container.job_storage(), JobStorage)
    assert_type(container.media_storage(), JobStorage)


def every_provider_is_swapped_in_one_line(
    settings: Settings, engine: Engine, jobs: JobManagement, storage: JobStorage
) -> Sequence[Container]:
    clock = OwnClock()
    return [
        Container(settings=providers.Object(settings)),
        Container(clock=providers.Object(clock)),
        Container(closing=providers.Object(ExitStack())),
        Container(database_url=providers.Object("sqlite:///:memory:")),
        Container(engine=providers.Object(engine)),
        Container(session_factory=providers.Object(make_session_factory(engine))),
        Container(broadcaster=providers.Object(MemoryBroadcaster())),
        Container(worker_presence=providers.Object(NonePresence())),
        Container(worker_registry=providers.Object(MemoryWorkerRegistry())),
        Container(leases=providers.Object(LeaseKeeper(lease_seconds=5, clock=clock))),
        Container(job_repository=providers.Object(jobs)),
        Container(async_job_repository=providers.Object(AsyncJobRepository(jobs))),
        Container(job_storage=providers.Object(storage)),
        Container(media_storage=providers.Singleton(JobStorageService, "/data")),
    ]


def a_block_gives_the_container() -> None:
    with running(Container()) as container:
        assert_type(container, Container)


def blocks_may_be_nested(container: Container) -> None:
    with running(container) as outer, running(outer) as inner:
        assert_type(inner, Container)
    running(Container)  # pyright: ignore[reportArgumentType]
    running(container.clock)  # pyright: ignore[reportArgumentType]


async def an_asynchronous_block_gives_the_container() -> None:
    async with running(Container()) as container:
        assert_type(container, Container)


# Events and errors


def events_are_typed(broadcaster: Broadcaster, told: Callable[[JobEvent], None]) -> None:
    assert_type(broadcaster.subscribe(told), Subscription)
    assert_type(MemoryBroadcaster().published, tuple[JobEvent, ...])


def a_callback_in_order_is_a_callback(
    broadcaster: Broadcaster, told: Callable[[JobEvent], None]
) -> None:
    assert_type(broadcaster.subscribe(InOrder(told)), Subscription)
    InOrder(told, wait_ms="long")  # pyright: ignore[reportArgumentType]


async def events_are_read_with_their_type(broadcaster: Broadcaster) -> None:
    async with events(broadcaster, in_order=True) as stream:
        assert_type(stream, EventStream)
        async for event in stream:
            assert_type(event, JobEvent)
    events(broadcaster, "topic", 5)  # pyright: ignore[reportCallIssue]


def workers_are_typed(presence: Presence, registry: WorkerRegistry) -> None:
    with presence as entered:
        assert_type(entered, Presence)
    assert_type(registry.workers(), tuple[WorkerStatus, ...])
    assert_type(registry.capabilities(), dict[str, int])


def clocks_and_broadcasters_fit_their_ports() -> tuple[Clock, Sequence[Broadcaster]]:
    return SystemClock(), [NoneBroadcaster(), MemoryBroadcaster()]


def a_database_is_made_from_a_url() -> None:
    engine = make_engine("sqlite://")
    assert_type(engine, Engine)
    upgrade(engine)


def errors_have_one_base() -> tuple[Sequence[type[ClServerError]], Sequence[type[ValueError]]]:
    every = [
        ConfigError,
        ContainerClosedError,
        InvalidJobError,
        InvalidPathError,
        DatabaseError,
        SchemaError,
    ]
    return every, [InvalidJobError, InvalidPathError]
