"""The job storage on a local disk."""

import errno
import os
import reprlib
from collections.abc import Iterator
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final, override

from anyio import wrap_file

from cl_server_shared.errors import ConfigError
from cl_server_shared.files.folders import (
    open_regular,
    opened_folder,
    opened_job,
    opened_parent,
    refuse_link,
)
from cl_server_shared.files.job_folder import job_folders, remove_job, stored_files
from cl_server_shared.files.paths import JobPath, checked_file_path, checked_path
from cl_server_shared.files.saving import save_file, save_file_sync
from cl_server_shared.files.staging import StagedFile, Target
from cl_server_shared.files.verification import verified_job, verified_store
from cl_server_shared.files.worker_thread import Checkpoint, run_in_thread
from cl_server_shared.models import FileReport, SavedJobFile
from cl_server_shared.protocols.files import (
    AsyncFileLike,
    BlockingFileLike,
    FileLike,
    JobStorage,
)


class LocalJobStorage(JobStorage):
    """Keeps files under `{base_dir}/jobs/{job_id}/`, on any file system with flock(2).

    Contained: no symbolic link below `jobs/` is followed, not even one that points back inside.
    All calls hold to it against anybody who swaps files for links meanwhile, but `allocate_path`
    and `resolve_path` only check the path at the time of the call: whoever uses it later relies on
    nobody having planted a link since.

    Atomic: a file is replaced at once or not at all, whatever becomes of the process.

    Any call that a `remove` of the same job overtakes may raise FileNotFoundError.

    Args:
        base_dir: where `jobs/` is made; a relative path is taken from the working directory now.
        fsync: make each saved file survive a power cut too, at the price of waiting for the disk.

    Raises:
        ConfigError: *base_dir* is neither text nor a path.
        OSError: the folder cannot be made.
    """

    def __init__(self, base_dir: str | PathLike[str], *, fsync: bool = False) -> None:
        self._jobs: Final = _checked_folder(base_dir).absolute() / "jobs"
        self._fsync: Final = fsync
        self._jobs.mkdir(parents=True, exist_ok=True)

    @override
    def create_directory(self, job_id: str) -> None:
        path = checked_path(job_id)
        with opened_job(self._jobs, path.job_id, make=True) as job:
            for name in ("input", "output"):
                with opened_folder(job, (name,), make=True):
                    pass

    @override
    def remove(self, job_id: str) -> bool:
        """Remove the job's folder and all in it; of several calls at once, one returns True."""
        return remove_job(self._jobs, checked_path(job_id).job_id)

    @override
    async def save(
        self, job_id: str, relative_path: str, file: FileLike, *, mkdirs: bool = True
    ) -> SavedJobFile:
        """Store *file* whole or not at all, replacing what was there.

        Memory, paths and Python's own file objects are read in a worker thread. Any other `read`
        is called on the event loop, and from then on in a thread if its answer is not awaitable.
        Cancelled, it ends when its thread has, and leaves the disk as it was before; only asyncio's
        own `Task.cancel()` can come so late that the new file is in place. A file object that
        blocks in its `read` holds it up.

        Raises:
            InvalidPathError: see JobStorage; also if the target is a folder or a special file.
            InvalidSourceError: (a TypeError) *file* is a text stream or nothing that can be read.
            FileNotFoundError: the source path, or with `mkdirs=False` the target folder, is absent,
                or the job was removed meanwhile.
            OSError: the disk is full, the source cannot be read, or the system refuses a thread.
        """
        target = self._target(job_id, relative_path, mkdirs=mkdirs)
        return _saved(relative_path, await save_file(target, file))

    @override
    def save_sync(
        self, job_id: str, relative_path: str, file: BlockingFileLike, *, mkdirs: bool = True
    ) -> SavedJobFile:
        """Store *file* whole or not at all, in the calling thread, replacing what was there.

        Raises:
            InvalidPathError: as `save`.
            InvalidSourceError: (a TypeError) as `save`, and *file* is an asynchronous stream.
            FileNotFoundError: as `save`.
            OSError: the disk is full, or the source cannot be read.
        """
        target = self._target(job_id, relative_path, mkdirs=mkdirs)
        return _saved(relative_path, save_file_sync(target, file))

    @override
    def allocate_path(self, job_id: str, relative_path: str, *, mkdirs: bool = True) -> Path:
        return self._locate(checked_file_path(job_id, relative_path), mkdirs=mkdirs)

    @override
    async def open(self, job_id: str, relative_path: str) -> AsyncFileLike:
        path = checked_file_path(job_id, relative_path)
        return wrap_file(await run_in_thread(partial(_open_unless_cancelled, self._jobs, path)))

    @override
    def open_sync(self, job_id: str, relative_path: str) -> BinaryIO:
        return _open_stored(self._jobs, checked_file_path(job_id, relative_path))

    @override
    def resolve_path(self, job_id: str, relative_path: str | None = None) -> Path:
        """Return the absolute path of a stored file or folder, of the job's own without a path.

        The folders above it are made if they are absent, and so is the job's own.
        """
        if relative_path is not None:
            return self._locate(checked_file_path(job_id, relative_path), mkdirs=True)
        path = checked_path(job_id)
        with opened_job(self._jobs, path.job_id, make=True):
            return Path(self._jobs, path.job_id)

    @override
    def list_files(self, job_id: str) -> list[str]:
        path = checked_path(job_id)
        try:
            return sorted(name for name, _ in stored_files(self._jobs, path.job_id))
        except FileNotFoundError:
            return []

    @override
    def size_bytes(self, job_id: str) -> int:
        return self._size_bytes(checked_path(job_id).job_id)

    @override
    def total_size_bytes(self) -> int:
        return sum(map(self._size_bytes, job_folders(self._jobs)))

    @override
    def verify(self, job_id: str) -> FileReport:
        return verified_job(self._jobs, checked_path(job_id).job_id)

    @override
    def verify_all(self) -> Iterator[FileReport]:
        return verified_store(self._jobs)

    def _target(self, job_id: str, relative_path: str, *, mkdirs: bool) -> Target:
        return Target(self._jobs, checked_file_path(job_id, relative_path), mkdirs, self._fsync)

    def _size_bytes(self, folder: str) -> int:
        try:
            return sum(size for _, size in stored_files(self._jobs, folder))
        except FileNotFoundError:
            return 0

    def _locate(self, path: JobPath, *, mkdirs: bool) -> Path:
        try:
            with opened_parent(self._jobs, path, make=mkdirs) as parent:
                refuse_link(parent, path)
        except FileNotFoundError:
            if mkdirs:
                raise
        return Path(self._jobs, path.job_id, *path.parts)


def _checked_folder(base_dir: object) -> Path:
    if isinstance(base_dir, str | PathLike):
        return Path(os.fsdecode(base_dir))
    raise ConfigError(
        f"base_dir {reprlib.repr(base_dir)} is a {type(base_dir).__name__}: give the path of a"
        " folder, as a str or Path"
    )


def _saved(relative_path: str, staged: StagedFile) -> SavedJobFile:
    return SavedJobFile(relative_path=relative_path, size=staged.size_bytes, hash=staged.hash)


def _open_unless_cancelled(jobs: Path, path: JobPath, checkpoint: Checkpoint) -> BinaryIO:
    file = _open_stored(jobs, path)
    try:
        checkpoint()
    except BaseException:
        file.close()
        raise
    return file


def _open_stored(jobs: Path, path: JobPath) -> BinaryIO:
    try:
        with opened_parent(jobs, path) as parent:
            return open_regular(parent, path)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, f"no such stored file: '{path}'") from error
