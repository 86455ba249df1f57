"""cl_ml_tools' own Worker and routes on our adapters, seen by an MQTT client that is not ours."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict, cast

import cl_ml_tools
import httpx2
import pytest
from cl_ml_tools import Job
from cl_ml_tools.master import create_master_router  # pyright: ignore[reportUnknownVariableType]  its callback has no type
from cl_ml_tools.worker import Worker
from dependency_injector import providers
from fastapi import APIRouter, FastAPI
from PIL import Image, ImageOps
from sqlmodel import select

from cl_server_shared import Container, InvalidJobError, InvalidPathError, Settings, running
from cl_server_shared.integrations.ml_tools import MlToolsFileStorage, MlToolsJobRepository
from cl_server_shared.models import Job as JobRow
from tests.support.listener import Listener
from tests.support.servers import Address
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


class Event(TypedDict):
    job_id: str
    event_type: str
    timestamp: int
    progress: int
    task_type: str
    seq: int
    schema_version: int


class Runner(Protocol):
    async def run_once(self, task_types: list[str] | None = None) -> bool: ...


@dataclass(frozen=True)
class User:
    id: int


type GetUser = Callable[[], User]
type MakeRouter = Callable[[cl_ml_tools.JobRepository, cl_ml_tools.FileStorage, GetUser], APIRouter]


@pytest.fixture
def container(tmp_path: Path, mqtt_broker: Address, topic: str) -> Iterator[Container]:
    settings = Settings(
        CL_SERVER_DIR=str(tmp_path),
        BROADCAST_TYPE="mqtt",
        MQTT_BROKER=mqtt_broker.host,
        MQTT_PORT=mqtt_broker.port,
        MQTT_TOPIC=topic,
        JOB_MAX_RETRIES=0,
    )
    with running(Container(settings=providers.Object(settings))) as container:
        yield container


@pytest.fixture
def jobs(container: Container) -> MlToolsJobRepository:
    return MlToolsJobRepository(container.job_repository(), container.job_storage())


@pytest.fixture
def files(container: Container) -> MlToolsFileStorage:
    return MlToolsFileStorage(container.job_storage())


@pytest.fixture
def listener(mqtt_broker: Address, topic: str) -> Iterator[Listener]:
    with Listener(mqtt_broker, topic) as listener:
        yield listener


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    ImageOps.fit(Image.radial_gradient("L"), size).save(buffer, "png")
    return buffer.getvalue()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def resize_job(files: MlToolsFileStorage, contents: list[bytes]) -> Job:
    """Return a job that resizes images already in its folder to 32x24."""
    files.create_job_directory("job")
    names = [f"{number}.png" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        files.get_input_path("job").joinpath(name).write_bytes(content)
    return Job(
        job_id="job",
        task_type="image_resize",
        params={
            "input_paths": [str(files.get_input_path("job") / name) for name in names],
            "output_paths": [str(files.get_output_path("job") / name) for name in names],
            "width": 32,
            "height": 24,
        },
    )


async def run_next(jobs: MlToolsJobRepository) -> bool:
    worker: Runner = Worker(jobs)
    return await worker.run_once()


def events_of(listener: Listener, number: int) -> list[Event]:
    """Return the first *number* different events, in the order of their seq."""

    def different() -> list[Event]:
        events = [cast("Event", json.loads(payload)) for payload in listener.payloads]
        return sorted({each["seq"]: each for each in events}.values(), key=lambda e: e["seq"])

    wait_until(lambda: len(different()) >= number)
    return different()


def told(events: list[Event]) -> list[tuple[str, int]]:
    return [(event["event_type"], event["progress"]) for event in events]


async def test_a_subscriber_sees_every_step_of_a_job(
    jobs: MlToolsJobRepository, files: MlToolsFileStorage, listener: Listener
) -> None:
    jobs.add_job(resize_job(files, [png((64, 48))] * 4))

    assert await run_next(jobs)
    events = events_of(listener, 7)
    assert told(events) == [
        ("queued", 0),
        ("processing", 0),
        ("processing", 25),
        ("processing", 50),
        ("processing", 75),
        ("processing", 99),
        ("completed", 100),
    ]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert {(event["job_id"], event["task_type"]) for event in events} == {("job", "image_resize")}
    results = sorted(files.get_output_path("job").iterdir())
    assert [size_of(result) for result in results] == [(32, 24)] * 4


async def test_a_subscriber_sees_how_a_job_fails(
    jobs: MlToolsJobRepository, files: MlToolsFileStorage, listener: Listener
) -> None:
    jobs.add_job(resize_job(files, [png((64, 48)), b"no image"]))

    assert await run_next(jobs)
    assert told(events_of(listener, 4)) == [
        ("queued", 0),
        ("processing", 0),
        ("processing", 50),
        ("error", 50),
    ]
    job = jobs.get_job("job")
    assert job is not None
    assert job.status == "error"
    assert "cannot identify image file" in str(job.error_message)
    assert not await run_next(jobs)


async def test_the_routes_of_cl_ml_tools_run_on_our_adapters(
    container: Container, jobs: MlToolsJobRepository, files: MlToolsFileStorage
) -> None:
    app = FastAPI()
    make_router = cast("MakeRouter", create_master_router)
    app.include_router(make_router(jobs, files, lambda: User(7)))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://store") as client:
        response = await client.post(
            "/jobs/image_resize",
            data={"width": "32", "height": "24", "priority": "9"},
            files={"file": ("../../photo.png", png((64, 48)), "image/png")},
        )
    job_id = cast("dict[str, str]", response.json())["job_id"]

    assert await run_next(jobs)
    with container.session_factory()() as session:
        row = session.scalars(select(JobRow).where(JobRow.job_id == job_id)).one()
    assert (row.status, row.priority, row.created_by) == ("completed", 9, "7")
    assert size_of(files.get_output_path(job_id) / "resized_photo.png") == (32, 24)


@pytest.mark.parametrize("field", ["input_paths", "output_paths"])
@pytest.mark.parametrize(
    "place", ["{folder}/../other/x.png", "/etc/passwd", "x.png", "{folder}/input/link/x.png"]
)
def test_a_job_that_names_a_path_outside_its_folder_is_refused_and_its_upload_removed(
    tmp_path: Path, jobs: MlToolsJobRepository, files: MlToolsFileStorage, field: str, place: str
) -> None:
    job = resize_job(files, [png((64, 48))])
    folder = files.get_input_path("job").parent
    folder.joinpath("input", "link").symlink_to(tmp_path)
    job.params[field] = [place.format(folder=folder)]

    with pytest.raises((InvalidJobError, InvalidPathError)):
        jobs.add_job(job)
    assert jobs.get_job("job") is None
    assert not folder.exists()
    assert tmp_path.exists()


async def test_a_second_job_of_the_same_id_is_refused_and_the_first_keeps_its_files(
    jobs: MlToolsJobRepository, files: MlToolsFileStorage
) -> None:
    job = resize_job(files, [png((64, 48))])
    jobs.add_job(job)

    with pytest.raises(InvalidJobError, match="'job' exists"):
        jobs.add_job(job)
    assert await run_next(jobs)
    first = jobs.get_job("job")
    assert first is not None
    assert first.status == "completed"


def test_the_adapters_are_what_cl_ml_tools_asks_for(
    jobs: MlToolsJobRepository, files: MlToolsFileStorage
) -> None:
    repository: cl_ml_tools.JobRepository = jobs
    storage: cl_ml_tools.FileStorage = files

    assert isinstance(repository, cl_ml_tools.JobRepository)
    assert isinstance(storage, cl_ml_tools.FileStorage)
