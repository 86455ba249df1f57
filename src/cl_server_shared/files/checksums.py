"""What `save` recorded of each file: `{base}/checksums/{job_id}`, one JSON line a save.

Outside `jobs/`, where other services count every folder as a job and every file as the job's.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from cl_server_shared.files.paths import JobPath

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Checksum:
    """Size in bytes and SHA-256 (lower-case hex) of a file when it was saved."""

    path: str
    size: int
    sha256: str


_CHECKSUM: Final = TypeAdapter(Checksum)


def record(jobs: Path, path: JobPath, size_bytes: int, sha256: str) -> None:
    """Record a file that is about to get its final name.

    Before, not after: a process that is killed in between leaves the older file, whose own record
    still stands, and never a new file without a record.
    """
    entry = {"path": "/".join(path.parts), "size": size_bytes, "sha256": sha256}
    folder = _folder(jobs)
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / path.job_id, _APPEND, 0o666)
    try:
        os.write(descriptor, f"{json.dumps(entry)}\n".encode())
    finally:
        os.close(descriptor)


def recorded(jobs: Path, job_id: str) -> dict[str, set[Checksum]]:
    """Return by path what was recorded of a job's files; a line that was cut short is left out."""
    found: dict[str, set[Checksum]] = {}
    with suppress(FileNotFoundError), (_folder(jobs) / job_id).open("rb") as lines:
        for line in lines:
            with suppress(ValidationError):
                checksum = _CHECKSUM.validate_json(line)
                found.setdefault(checksum.path, set()).add(checksum)
    return found


def forget(jobs: Path, job_id: str) -> None:
    """Remove the records of a job whose files are gone."""
    (_folder(jobs) / job_id).unlink(missing_ok=True)


def jobs_recorded(jobs: Path) -> list[str]:
    """Return the ids of the jobs of which anything is recorded."""
    with suppress(FileNotFoundError):
        return [entry.name for entry in os.scandir(_folder(jobs)) if entry.is_file()]
    return []


def _folder(jobs: Path) -> Path:
    return jobs.parent / "checksums"
