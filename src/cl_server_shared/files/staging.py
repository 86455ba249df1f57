"""A file that is being stored: whole under its final name, or not there at all.

It is written under a temporary name in the job's own folder, then renamed: POSIX rename(2) replaces
at once, readers see the old file or the new one.
"""

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from cl_server_shared.files.checksums import record
from cl_server_shared.files.folders import is_stored, opened_folder, opened_job, sync_folders
from cl_server_shared.files.hashing import Digest
from cl_server_shared.files.paths import JobPath
from cl_server_shared.files.sources import Chunk
from cl_server_shared.files.temporary import new_temporary, remove_temporary, sweep
from cl_server_shared.files.worker_thread import Checkpoint

_WORTH_STARTING_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is to be stored, and how: *jobs* is the absolute path of the `jobs/` folder."""

    jobs: Path
    path: JobPath
    mkdirs: bool
    fsync: bool


@final
class StagedFile:
    """Takes bytes and hashes them; nothing touches the disk before the first.

    Not for two threads at once. Leave its `with` block, or `close` it, in any case.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._closers = ExitStack()
        self._opened: _Opened | None = None
        self._digest = Digest()
        self._is_renamed = False
        self.size_bytes: int = 0

    @property
    def is_open(self) -> bool:
        """Whether there is anything on disk to close."""
        return self._opened is not None

    @property
    def hash(self) -> str:
        """The SHA-256 of what was taken, in lower-case hex."""
        return self._digest.hex

    def append(self, chunks: Iterable[Chunk], checkpoint: Checkpoint) -> None:
        """Write and hash *chunks*, each good until `CHUNKS_KEPT` others are asked for.

        Raises:
            InvalidPathError: the target or a folder above it is a link or of another kind.
            FileNotFoundError: the target's folder is absent.
            OSError: the system refused to write.
        """
        for chunk in chunks:
            checkpoint()
            opened = self._open()
            self._digest.update(chunk)
            _write_all(opened.temporary, chunk)
            if opened.awaited:
                _start_write_back(opened.temporary, self.size_bytes, len(chunk))
            self.size_bytes += len(chunk)

    def commit(self, checkpoint: Checkpoint) -> None:
        """Give the file its final name, replacing what had it.

        Raises:
            FileNotFoundError: a `remove` of the job was faster, and nothing is stored.
        """
        opened, target = self._open(), self._target
        if target.fsync:
            os.fsync(opened.temporary)
        checkpoint()
        name = target.path.name
        try:
            record(opened.job, target.path, self.size_bytes, self.hash)
            os.replace(opened.name, name, src_dir_fd=opened.job, dst_dir_fd=opened.parent)
            self._is_renamed = True
            if target.fsync:
                sync_folders(target.jobs, target.path)
            # What a remove has taken by now was not stored.
            os.stat(name, dir_fd=opened.parent, follow_symlinks=False)
        except FileNotFoundError as error:
            message = f"the job was removed while '{target.path}' was being saved"
            raise FileNotFoundError(errno.ENOENT, message) from error

    def close(self) -> None:
        """Take back what was not committed; harmless when repeated."""
        self._digest.settle()
        self._opened = None
        self._closers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> "_Opened":
        if self._opened is None:
            self._opened = self._stage()
        return self._opened

    def _stage(self) -> "_Opened":
        target = self._target
        with ExitStack() as closers:
            job, parent = self._enter_folders(closers)
            awaited = target.fsync or is_stored(parent, target.path)
            sweep(job)
            temporary, name = new_temporary(job)
            closers.callback(os.close, temporary)
            closers.callback(self._take_back, name, job)
            self._closers = closers.pop_all()
        return _Opened(job, parent, temporary, name, awaited)

    def _take_back(self, name: str, job: int) -> None:
        if not self._is_renamed:
            remove_temporary(name, job)

    def _enter_folders(self, closers: ExitStack) -> tuple[int, int]:
        target = self._target
        try:
            job = opened_job(target.jobs, target.path.job_id, make=target.mkdirs)
            opened = closers.enter_context(job)
            parent = opened_folder(opened, target.path.folder, make=target.mkdirs)
            return opened, closers.enter_context(parent)
        except FileNotFoundError as error:
            hint = "the job was removed meanwhile" if target.mkdirs else "save with mkdirs=True"
            message = f"the folder of '{target.path}' is absent: {hint}"
            raise FileNotFoundError(errno.ENOENT, message) from error


@dataclass(frozen=True, slots=True)
class _Opened:
    """Descriptors of the job's folder, of the target's folder, and of the temporary file.

    The disk is *awaited* where the commit waits for it: with fsync, and where a file is replaced,
    since ext4 then begins to write the new one, whole, in rename(2).
    """

    job: int
    parent: int
    temporary: int
    name: str
    awaited: bool


def _write_all(descriptor: int, chunk: Chunk) -> None:
    """Write a chunk where the file stands, in as many steps as the system needs."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _start_write_back(descriptor: int, start: int, size_bytes: int) -> None:
    """Let the disk begin with a large chunk while the next is hashed; it may as well be ignored."""
    if sys.platform == "linux" and size_bytes >= _WORTH_STARTING_BYTES:
        # Linux begins to write what is dirty there, and keeps in memory what is being written.
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size_bytes, os.POSIX_FADV_DONTNEED)
