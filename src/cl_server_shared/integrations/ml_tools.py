"""cl_ml_tools 0.2.0 on our repository and storage.

That release names things its own way: `Job` with `task_output`, `update_job(job_id, **fields)`,
`FileStorage` with absolute paths. Its `Worker` and `create_master_router` run on these two adapters
unchanged. The library's next generation (`JobRecord`, `JobStorage`) needs none: our classes have
the shape of its protocols.
"""

import mimetypes
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Generic, Protocol, cast, final

from cl_ml_tools import Job
from pydantic import ValidationError
from typing_extensions import TypeVar

from cl_server_shared.errors import InvalidJobError, InvalidPathError
from cl_server_shared.files.paths import checked_file_path
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from cl_server_shared.protocols.files import AsyncReadable, JobStorage
from cl_server_shared.protocols.fitting import require_port
from cl_server_shared.protocols.jobs import JobRepository

_OURS: Final = {
    "status": "status",
    "progress": "progress",
    "task_output": "output",
    "error_message": "error_message",
}
_PATH_FIELDS: Final = ("input_paths", "output_paths")
_NAME_MAX_BYTES: Final = 200  # plugins put a prefix before the name; file systems end at 255
_ENDING_MAX_BYTES: Final = 20

# Always cl_ml_tools' Job. That package is not marked as typed: a type checker that does not read
# its source does not know the class, and a signature that names it has an unknown type.
MlJob = TypeVar("MlJob", bound=Job, default=Job)


class Upload(AsyncReadable, Protocol):
    """An uploaded file, such as Starlette's UploadFile; `filename` is the client's word."""

    filename: str | None

    @property
    def content_type(self) -> str | None:
        """The media type (RFC 6838), the client's word too."""
        ...


@final
class MlToolsJobRepository(Generic[MlJob]):
    """`cl_ml_tools.JobRepository` on a repository of ours.

    Args:
        repository: keeps the jobs.
        storage: keeps their files; a job may only name files in its own folder.

    Raises:
        ConfigError: an argument does not fit, such as a provider instead of its part.
    """

    def __init__(self, repository: JobRepository, storage: JobStorage) -> None:
        require_port("repository", repository, JobRepository)
        require_port("storage", storage, JobStorage)
        self._repository: Final = repository
        self._storage: Final = storage

    def add_job(self, job: MlJob, created_by: object = None, priority: int | None = None) -> str:
        """Store a new job and return its id.

        A job that is refused leaves no folder behind, so an upload for it is removed.

        Raises:
            InvalidJobError: the job cannot be stored, its id exists, or it names a path outside
                its folder (InvalidPathError, where a link in its folder leads outside).
            DatabaseError: the database failed.
        """
        try:
            record = _record(job)
            self._require_own_paths(record)
        except (InvalidJobError, InvalidPathError):
            self._remove_upload(job.job_id)
            raise
        creator = None if created_by is None else str(created_by)  # user ids arrive as integers
        if not self._repository.add_job(record, created_by=creator, priority=priority):
            raise InvalidJobError(f"job_id {job.job_id!r} exists: give each job an id of its own")
        return job.job_id

    def get_job(self, job_id: str) -> MlJob | None:
        """Return the job, or None if there is none of that id."""
        record = self._repository.get_job(job_id)
        return None if record is None else cast("MlJob", _job(record))  # see MlJob

    def update_job(self, job_id: str, **fields: object) -> bool:
        """Change a live job; True if the job now is as asked for.

        Raises:
            InvalidJobError: a field is unknown or cannot be stored.
            DatabaseError: the database failed.
        """
        unknown = fields.keys() - _OURS.keys()
        if unknown:
            raise InvalidJobError(f"fields {sorted(unknown)} are not among {sorted(_OURS)}")
        ours = {_OURS[name]: value for name, value in fields.items()}
        try:
            update = JobRecordUpdate.model_validate(ours)
        except ValidationError as error:
            raise InvalidJobError(f"this update was refused: {error}") from error
        return self._repository.update_job(job_id, update)

    def fetch_next_job(self, task_types: list[str]) -> MlJob | None:
        """Claim the next waiting job of these types."""
        record = self._repository.fetch_next_job(task_types)
        return None if record is None else cast("MlJob", _job(record))  # see MlJob

    def delete_job(self, job_id: str) -> bool:
        """Remove the row; False if there is none of that id."""
        return self._repository.delete_job(job_id)

    def _remove_upload(self, job_id: str) -> None:
        if self._repository.get_job(job_id) is None:  # else the folder is that job's
            self._storage.remove(job_id)

    def _require_own_paths(self, record: JobRecord) -> None:
        folder = self._storage.resolve_path(record.job_id)
        for path in _paths(record.params):
            if not path.is_relative_to(folder) or ".." in path.parts:
                raise InvalidJobError(
                    f"job {record.job_id!r} names {str(path)!r}, which is not in its folder"
                )
            _ = self._storage.resolve_path(record.job_id, path.relative_to(folder).as_posix())


