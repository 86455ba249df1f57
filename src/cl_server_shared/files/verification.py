"""Comparing a job's files with what was recorded of them; nothing is ever changed or removed."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.checksums import Checksum, recorded
from cl_server_shared.files.folders import open_regular, opened_job, opened_parent
from cl_server_shared.files.job_folder import job_folders, stored_files
from cl_server_shared.files.paths import JobPath, checked_file_path, checked_path
from cl_server_shared.models import FileReport


def verified_job(jobs: Path, job_id: str) -> FileReport:
    """Read every recorded file of a job, and report what differs.

    Raises:
        FileNotFoundError: the job has no folder.
    """
    with opened_job(jobs, job_id) as job:
        records = recorded(job)
    present = {name for name, _ in stored_files(jobs, job_id)}
    return FileReport(
        job_id=job_id,
        missing=tuple(sorted(records.keys() - present)),
        changed=tuple(
            path
            for path in sorted(records.keys() & present)
            if _checksum(jobs, checked_file_path(job_id, path)) not in records[path]
        ),
        untracked=tuple(sorted(present - records.keys())),
    )


def verified_store(jobs: Path) -> Iterator[FileReport]:
    """Report on every job that has a folder, one at a time, ordered by job id."""
    for job_id in sorted(job_folders(jobs)):
        # Removed meanwhile; a folder that is none of ours, out of reach of every other call.
        with suppress(FileNotFoundError, InvalidPathError):
            yield verified_job(jobs, checked_path(job_id).job_id)


def _checksum(jobs: Path, path: JobPath) -> Checksum | None:
    """Return what a file is now; None where it vanished or was replaced by a link meanwhile."""
    try:
        with opened_parent(jobs, path) as parent, open_regular(parent, path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Checksum("/".join(path.parts), file.tell(), digest)
    except (FileNotFoundError, InvalidPathError):
        return None
