"""Jobs, files and events for media and ML services: one typed layer, wired by a container.

The names below are imported at their first use: importing the package itself costs nothing and
needs no environment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from cl_server_shared.config import Config, Settings
    from cl_server_shared.container import Container, running
    from cl_server_shared.errors import (
        ClServerError,
        ConfigError,
        ContainerClosedError,
        DatabaseError,
        InvalidJobError,
        InvalidPathError,
        InvalidSourceError,
        JobCancelled,
        JobLost,
        SchemaError,
    )
    from cl_server_shared.events.in_order import InOrder
    from cl_server_shared.events.stream import EventStream
    from cl_server_shared.job_storage import JobStorageService
    from cl_server_shared.models import (
        Attempt,
        FileReport,
        JobDetails,
        JobEvent,
        JobFilter,
        JobPage,
        JobRecord,
        JobRecordUpdate,
        JobStatus,
        JsonInput,
        JsonObject,
        NewJob,
        SavedJobFile,
        WorkerStatus,
    )
    from cl_server_shared.shared_db import JobRepositoryService

__all__ = [
    "Attempt",
    "ClServerError",
    "Config",
    "ConfigError",
    "Container",
    "ContainerClosedError",
    "DatabaseError",
    "EventStream",
    "FileReport",
    "InOrder",
    "InvalidJobError",
    "InvalidPathError",
    "InvalidSourceError",
    "JobCancelled",
    "JobDetails",
    "JobEvent",
    "JobFilter",
    "JobLost",
    "JobPage",
    "JobRecord",
    "JobRecordUpdate",
    "JobRepositoryService",
    "JobStatus",
    "JobStorageService",
    "JsonInput",
    "JsonObject",
    "NewJob",
    "SavedJobFile",
    "SchemaError",
    "Settings",
    "WorkerStatus",
    "running",
]

_HOMES: Final = {
    "config": ("Config", "Settings"),
    "container": ("Container", "running"),
    "errors": (
        "ClServerError",
        "ConfigError",
        "ContainerClosedError",
        "DatabaseError",
        "InvalidJobError",
        "InvalidPathError",
        "InvalidSourceError",
        "JobCancelled",
        "JobLost",
        "SchemaError",
    ),
    "events.in_order": ("InOrder",),
    "events.stream": ("EventStream",),
    "job_storage": ("JobStorageService",),
    "models": (
        "Attempt",
        "FileReport",
        "JobDetails",
        "JobEvent",
        "JobFilter",
        "JobPage",
        "JobRecord",
        "JobRecordUpdate",
        "JobStatus",
        "JsonInput",
        "JsonObject",
        "NewJob",
        "SavedJobFile",
        "WorkerStatus",
    ),
    "shared_db": ("JobRepositoryService",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its home (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = cast("object", getattr(import_module(f"{__name__}.{home}"), name))  # getattr gives Any
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
