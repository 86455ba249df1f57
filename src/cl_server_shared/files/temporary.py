"""Temporary files: which of them are alive, and which a killed save left behind.

They are directly in the job's folder, not beside the target, so that looking for leftovers means
listing one short folder instead of walking all of them. Whoever writes one holds an flock(2) on it,
which the system drops with the process: one that can be locked belongs to nobody.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from stat import S_ISREG

from cl_server_shared.files.paths import TEMPORARY_PREFIX

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PROBE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def new_temporary(job: int) -> tuple[int, str]:
    """Create and lock a temporary file; return its descriptor, open for writing, and its name."""
    while True:
        name = TEMPORARY_PREFIX + secrets.token_hex(8)
        descriptor = os.open(name, _CREATE, 0o666, dir_fd=job)
        try:
            if _is_ours(descriptor):
                return descriptor, name
        except OSError:
            remove_temporary(name, job)
            os.close(descriptor)
            raise
        os.close(descriptor)


def sweep(job: int) -> None:
    """Remove what killed saves left directly in a job's folder, and nothing of a live one."""
    for name in os.listdir(job):
        if name.startswith(TEMPORARY_PREFIX) and _is_file(name, job):
            # Taken by another sweep; alive; another user's, who may sweep it himself.
            with suppress(FileNotFoundError, BlockingIOError, PermissionError):
                _unlink_dead(name, job)


def remove_temporary(name: str, job: int) -> None:
    """Remove a temporary file; harmless if it was renamed or removed."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=job)


def _is_ours(descriptor: int) -> bool:
    """Lock a new temporary file; False if a sweep came between its creation and its lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _is_file(name: str, job: int) -> bool:
    try:
        return S_ISREG(os.stat(name, dir_fd=job, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlink_dead(name: str, job: int) -> None:
    probe = os.open(name, _PROBE, dir_fd=job)
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_temporary(name, job)
    finally:
        os.close(probe)
