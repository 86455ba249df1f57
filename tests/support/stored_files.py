"""What lies in a job's folder."""

from pathlib import Path

from cl_server_shared.files.paths import CHECKSUMS


def files_on_disk(job: Path) -> dict[str, bytes]:
    """Return every file in a job's folder but the record of saves, the temporary ones too."""
    return {
        str(path.relative_to(job)): path.read_bytes()
        for path in job.rglob("*")
        if path.is_file() and path.name != CHECKSUMS
    }
