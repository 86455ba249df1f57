"""What is told of stored files: one that was saved, and a check of all that a job has."""

from pydantic import BaseModel

from cl_server_shared.models.base import Schema


class SavedJobFile(Schema):
    """A file as it now lies on disk.

    `relative_path` is the path that was given to `save`, `size` is in bytes, `hash` the SHA-256 of
    those bytes in lower-case hex.
    """

    relative_path: str
    size: int
    hash: str


class FileReport(BaseModel, frozen=True):
    """How a job's files compare with what `save` recorded of them; paths are relative and sorted.

    *missing* were saved and are gone, *changed* have another size or SHA-256 than when they were
    saved, *untracked* are there though `save` did not store them, such as what a plugin wrote.
    """

    job_id: str
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    untracked: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Tell whether every saved file is there as it was saved."""
        return not (self.missing or self.changed)
