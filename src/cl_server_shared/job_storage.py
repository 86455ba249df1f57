"""`JobStorageService`, at the import path that services know; its home is `files.storage`."""

from os import PathLike

from cl_server_shared.config import Config
from cl_server_shared.files.storage import LocalJobStorage

__all__ = ["JobStorageService"]


class JobStorageService(LocalJobStorage):
    """The job storage in a folder.

    Args:
        base_dir: where `jobs/` is kept, made if it is absent; None: `Config.MEDIA_STORAGE_DIR`.

    Raises:
        ConfigError: *base_dir* is None and `CL_SERVER_DIR` is not set or wrong.
    """

    def __init__(self, base_dir: str | PathLike[str] | None = None) -> None:
        super().__init__(
            Config.MEDIA_STORAGE_DIR if base_dir is None else base_dir, fsync=Config.STORAGE_FSYNC
        )
