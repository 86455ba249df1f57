"""What is in a job's folder: listing it and removing it, never through a symbolic link."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.folders import opened_folder, opened_job
from cl_server_shared.files.paths import is_reserved

_REMOVE_ATTEMPTS = 100
# No number: shutil.rmtree found a link where it had just seen a folder.
_CHANGED_MEANWHILE = frozenset({errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, None})


def stored_files(jobs: Path, job_id: str) -> Iterator[tuple[str, int]]:
    """Yield the relative path and the size in bytes of each regular file of a job.

    The storage's own files and symbolic links are left out, and so is what vanishes meanwhile.

    Raises:
        FileNotFoundError: there is no such job.
        InvalidPathError: the job's folder is a symbolic link or no folder.
    """
    with opened_job(jobs, job_id) as job:
        pending: list[tuple[str, ...]] = [()]
        while pending:
            parts = pending.pop()
            files, folders = _scan(job, parts)
            pending += [(*parts, name) for name in folders]
            yield from (("/".join((*parts, name)), size) for name, size in files)


def job_folders(jobs: Path) -> list[str]:
    """Return the names of the folders under `jobs/`, each of which is a job's."""
    try:
        with os.scandir(jobs) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def remove_job(jobs: Path, job_id: str) -> bool:
    """Remove a job's folder and all in it; True if this very call removed it.

    What others put in meanwhile is removed too, until the folder is found empty.

    Raises:
        InvalidPathError: it is a symbolic link or no folder.
        OSError: the system refused, or others kept filling the folder.
    """
    for _ in range(_REMOVE_ATTEMPTS - 1):
        try:
            return _remove_once(jobs, job_id)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    return _remove_once(jobs, job_id)


def _scan(job: int, parts: tuple[str, ...]) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the files with their sizes, and the folders, directly in one folder."""
    files: list[tuple[str, int]] = []
    folders: list[str] = []
    # The folder itself may have gone, or been replaced by a link, since it was listed.
    with (
        suppress(FileNotFoundError, InvalidPathError),
        opened_folder(job, parts) as folder,
        os.scandir(folder) as entries,
    ):
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_file(follow_symlinks=False) and not is_reserved(entry.name):
                with suppress(FileNotFoundError):
                    files.append((entry.name, entry.stat(follow_symlinks=False).st_size))
    return files, folders


def _remove_once(jobs: Path, job_id: str) -> bool:
    try:
        with opened_job(jobs, job_id) as job:
            _empty(job)
        # rmdir(2) takes empty folders only, and no link.
        (jobs / job_id).rmdir()
    except FileNotFoundError:
        return False
    return True


def _empty(folder: int) -> None:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.name, dir_fd=folder, onexc=_tolerate_change)
        else:
            with suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(entry.name, dir_fd=folder)


def _tolerate_change(_function: Callable[..., object], _path: str, error: BaseException) -> None:
    """Go on where others were at work meanwhile; the final rmdir sees what is left."""
    if not (isinstance(error, OSError) and error.errno in _CHANGED_MEANWHILE):
        raise error
