"""A storage through its synchronous calls, for the tests that both kinds of call must pass."""

from typing import final, override

from anyio import wrap_file

from cl_server_shared.files.storage import LocalJobStorage
from cl_server_shared.models import SavedJobFile
from cl_server_shared.protocols.files import AsyncFileLike, FileLike


@final
class SyncJobStorage(LocalJobStorage):
    """Saves with `save_sync` and opens with `open_sync`, on the event loop of the test."""

    @override
    async def save(
        self, job_id: str, relative_path: str, file: FileLike, *, mkdirs: bool = True
    ) -> SavedJobFile:
        return self.save_sync(job_id, relative_path, file, mkdirs=mkdirs)  # pyright: ignore[reportArgumentType]  an asynchronous stream is for it to refuse

    @override
    async def open(self, job_id: str, relative_path: str) -> AsyncFileLike:
        return wrap_file(self.open_sync(job_id, relative_path))
