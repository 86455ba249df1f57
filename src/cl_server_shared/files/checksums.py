"""What `save` recorded of each file: `.cl-checksums` in the job's folder, one JSON line a save.

The record lives and goes with the files. Its name is reserved: no call of the storage reads, lists
or counts it as a file of the job.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from cl_server_shared.files.paths import CHECKSUMS, JobPath

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Checksum:
    """Size in bytes and SHA-256 (lower-case hex) of a file when it was saved."""

    path: str
    size: int
    sha256: str


_CHECKSUM: Final = TypeAdapter(Checksum)


def record(job: int, path: JobPath, size_bytes: int, sha256: str) -> None:
    """Record a file that is about to get its final name; *job* describes the job's folder.

    Before, not after: a process that is killed in between leaves the older file, whose own record
    still stands, and never a new file without a record.
    """
    entry = {"path": "/".join(path.parts), "size": size_bytes, "sha256": sha256}
    descriptor = os.open(CHECKSUMS, _APPEND, 0o666, dir_fd=job)
    try:
        os.write(descriptor, f"{json.dumps(entry)}\n".encode())
    finally:
        os.close(descriptor)


def recorded(job: int) -> dict[str, set[Checksum]]:
    """Return by path what was recorded of a job's files; a line that was cut short is left out."""
    found: dict[str, set[Checksum]] = {}
    with suppress(FileNotFoundError):
        descriptor = os.open(CHECKSUMS, _READ, dir_fd=job)
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                with suppress(ValidationError):
                    checksum = _CHECKSUM.validate_json(line)
                    found.setdefault(checksum.path, set()).add(checksum)
    return found
