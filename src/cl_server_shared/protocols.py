"""The ports: what each part of the house may be replaced by.

An implementation inherits its port explicitly, so that the type checker proves it complete.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from cl_server_shared.models import (
    Attempt,
    FileReport,
    JobEvent,
    JobFilter,
    JobPage,
    JobRecord,
    SavedJobFile,
    WorkerStatus,
)
from cl_server_shared.models.sight import JobSight


class Clock(Protocol):
    """Tells the time; the only source of it in the library."""

    def now_ms(self) -> int:
        """Return the milliseconds since the epoch (UTC)."""
        ...


class JobRecordLike(Protocol):
    """What `add_job` reads of a record: ours, or one of the same shape from cl_ml_tools."""

    @property
    def job_id(self) -> str: ...
    @property
    def task_type(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def status(self) -> str: ...
    @property
    def progress(self) -> int: ...
    @property
    def output(self) -> Mapping[str, object] | None: ...
    @property
    def error_message(self) -> str | None: ...


class JobRecordUpdateLike(Protocol):
    """What `update_job` reads of an update; None means "leave as it is"."""

    @property
    def status(self) -> str | None: ...
    @property
    def progress(self) -> int | None: ...
    @property
    def output(self) -> Mapping[str, object] | None: ...
    @property
    def error_message(self) -> str | None: ...


class JobRepository(Protocol):
    """Keeps jobs; every call is one committed change or none."""

    def add_job(
        self, job: JobRecordLike, created_by: str | None = None, priority: int | None = None
    ) -> bool:
        """Store a new job; False: that job_id exists and nothing was changed.

        Raises:
            InvalidJobError: the record or *priority* (a signed 64-bit integer) cannot be stored.
        """
        ...

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the job, or None if there is none of that id."""
        ...

    def update_job(self, job_id: str, updates: JobRecordUpdateLike) -> bool:
        """Change a live job; True if the job now is as asked for.

        Raises:
            InvalidJobError: the update cannot be stored.
        """
        ...

    def fetch_next_job(self, task_types: Sequence[str]) -> JobRecord | None:
        """Claim the next waiting job of these types: highest priority first, then oldest first."""
        ...

    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id."""
        ...


class Lookout[T](Protocol):
    """Looks for one thing in the database, again and again; for one owner at a time."""

    def look(self) -> T | None:
        """Read the database; None: nothing to tell, look again once woken, or after a pause.

        After the first look, a failure of the database is logged and counts as nothing to tell.
        """
        ...

    def pause_seconds(self) -> float:
        """Return after how many seconds to look although nobody woke the owner."""
        ...

    def close(self) -> None:
        """Wake nobody any more; harmless when repeated, and not needed where it is dropped."""
        ...


class JobManagement(JobRepository, Protocol):
    """A repository with all that stores, workers and operators need beside the five verbs."""

    def add_jobs(self, jobs: Sequence[JobRecordLike], created_by: str | None = None) -> list[bool]:
        """Store new jobs in one transaction; tells for each whether its job_id was new."""
        ...

    def fetch_next_jobs(self, task_types: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim up to *limit* (1 or more) jobs in one transaction, in the order of the line."""
        ...

    def finish_jobs(self, updates: Mapping[str, JobRecordUpdateLike]) -> dict[str, bool]:
        """Apply updates by job id in one transaction; tells for each what `update_job` would."""
        ...

    def cancel_job(self, job_id: str, reason: str) -> bool:
        """End a job as `error` with *reason*; False if it is final or there is none of that id."""
        ...

    def release_job(self, job_id: str) -> bool:
        """Put a running job back into the line, without counting a try."""
        ...

    def retry_job(self, job_id: str) -> bool:
        """Put a job that ended, or waits for its next try, into the line with all its tries."""
        ...

    def recover_expired(self) -> int:
        """Recover jobs whose lease has ended; returns how many."""
        ...

    def find_jobs(
        self, jobs: JobFilter | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage:
        """Find jobs, the newest first, a page of *limit* (1 or more) at a time."""
        ...

    def count_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are, by status and within it by task type."""
        ...

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Return the tries at a job that failed, oldest first; none for an unknown job."""
        ...

    def purge_finished(
        self, before_ms: int, limit: int, remove_files: Callable[[str], object]
    ) -> list[str]:
        """Remove up to *limit* jobs that ended before a time (ms), with their files."""
        ...

    def wait_for_job(self, job_id: str, timeout_seconds: float | None) -> JobRecord | None:
        """Wait until a job is final; None: there is none of that id, or no longer.

        Raises:
            TimeoutError: it was not final in time.
        """
        ...

    def watch_job(self, job_id: str, timeout_seconds: float | None = None) -> Iterator[JobRecord]:
        """Yield a job as it is and at each change that is seen, until it is final or removed.

        Raises:
            TimeoutError: it was not final in time.
        """
        ...

    def wait_for_work(self, task_types: Sequence[str], timeout_seconds: float | None) -> bool:
        """Wait until a job of these types can be claimed; False: none came in time."""
        ...

    def look_out_for_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Lookout[JobSight]:
        """Look out for a job: what the waits are made of, on threads and on event loops.

        *wake* is called from any thread, and returns at once. With *only_final*, what changes
        before the job's end is nothing to tell.
        """
        ...

    def look_out_for_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Lookout[Literal[True]]:
        """Look out for jobs of these types that can be claimed; see `look_out_for_job`."""
        ...


class Subscription(Protocol):
    """A running subscription; leaving its `with` block or closing it ends it."""

    def close(self) -> None:
        """Stop the callbacks; harmless when repeated."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Broadcaster(Protocol):
    """Tells the world what was committed."""

    def publish(self, event: JobEvent) -> None:
        """Hand an event over; returns at once and never fails because of a broker."""
        ...

    def subscribe(
        self, callback: Callable[[JobEvent], object], topic: str | None = None
    ) -> Subscription:
        """Call *callback* with each event from now on, in a thread of the broadcaster's own choice.

        Args:
            callback: gets one event at a time; what it raises is logged, and the next event comes.
            topic: where to listen instead of the broadcaster's own topic, an MQTT topic filter.

        Raises:
            ConfigError: *topic* is no topic filter.
            ClServerError: the broadcaster is closed.
        """
        ...

    def close(self) -> None:
        """Deliver what can be delivered within 2 s, then stop; harmless when repeated."""
        ...


@runtime_checkable
class ConfirmingBroadcaster(Broadcaster, Protocol):
    """A broadcaster that learns what has arrived, so that the rest can be sent again."""

    def publish_confirmed(self, event: JobEvent, on_settled: Callable[[bool], object]) -> None:
        """Hand an event over like `publish`, and call *on_settled* at most once, from any thread.

        Its argument: whether the broker has acknowledged the event. False: it was refused, or gave
        way to newer ones. A broadcaster that is closed meanwhile does not call.
        """
        ...


class Presence(Protocol):
    """Tells services that a worker is there, until it is closed or its process ends."""

    def set_idle(self, count: int) -> None:
        """Tell how many jobs (0 or more) the worker could take now; returns at once.

        After `close`, and in a forked child, it has no effect.

        Raises:
            ConfigError: *count* is negative.
        """
        ...

    def close(self) -> None:
        """Tell that the worker is gone; takes 1 s at the most, and is harmless when repeated."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class WorkerRegistry(Protocol):
    """Knows which workers there are, as far as they have been heard of until now."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that are there, ordered by their ids."""
        ...

    def capabilities(self) -> dict[str, int]:
        """Return for each task type how many jobs its workers could take now; 0: all are busy."""
        ...

    def close(self) -> None:
        """Stop listening; harmless when repeated. From then on no worker is known."""
        ...


@runtime_checkable
class AsyncReadable(Protocol):
    """An open asynchronous byte stream: aiofiles, anyio, Starlette's UploadFile."""

    async def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, fewer at will, none at the end."""
        ...


@runtime_checkable
class Readable(Protocol):
    """An open binary file."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, fewer at will, none at the end."""
        ...


type FileLike = bytes | bytearray | memoryview | str | PathLike[str] | AsyncReadable | Readable
"""What `save` accepts: bytes in memory, the path of a file, or an open binary stream."""


class AsyncFileLike(Protocol):
    """A stored file, open for reading on any event loop that anyio knows."""

    async def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes (-1: all that is left)."""
        ...

    async def aclose(self) -> None:
        """Close the file."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


class JobStorage(Protocol):
    """Keeps a job's files under `jobs/{job_id}/`; no call leaves that folder.

    Every method raises InvalidPathError (a ValueError) for a job id or path that could.
    """

    def create_directory(self, job_id: str) -> None:
        """Make the job's folder with `input` and `output` in it; harmless when repeated."""
        ...

    def remove(self, job_id: str) -> bool:
        """Remove the job's folder and all in it; False if there is none."""
        ...

    async def save(
        self, job_id: str, relative_path: str, file: FileLike, *, mkdirs: bool = True
    ) -> SavedJobFile:
        """Store *file* whole or not at all, replacing what was there.

        Raises:
            InvalidSourceError: (a TypeError) *file* is a text stream or nothing that can be read.
            FileNotFoundError: the source path, or with `mkdirs=False` the target folder, is absent.
        """
        ...

    def allocate_path(self, job_id: str, relative_path: str, *, mkdirs: bool = True) -> Path:
        """Return the absolute path to write to, its parents made unless *mkdirs* is False."""
        ...

    async def open(self, job_id: str, relative_path: str) -> AsyncFileLike:
        """Open a stored file for reading bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def resolve_path(self, job_id: str, relative_path: str | None = None) -> Path:
        """Return the absolute path of a stored file or folder, of the job's own without a path."""
        ...

    def list_files(self, job_id: str) -> list[str]:
        """Return the relative paths of the job's files, sorted, `/` between their parts."""
        ...

    def size_bytes(self, job_id: str) -> int:
        """Return the sum of the sizes of the job's files, 0 for an unknown job."""
        ...

    def total_size_bytes(self) -> int:
        """Return the sum of the sizes of all jobs' files."""
        ...

    def verify(self, job_id: str) -> FileReport:
        """Read a job's files and compare them with what `save` recorded; changes nothing.

        Raises:
            FileNotFoundError: the job has no folder.
        """
        ...

    def verify_all(self) -> Iterator[FileReport]:
        """Verify every job, one at a time, ordered by job id; changes nothing."""
        ...
