"""Real repositories for tests, wired by the container, with a clock that is turned by hand."""

import tempfile
from typing import Final

from dependency_injector import providers
from sqlalchemy import Engine, text

from cl_server_shared.config import Settings
from cl_server_shared.container import Container
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.events import Broadcaster
from cl_server_shared.testing.clock import ManualClock
from cl_server_shared.testing.records import at, completed, failed, job, unchecked

__all__ = [
    "NOON",
    "ManualClock",
    "at",
    "completed",
    "container_on",
    "failed",
    "job",
    "repository_on",
    "row_of",
    "settings",
    "unchecked",
]

NOON: Final = ManualClock().now_ms()
"""Where such a clock starts, in milliseconds since the epoch."""


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
