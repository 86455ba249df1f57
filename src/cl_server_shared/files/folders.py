"""Folders on disk, entered name by name, so that no symbolic link can lead out of a job's folder.

Every name below `jobs/` is opened relative to the folder before it, with O_NOFOLLOW (POSIX
openat(2)): the check is the opening itself, and whoever swaps a folder for a link in between finds
his link refused. Links at or above `jobs/` are the administrator's and are followed.
"""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.paths import JobPath

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Linux says ENOTDIR of a link where a folder should be, macOS ELOOP.
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR)


@contextmanager
def opened_job(jobs: Path, job_id: str, *, make: bool = False) -> Generator[int]:
    """Give a descriptor of a job's folder.

    Raises:
        FileNotFoundError: there is no such folder, and *make* is False.
        InvalidPathError: it is a symbolic link or no folder.
    """
    path = f"{jobs}/{job_id}"  # joining paths takes longer than opening one
    try:
        descriptor = _enter(path)
    except FileNotFoundError:
        if not make:
            raise
        # Not exist_ok: it raises if the folder it found is removed before it looks again.
        with suppress(FileExistsError):
            Path(path).mkdir(parents=True)
        descriptor = _enter(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_folder(job: int, parts: tuple[str, ...], *, make: bool = False) -> Generator[int]:
    """Give a descriptor of a folder below the one that *job* describes.

    Raises:
        FileNotFoundError: a folder is absent, and *make* is False.
        InvalidPathError: a part is a symbolic link or no folder.
    """
    here = os.dup(job)
    try:
        for part in parts:
            below = _enter_or_make(part, here) if make else _enter(part, here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


@contextmanager
def opened_parent(jobs: Path, path: JobPath, *, make: bool = False) -> Generator[int]:
    """Give a descriptor of the folder in which the last name of *path* is.

    Raises:
        FileNotFoundError: that folder is absent, and *make* is False.
        InvalidPathError: a name above the last is a symbolic link or no folder.
    """
    with (
        opened_job(jobs, path.job_id, make=make) as job,
        opened_folder(job, path.folder, make=make) as parent,
    ):
        yield parent


def refuse_link(parent: int, path: JobPath) -> None:
    """Accept a last name that is absent or anything but a symbolic link.

    Raises:
        InvalidPathError: it is a symbolic link.
    """
    with suppress(FileNotFoundError):
        if S_ISLNK(_mode(parent, path)):
            raise InvalidPathError(f"'{path}' is a symbolic link: links are not followed")


def is_stored(parent: int, path: JobPath) -> bool:
    """Tell whether there is a regular file of that name; False: there is nothing.

    Raises:
        InvalidPathError: it is a folder, a symbolic link, a pipe, a socket or a device.
    """
    try:
        require_regular(parent, path)
    except FileNotFoundError:
        return False
    return True


def require_regular(parent: int, path: JobPath) -> None:
    """Accept a last name that is a regular file.

    Raises:
        FileNotFoundError: there is nothing of that name.
        InvalidPathError: it is a folder, a symbolic link, a pipe, a socket or a device.
    """
    if not S_ISREG(_mode(parent, path)):
        raise InvalidPathError(f"'{path}' is no regular file: use the path of a file")


def open_regular(parent: int, path: JobPath) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        FileNotFoundError: there is nothing of that name.
        InvalidPathError: it is a folder, a symbolic link, a pipe, a socket or a device.
    """

    def opener(name: str, flags: int) -> int:
        # Were it a pipe by now, opening it would wait for a writer.
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)

    require_regular(parent, path)
    try:
        return open(path.name, "rb", opener=opener)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InvalidPathError(f"'{path}' has become a symbolic link") from error


def sync_folders(jobs: Path, path: JobPath) -> None:
    """Flush every folder entry that leads to *path* to the disk, as fsync(2) asks for."""
    everything = os.open(jobs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(everything)
    finally:
        os.close(everything)
    with opened_job(jobs, path.job_id) as job:
        for depth in range(len(path.parts)):
            with opened_folder(job, path.parts[:depth]) as folder:
                os.fsync(folder)


def _mode(parent: int, path: JobPath) -> int:
    return os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode


def _enter(name: str, parent: int | None = None) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise
        raise InvalidPathError(
            f"'{name}' is a symbolic link or no folder: use a path below the job's own folders"
        ) from error


def _enter_or_make(name: str, parent: int) -> int:
    with suppress(FileNotFoundError):
        return _enter(name, parent)
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return _enter(name, parent)