@final
class MlToolsFileStorage:
    """`cl_ml_tools.FileStorage` on a storage of ours.

    Args:
        storage: keeps the files.

    Raises:
        ConfigError: *storage* does not fit, such as a provider instead of its part.
    """

    def __init__(self, storage: JobStorage) -> None:
        require_port("storage", storage, JobStorage)
        self._storage: Final = storage

    def create_job_directory(self, job_id: str) -> Path:
        """Make the job's folder and return its absolute path."""
        self._storage.create_directory(job_id)
        return self._storage.resolve_path(job_id)

    def get_input_path(self, job_id: str) -> Path:
        """Return the absolute path of the job's input folder."""
        return self._storage.resolve_path(job_id, "input")

    def get_output_path(self, job_id: str) -> Path:
        """Return the absolute path of the job's output folder."""
        return self._storage.resolve_path(job_id, "output")

    async def save_input_file(
        self, job_id: str, filename: str | None, file: Upload
    ) -> dict[str, str | int]:
        """Store an upload under a safe form of its name; *file* is renamed accordingly.

        The routes of cl_ml_tools build the output's path from `file.filename` afterwards, so that a
        client's `../../x.png` must not be found there any more. The plugins choose the output's
        format by the name's ending, so a name without one gets that of the upload's content type.
        """
        name = safe_filename(filename)
        if not PurePosixPath(name).suffix:
            name = safe_filename(name + _ending_of(file.content_type))
        file.filename = name
        saved = await self._storage.save(job_id, f"input/{name}", file)
        path = self._storage.resolve_path(job_id, saved.relative_path)
        return {"filename": name, "path": str(path), "size": saved.size, "hash": saved.hash}

    def cleanup_job(self, job_id: str) -> bool:
        """Remove the job's folder; False if there is none."""
        return self._storage.remove(job_id)


def safe_filename(filename: str | None) -> str:
    """Return a name that is safe as the last part of a path on any system; total.

    Keeps the last part of what a client sent, without control characters and characters that
    Windows reserves, at most 200 bytes of UTF-8 with its ending kept; "upload" where nothing is
    left.
    """
    last = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').strip(". ")
    suffix = PurePosixPath(kept).suffix
    ending = suffix if len(suffix.encode()) <= _ENDING_MAX_BYTES else ""
    stem = kept.removesuffix(ending).encode()[: _NAME_MAX_BYTES - len(ending.encode())]
    name = (stem.decode(errors="ignore") + ending).rstrip(". ") or "upload"
    return name if _is_plain(name) else safe_filename(f"_{name}")  # "con.png" is a device


def _is_plain(name: str) -> bool:
    try:
        checked_file_path("job", name)
    except InvalidPathError:
        return False
    return True


def _ending_of(content_type: str | None) -> str:
    media_type = (content_type or "").partition(";")[0].strip()
    return mimetypes.guess_extension(media_type, strict=False) or ""


def _record(job: Job) -> JobRecord:
    try:
        return JobRecord.model_validate(
            {
                "job_id": job.job_id,
                "task_type": job.task_type,
                "params": job.params,
                "status": job.status,
                "progress": job.progress,
                "output": job.task_output,
                "error_message": job.error_message,
            }
        )
    except ValidationError as error:
        raise InvalidJobError(f"this job was refused: {error}") from error


def _job(record: JobRecord) -> Job:
    return Job(
        job_id=record.job_id,
        task_type=record.task_type,
        params=dict(record.params),
        status=JobStatus(record.status).value,
        progress=record.progress,
        task_output=record.output,
        error_message=record.error_message,
    )


def _paths(params: Mapping[str, object]) -> list[Path]:
    """Return the files that a job of cl_ml_tools names (its `BaseJobParams`)."""
    named = [params.get(field) for field in _PATH_FIELDS]
    lists = [cast("list[object]", paths) for paths in named if isinstance(paths, list)]
    return [Path(str(path)) for paths in lists for path in paths]
