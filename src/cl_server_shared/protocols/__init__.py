"""The ports: what each part of the library may be replaced by.

An implementation inherits its port explicitly, so that the type checker proves it complete.
"""

from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.events import Broadcaster, ConfirmingBroadcaster, Subscription
from cl_server_shared.protocols.files import (
    AsyncFileLike,
    AsyncReadable,
    BlockingFileLike,
    FileLike,
    JobStorage,
    Readable,
)
from cl_server_shared.protocols.jobs import (
    JobManagement,
    JobReader,
    JobRecordLike,
    JobRecordUpdateLike,
    JobRepository,
)
from cl_server_shared.protocols.presence import Presence, WorkerRegistry

__all__ = [
    "AsyncFileLike",
    "AsyncReadable",
    "BlockingFileLike",
    "Broadcaster",
    "Clock",
    "ConfirmingBroadcaster",
    "FileLike",
    "JobManagement",
    "JobReader",
    "JobRecordLike",
    "JobRecordUpdateLike",
    "JobRepository",
    "JobStorage",
    "Presence",
    "Readable",
    "Subscription",
    "WorkerRegistry",
]
