"""The port of the job storage, and what may be given to it and comes back from it."""

from collections.abc import AsyncIterator, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, runtime_checkable

from cl_server_shared.models import FileReport, SavedJobFile


@runtime_checkable
class AsyncReadable(Protocol):
    """An open asynchronous byte stream: aiofiles, anyio, Starlette's UploadFile."""

    async def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, fewer at will, none at the end."""
        ...


@runtime_checkable
class Readable(Protocol):
    """An open binary file, or any stream whose `read` blocks until there are bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, fewer at will, none at the end."""
        ...


type BlockingFileLike = bytes | bytearray | memoryview | str | PathLike[str] | Readable
"""What `save_sync` accepts: bytes in memory, the path of a file, or an open binary file."""

type FileLike = BlockingFileLike | AsyncReadable
"""What `save` accepts: the same, or an open asynchronous stream."""


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

    Every method raises InvalidPathError (a ValueError) for a job id or path that could, or that is
    no str.
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

    def save_sync(
        self, job_id: str, relative_path: str, file: BlockingFileLike, *, mkdirs: bool = True
    ) -> SavedJobFile:
        """Store *file* as `save` does, in the calling thread: for workers without an event loop.

        Raises:
            InvalidSourceError: (a TypeError) as `save`, and *file* is an asynchronous stream.
            FileNotFoundError: as `save`.
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

    def open_sync(self, job_id: str, relative_path: str) -> BinaryIO:
        """Open a stored file as `open` does, in the calling thread; close it after use.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def resolve_path(self, job_id: str, relative_path: str | None = None) -> Path:
        """Return the absolute path of a stored file or folder, of the job's own without a path."""
        ...

    def list_files(self, job_id: str) -> list[str]:
        """Return the relative paths of the job's files, sorted, none for an unknown job."""
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
