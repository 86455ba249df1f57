"""Comparing a job's files with what was recorded of them; nothing is ever changed or removed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from cl_server_shared.errors import InvalidPathError
from cl_server_shared.files.checksums import Checksum, jobs_recorded, recorded
from cl_server_shared.files.contents import job_folders, stored_files
from cl_server_shared.files.folders import open_regular, opened_parent
from cl_server_shared.files.paths import JobPath, checked_file_path, checked_path
from cl_server_shared.models import FileReport


def verified_job(jobs: Path, job_id: str) -> FileReport:
    """Read every recorded file of a job, and report what differs."""
    records = recorded(jobs, job_id)
    present = _present(jobs, job_id)
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
    """Report on every job that has a folder or a record, one at a time, ordered by job id."""
    for job_id in sorted({*job_folders(jobs), *jobs_recorded(jobs)}):
        try:
            checked_path(job_id)
        except InvalidPathError:
            continue  # not made by us, and out of reach of every other call
        yield verified_job(jobs, job_id)


def _present(jobs: Path, job_id: str) -> set[str]:
    try:
        return {name for name, _ in stored_files(jobs, job_id)}
    except FileNotFoundError:
        return set()


def _checksum(jobs: Path, path: JobPath) -> Checksum | None:
    """Return what a file is now; None where it vanished or gave way to a link meanwhile."""
    try:
        with opened_parent(jobs, path) as parent, open_regular(parent, path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Checksum("/".join(path.parts), file.tell(), digest)
    except (FileNotFoundError, InvalidPathError):
        return None
