"""Real repositories for tests, wired by the container, with a clock that is turned by hand."""

import tempfile
from typing import Final, final, override

from dependency_injector import providers
from sqlalchemy import Engine, text

from cl_server_shared.config import Settings
from cl_server_shared.container import Container
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.events import Broadcaster

NOON: Final = 1_800_000_000_000
"""Where a `SettableClock` starts, in milliseconds since the epoch."""


@final
class SettableClock(Clock):
    """Stands still until it is set."""

    def __init__(self, now_ms: int = NOON) -> None:
        self._now_ms = now_ms

    @override
    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Go forward, or back."""
        self._now_ms += round(seconds * 1000)


def settings(**changed: object) -> Settings:
    """Return settings that hang on nothing outside the test."""
    fixed = {"CL_SERVER_DIR": tempfile.gettempdir(), "BROADCAST_TYPE": "none"}
    return Settings.model_validate({**fixed, **changed})


def container_on(
    engine: Engine,
    *,
    clock: Clock | None = None,
    broadcaster: Broadcaster | None = None,
    **changed: object,
) -> Container:
    """Build a container on *engine*, with the settings that *changed*."""
    container = Container(
        engine=providers.Object(engine),
        settings=providers.Object(settings(**changed)),
        broadcaster=providers.Object(broadcaster or MemoryBroadcaster()),
    )
    if clock is not None:
        container.override_providers(clock=providers.Object(clock))
    return container


def repository_on(
    engine: Engine,
    *,
    clock: Clock | None = None,
    broadcaster: Broadcaster | None = None,
    **changed: object,
) -> SqlJobRepository:
    """Build a repository as a process of its own would have it: own claims, own lease keeper."""
    container = container_on(engine, clock=clock, broadcaster=broadcaster, **changed)
    return SqlJobRepository(container.session_factory(), container.repository_parts())


def row_of(engine: Engine, job_id: str) -> dict[str, object]:
    """Read every column of a job's row."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM jobs WHERE job_id = :id"), {"id": job_id})
        return dict(found.mappings().one())


def job(job_id: str = "job", task_type: str = "resize", /, **fields: object) -> JobRecord:
    return JobRecord.model_validate({"job_id": job_id, "task_type": task_type, **fields})


def unchecked(**fields: object) -> JobRecord:
    """Return a record that was made past its own checks."""
    record = job()
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def completed(output: dict[str, object] | None = None) -> JobRecordUpdate:
    return JobRecordUpdate.model_validate(
        {"status": JobStatus.completed, "progress": 100, "output": output}
    )


def failed(message: str | None = "boom") -> JobRecordUpdate:
    return JobRecordUpdate(status=JobStatus.error, error_message=message)


def at(progress: int) -> JobRecordUpdate:
    return JobRecordUpdate(progress=progress)
