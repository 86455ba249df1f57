"""Every visible change is told, after its commit, once and in order."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobEvent, JobRecord, JobStatus
from tests.support.repositories import (
    NOON,
    ManualClock,
    at,
    completed,
    failed,
    job,
    repository_on,
)

pytest_plugins = ["tests.support.databases"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broadcaster() -> Iterator[MemoryBroadcaster]:
    broadcaster = MemoryBroadcaster()
    yield broadcaster
    broadcaster.close()


@pytest.fixture
def worker(engine: Engine, clock: ManualClock, broadcaster: MemoryBroadcaster) -> SqlJobRepository:
    return repository_on(engine, clock=clock, broadcaster=broadcaster)


def fetched(repository: SqlJobRepository) -> str | None:
    claimed = repository.fetch_next_job(["resize"])
    return None if claimed is None else claimed.job_id


def told(broadcaster: MemoryBroadcaster) -> list[tuple[str, int, int]]:
    return [(e.event_type.value, e.progress, e.seq) for e in broadcaster.published]


def test_every_visible_change_is_told_once_and_in_order(
    worker: SqlJobRepository, broadcaster: MemoryBroadcaster, clock: ManualClock
) -> None:
    worker.add_job(job())
    fetched(worker)
    for progress in (10, 10, 5, 20):
        worker.update_job("job", at(progress))
    worker.update_job("job", failed())
    clock.advance(1)
    fetched(worker)
    worker.update_job("job", completed())
    worker.update_job("job", completed())
    worker.update_job("job", failed())

    assert told(broadcaster) == [
        ("queued", 0, 1),
        ("processing", 0, 2),
        ("processing", 10, 3),
        ("processing", 20, 4),
        ("queued", 0, 5),
        ("processing", 0, 6),
        ("completed", 100, 7),
    ]


def test_an_event_tells_the_jobs_type_and_the_time_of_the_change(
    worker: SqlJobRepository, broadcaster: MemoryBroadcaster
) -> None:
    worker.add_job(job(status="processing", progress=7))

    assert broadcaster.published == (
        JobEvent(
            job_id="job",
            event_type=JobStatus.processing,
            timestamp=NOON,
            progress=7,
            task_type="resize",
            seq=1,
            created_at=NOON,
        ),
    )


def test_what_a_broadcaster_is_told_was_committed(engine: Engine, clock: ManualClock) -> None:
    reader = repository_on(engine)
    seen: list[JobRecord | None] = []
    broadcaster = MemoryBroadcaster()
    writer = repository_on(engine, clock=clock, broadcaster=broadcaster)
    with broadcaster.subscribe(lambda event: seen.append(reader.get_job(event.job_id))):
        writer.add_job(job())
        fetched(writer)
        writer.update_job("job", completed())
    broadcaster.close()

    assert [found and found.status for found in seen] == ["queued", "processing", "completed"]
