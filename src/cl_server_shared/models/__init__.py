"""What a job is: schemas and tables in one place.

Importable on its own: it needs no environment, broker, container or web framework.
"""

from cl_server_shared.models.attempt import Attempt
from cl_server_shared.models.base import Base
from cl_server_shared.models.event import JobEvent
from cl_server_shared.models.files import FileReport, SavedJobFile
from cl_server_shared.models.job import (
    Job,
    JobDetails,
    JobRecord,
    JobRecordUpdate,
    JobStatus,
    NewJob,
)
from cl_server_shared.models.json_object import JsonInput, JsonObject
from cl_server_shared.models.page import JobFilter, JobPage
from cl_server_shared.models.queue import QueueEntry
from cl_server_shared.models.worker import WorkerStatus

__all__ = [
    "Attempt",
    "Base",
    "FileReport",
    "Job",
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
    "QueueEntry",
    "SavedJobFile",
    "WorkerStatus",
]
